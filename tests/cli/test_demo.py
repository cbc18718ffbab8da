"""The demo measures what `measure` measures by default, but for what it says it leaves out."""

from __future__ import annotations

from typing import Any

from sharpaudit.cli.demo import OPTIONS, TOO_DEAR, audited, told_to_measure
from sharpaudit.plan import plan


def test_the_demo_is_the_standard_audit_but_for_what_it_names() -> None:
    standard = {step.probe.name: step.settings() for step in plan("standard")}
    options = audited()
    demo = {step.probe.name: step.settings() for step in plan(",".join(options), options)}
    assert set(demo) == set(standard) - TOO_DEAR
    assert demo["corruption"]["severities"] == [1, 3, 5]
    for name, settings in demo.items():
        assert settings == {**standard[name], **OPTIONS.get(name, {})}


def test_its_cards_say_what_measure_would_have_to_be_told() -> None:
    options = audited()
    told = told_to_measure(options)
    again: dict[str, dict[str, Any]] = {}
    for name, value in told.items():
        if name.startswith("set."):
            _, probe, option = name.split(".")
            again.setdefault(probe, {})[option] = value
    planned = [(step.probe.name, step.settings()) for step in plan(told["probes"], again)]
    assert planned == [(step.probe.name, step.settings()) for step in plan(",".join(options), options)]
    assert told["set.spectrum.density_starts"] == 0
