"""One probe's failure is that probe's outcome, and never a number."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sharpaudit.card import Failed, Measured, Skipped
from sharpaudit.execute import execute, run
from sharpaudit.plan import Step
from sharpaudit.probes import Finding, NotApplicable, Probe, Workbench, probe
from tests.benches import bench


@dataclass(frozen=True)
class NoOptions:
    """None."""


def number(name: str) -> Measured:
    return Measured(name=name, value=1.0, unit="1", direction="none", n=1, reason="a constant", method="constant")


@probe(needs=(), version=7, measures=["a.one", "a.two", "a.each/*"])
def breaks(bench: Workbench, options: NoOptions) -> Iterator[Finding]:
    yield number("a.one")
    raise ZeroDivisionError("half way\x1b[31m")


@probe(needs=(), version=7, measures=["a.one"])
def refuses(bench: Workbench, options: NoOptions) -> Iterator[Finding]:
    if bench.settings.seed >= 0:
        raise NotApplicable("not for this network")
    yield number("a.one")


@probe(needs=(), version=7, measures=["a.one"])
def works(bench: Workbench, options: NoOptions) -> Iterator[Finding]:
    yield number("a.one")


def step(probe: Probe) -> Step:
    return Step(probe, NoOptions())


def test_a_failure_keeps_what_came_before_and_names_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        outcome = run(step(breaks), bench())
    assert outcome.status == "failed"
    assert outcome.reason == "ZeroDivisionError: half way\\x1b[31m"
    assert [(type(m), m.name, m.version) for m in outcome.measurements] == [(Measured, "a.one", 7), (Failed, "a.two", 7)]
    assert "ZeroDivisionError" in (caplog.records[0].exc_text or ""), "the traceback is kept"


def test_a_refusal_is_skipped_with_its_reason() -> None:
    outcome = run(step(refuses), bench())
    assert (outcome.status, outcome.reason) == ("skipped", "not for this network")
    assert outcome.measurements == [Skipped(name="a.one", reason="not for this network", probe="refuses", version=7)]


def test_others_run_on() -> None:
    seen: list[str] = []
    finished = list(execute([step(breaks), step(works)], bench(), on_step=lambda step: seen.append(step.probe.name)))
    assert [item.outcome.status for item in finished] == ["failed", "measured"]
    assert seen == ["breaks", "works"]


def test_an_interrupt_is_not_an_outcome() -> None:
    @probe(needs=(), version=1, measures=["a.one"])
    def interrupted(bench: Workbench, options: NoOptions) -> Iterator[Finding]:
        yield number("a.one")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(step(interrupted), bench())
