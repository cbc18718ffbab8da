"""The demo measures what `measure` measures by default, but for what it says it leaves out."""

from __future__ import annotations

from sharpaudit.cli.demo import OPTIONS, TOO_DEAR, audited
from sharpaudit.plan import plan


def test_the_demo_is_the_standard_audit_but_for_what_it_names() -> None:
    standard = {step.probe.name: step.settings() for step in plan("standard")}
    options = audited()
    demo = {step.probe.name: step.settings() for step in plan(",".join(options), options)}
    assert set(demo) == set(standard) - TOO_DEAR
    assert demo["corruption"]["severities"] == [1, 3, 5]
    for name, settings in demo.items():
        assert settings == {**standard[name], **OPTIONS.get(name, {})}
