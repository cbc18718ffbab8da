"""`sharpaudit gate` and `sharpaudit policy`: a card held against a policy, for people and for CI."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from sharpaudit.cli.app import Json, app, output
from sharpaudit.cli.layers import ConfigFile, ProbeOptions
from sharpaudit.cli.subjects import OPTIONS, runs_of
from sharpaudit.errors import WORST_FIRST, UsageError, clean

if TYPE_CHECKING:
    from sharpaudit.gate import Judgement

policies = typer.Typer(no_args_is_help=True, help="Write a first policy, or check one.")
app.add_typer(policies, name="policy")

STDOUT = Path("-")

PolicyFile = Annotated[Path, typer.Option("--policy", metavar="FILE", help="The rules, in YAML.")]


class Sink(StrEnum):
    """The documents that CI systems read."""

    JUNIT = "junit"
    SARIF = "sarif"
    GITLAB = "gitlab"
    GITHUB = "github"


@app.command()
@OPTIONS
def gate(
    context: typer.Context,
    subjects: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, report.json files or checkpoints.")],
    policy: PolicyFile,
    settings: Mapping[str, Any],
    baseline: Annotated[Path | None, typer.Option(metavar="RUN", help="The run that baseline rules compare with.")] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format", metavar="KIND=FILE", help="junit, sarif, gitlab or github (a step summary); '-' is stdout. Repeatable."
        ),
    ] = None,
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Allow a baseline that was measured differently.")
    ] = False,
    options: ProbeOptions = None,
    config: ConfigFile = None,
    json: Json = False,
) -> int:
    """Decide whether checkpoints may be released. Exit code 0 passed, 1 failed, 6 inconclusive, 3 not judged, 4 not signed.

    Stored runs need no model. Checkpoints, the baseline's too, are audited first, into sharpaudit-runs/NAME, with any option of
    `measure`.
    """
    from sharpaudit import store
    from sharpaudit.gate import IDLE_BASELINE, judge_run
    from sharpaudit.gate.policy import read

    sinks = _sinks(formats or [], as_json=json)
    rules = read(policy)
    runs = list(runs_of(context, [*subjects, *([baseline] if baseline else [])], settings))
    reference = runs.pop() if baseline else None
    if reference and not rules.compares:
        print(f"warning: {IDLE_BASELINE}", file=sys.stderr)
    today = datetime.now(UTC).date()
    judgements = [judge_run(run, rules, today=today, baseline=reference, allow_mismatch=allow_mismatch) for run in runs]
    for file, sink in sinks.items():
        document = _document(sink, judgements, policy.name)
        if file == STDOUT:
            print(document, end="")
        else:
            store.write(file, document)
    _print(judgements, as_json=json, on=sys.stderr if STDOUT in sinks else sys.stdout)
    codes = [judgement.exit_code for judgement in judgements]
    return next(code for code in WORST_FIRST if code in codes)


@policies.command()
def init(
    card: Annotated[Path, typer.Option("--from", metavar="RUN", help="The run to take limits from.")],
    out: Annotated[Path | None, output("FILE", "Write to this file instead of stdout.")] = None,
    no_baseline: Annotated[bool, typer.Option("--no-baseline", help="Write the rules about a baseline as comments.")] = False,
) -> None:
    """Write a first policy, with limits from a card's intervals."""
    from sharpaudit import store
    from sharpaudit.gate.starter import starting_policy

    if out is not None:
        store.check_file(out)
    text = starting_policy(store.load_run(card).card, compare=not no_baseline)
    if out is None:
        print(text, end="")
    else:
        store.write(out, text)


@policies.command()
def check(policy: Annotated[Path, typer.Argument(metavar="FILE", help="The policy.")]) -> None:
    """Validate a policy and print warnings."""
    from sharpaudit.gate.lint import doubts
    from sharpaudit.gate.policy import read

    rules = read(policy)
    for doubt in doubts(rules, today=datetime.now(UTC).date()):
        print(f"warning: {clean(doubt, 500)}")
    count = len(rules.rules)
    print(f"Policy valid ({count} rule{'s' * (count != 1)})")


def _sinks(formats: Sequence[str], *, as_json: bool) -> dict[Path, Sink]:
    """Which document goes where, once it is sure that each can."""
    from sharpaudit import store

    sinks: dict[Path, Sink] = {}
    for text in formats:
        kind, equals, name = text.partition("=")
        file = Path(name)
        if kind not in list(Sink) or not equals or not name:
            raise UsageError(f"--format: expected KIND=FILE with KIND one of {', '.join(Sink)}, got '{clean(text)}'")
        if file in sinks:
            raise UsageError(f"--format: '{clean(name)}' is named twice", hint="name a file for each document")
        if file == STDOUT and as_json:
            raise UsageError("--format: stdout takes one document, and --json prints another", hint="leave one of them out")
        if file != STDOUT:
            store.check_file(file)
        sinks[file] = Sink(kind)
    return sinks


def _print(judgements: list[Judgement], *, as_json: bool, on: TextIO) -> None:
    from sharpaudit.card import codec
    from sharpaudit.report import ci

    if as_json:
        documents = [judgement.model_dump(mode="json", by_alias=True) for judgement in judgements]
        print(codec.dumps(documents[0] if len(documents) == 1 else documents), end="", file=on)
    else:
        for judgement in judgements:
            print(f"{clean(judgement.subject)}: {ci.outcome(judgement)}", file=on)
            for verdict in judgement.verdicts:
                print(f"  {ci.sentence(verdict)}", file=on)
            for note in judgement.notes:
                print(f"  note: {clean(note, 500)}", file=on)
    if os.environ.get("GITHUB_ACTIONS") == "true":  # the runner reads commands on both streams; stdout is for the result
        print(ci.github_annotations(judgements), end="", file=sys.stderr)


def _document(sink: Sink, judgements: list[Judgement], policy: str) -> str:
    from sharpaudit.report import ci

    match sink:
        case Sink.JUNIT:
            return ci.junit(judgements)
        case Sink.SARIF:
            return ci.sarif(judgements, policy)
        case Sink.GITLAB:
            return ci.gitlab(judgements, policy)
        case Sink.GITHUB:
            return ci.github_summary(judgements)
