"""How does a CI system learn what the gate said? JUnit, SARIF, GitHub's summary and annotations, GitLab's code quality.

Judgements in, text out. A verdict that counts against the release is an error, one that the policy only warns about a warning;
what could not be decided is told apart from what failed. Foreign text is encoded once, for the sink at hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal
from urllib.parse import quote as uri
from xml.etree import ElementTree as xml

from sharpaudit import __version__
from sharpaudit.card import Interval, codec
from sharpaudit.errors import ExitCode, clean
from sharpaudit.gate import Judgement, Verdict
from sharpaudit.report.markdown import prose, quote, table

SUMMARY_LIMIT = 2**20
"""GitHub drops a step summary of more bytes altogether."""

MAX_ANNOTATIONS = 10
"""GitHub shows no more errors of one step."""

MAX_NAMED = 5
"""Rules that a summary of one line names."""

OUTCOMES = {
    ExitCode.DONE: "passed",
    ExitCode.GATE_FAILED: "failed",
    ExitCode.INCONCLUSIVE: "inconclusive",
}

ALIGNMENT = "rlrrrrrlll"
"""Of the columns of GitHub's summary."""

Level = Literal["error", "warning", "note"]
LEVELS: dict[str, Level] = {"fail": "error", "warn": "warning", "info": "note"}
"""By severity of the rule."""


def outcome(judgement: Judgement) -> str:
    """What came of all rules together, in a word; what failed or was undecided beside it is named."""
    word = OUTCOMES[judgement.exit_code]
    beside = {ExitCode.INCONCLUSIVE: "failed", ExitCode.GATE_FAILED: "inconclusive"}.get(judgement.exit_code)
    names = [clean(verdict.metric) for verdict in judgement.verdicts if verdict.status == beside and verdict.severity == "fail"]
    if not names:
        return word
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{word}; {beside} too: {', '.join(names[:MAX_NAMED])}{more}"


def level(verdict: Verdict) -> Level | None:
    """How loudly a verdict is reported; None for one that needs no attention."""
    if verdict.status not in ("failed", "inconclusive"):
        return None
    return LEVELS[verdict.severity]


def sentence(verdict: Verdict) -> str:
    """A verdict in one line: what was compared with what, to four digits, and the outcome; foreign text is made printable."""
    value = _estimate(verdict.value, verdict.ci) or "no value"
    if verdict.n is not None:
        value += f" (n = {verdict.n})"
    if verdict.baseline is not None:
        value += f", baseline {verdict.baseline:.4g}"
    if verdict.difference is not None:
        value += f", difference {_estimate(verdict.difference, verdict.difference_ci, '+')}"
    why = f" ({clean(verdict.why)})" if verdict.why else ""
    return f"{clean(verdict.metric)}: {value}, must be {verdict.limit}{why}: {status(verdict)}, {clean(verdict.reason, 500)}"


def status(verdict: Verdict) -> str:
    """The status, and how little it weighs where the rule does not decide about the release."""
    return verdict.status if verdict.severity == "fail" else f"{verdict.status} ({verdict.severity})"


def _estimate(value: float | None, ci: Interval | None, sign: str = "") -> str:
    """A number and its interval, to four digits; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:{sign}.4g}" + (f" [{ci.low:{sign}.4g}, {ci.high:{sign}.4g}]" if ci else "")


def junit(judgements: Sequence[Judgement]) -> str:
    """JUnit XML: a suite a checkpoint, a test case a verdict; inconclusive is an error, failed a failure, waived is skipped."""
    suites = xml.Element("testsuites", name="sharpaudit gate")
    for judgement in judgements:
        suite = xml.SubElement(suites, "testsuite", name=clean(judgement.subject))
        counts = {"tests": len(judgement.verdicts), "failures": 0, "errors": 0, "skipped": 0}
        for verdict in judgement.verdicts:
            mark = "" if verdict.severity == "fail" else f" ({verdict.severity})"
            asks = f"rule {verdict.rule}{mark}:" if verdict.rule else f"required{mark}:"
            name = clean(f"{asks} {verdict.metric} {verdict.limit}" if verdict.rule else f"{asks} {verdict.limit}", 300)
            case = xml.SubElement(suite, "testcase", classname=clean(judgement.subject), name=name)
            kind = {"failed": "failure", "inconclusive": "error"}.get(verdict.status, "skipped")
            if level(verdict) == "error" or verdict.status in ("waived", "skipped"):
                xml.SubElement(case, kind, message=sentence(verdict))
                counts[{"failure": "failures", "error": "errors"}.get(kind, kind)] += 1
            else:
                xml.SubElement(case, "system-out").text = sentence(verdict)
        for key, count in counts.items():
            suite.set(key, str(count))
    xml.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(suites, encoding="unicode") + "\n"


def sarif(judgements: Sequence[Judgement], policy: str) -> str:
    """SARIF 2.1.0: a result for each verdict that needs attention, at its line of `policy` (a path inside the repository)."""
    found = list(_alerts(judgements))
    names = sorted({clean(verdict.metric) for _, verdict, _ in found})
    artifact = {"uri": uri(clean(policy, 1000))}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "sharpaudit",
                        "version": __version__,
                        "rules": [{"id": name, "shortDescription": {"text": f"Policy on {name}"}} for name in names],
                    }
                },
                "results": [
                    {
                        "ruleId": clean(verdict.metric),
                        "ruleIndex": names.index(clean(verdict.metric)),
                        "level": loudness,
                        "message": {"text": f"{clean(judgement.subject)}: {sentence(verdict)}"},
                        "locations": [
                            {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": verdict.line}}}
                        ],
                        "partialFingerprints": {"sharpaudit/v1": _fingerprint(judgement, verdict)},
                    }
                    for judgement, verdict, loudness in found
                ],
            }
        ],
    }
    return codec.dumps(document)


def gitlab(judgements: Sequence[Judgement], policy: str) -> str:
    """GitLab code quality: an issue for each verdict that needs attention, at its line of the policy file `policy`."""
    severities = {"error": "critical", "warning": "minor", "note": "info"}
    issues = [
        {
            "description": f"{clean(judgement.subject)}: {sentence(verdict)}",
            "check_name": clean(verdict.metric),
            "fingerprint": _fingerprint(judgement, verdict),
            "severity": severities[loudness],
            "location": {"path": clean(policy, 1000), "lines": {"begin": verdict.line}},
        }
        for judgement, verdict, loudness in _alerts(judgements)
    ]
    return codec.dumps(issues)


def github_annotations(judgements: Sequence[Judgement]) -> str:
    """Workflow commands (``::error …``) for the verdicts that need attention, the loudest first; at most what GitHub shows."""
    order = ("error", "warning", "note")
    found = sorted(_alerts(judgements), key=lambda alert: order.index(alert[2]))
    lines = [
        f"::{'notice' if loudness == 'note' else loudness} "
        f"title={_property(f'sharpaudit gate: {judgement.subject}')}::{_message(sentence(verdict))}"
        for judgement, verdict, loudness in found[:MAX_ANNOTATIONS]
    ]
    if len(found) > MAX_ANNOTATIONS:
        lines[-1] = f"::error title=sharpaudit gate::{len(found) - MAX_ANNOTATIONS + 1} more; see the step summary"
    return "".join(f"{line}\n" for line in lines)


def github_summary(judgements: Sequence[Judgement]) -> str:
    """Markdown for ``$GITHUB_STEP_SUMMARY``, always below its limit: what is cut is counted."""
    parts, size = [], 0
    blocks = list(_summary_blocks(judgements))
    for i, block in enumerate(blocks):
        size += len(block.encode())
        if size > SUMMARY_LIMIT - 1000:
            parts.append(f"\n\nCut to fit: {len(blocks) - i} of {len(blocks)} parts are not shown; the JSON has them all.\n")
            break
        parts.append(block)
    return "".join(parts)


def _summary_blocks(judgements: Sequence[Judgement]) -> Iterator[str]:
    """Headings and table rows, each of which may be the last that fits."""
    for judgement in judgements:
        yield f"\n{quote(judgement.subject)}: **{outcome(judgement)}**\n===\n\n"
        for note in judgement.notes:
            yield f"{prose(note)}\n\n"
        header = ["Rule", "Measurement", "Value", "95% interval", "n", "Baseline", "Difference", "Limit", "Verdict", "Reason"]
        head, rule, *_ = table(header, [], ALIGNMENT).splitlines()
        yield f"{head}\n{rule}\n"
        for verdict in judgement.verdicts:
            yield table(_row(verdict), [], ALIGNMENT).splitlines()[0] + "\n"


def _row(verdict: Verdict) -> list[str]:
    ci = f"{verdict.ci.low:.4g} to {verdict.ci.high:.4g}" if verdict.ci else "–"
    loud = f"**{status(verdict)}**" if level(verdict) == "error" else status(verdict)
    return [
        str(verdict.rule or "–"),
        quote(verdict.metric),
        "–" if verdict.value is None else f"{verdict.value:.4g}",
        ci,
        "–" if verdict.n is None else str(verdict.n),
        _estimate(verdict.baseline, None) or "–",
        _estimate(verdict.difference, verdict.difference_ci, "+") or "–",
        prose(verdict.limit),
        loud,
        prose(verdict.reason),
    ]


def _alerts(judgements: Sequence[Judgement]) -> Iterator[tuple[Judgement, Verdict, Level]]:
    for judgement in judgements:
        for verdict in judgement.verdicts:
            if (loudness := level(verdict)) is not None:
                yield judgement, verdict, loudness


def _fingerprint(judgement: Judgement, verdict: Verdict) -> str:
    """The same for the same rule on the same checkpoint name, so that a CI system can tell old from new."""
    parts = [clean(judgement.subject), str(verdict.rule), clean(verdict.metric), verdict.limit]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(clean(text)).replace(":", "%3A").replace(",", "%2C")
