"""A checkpoint goes in, a report card comes out, and every number on it can be trusted, explained, compared and gated.

FROM PYTHON. What the command line does, as functions; importing this imports neither them nor torch.

    >>> import sharpaudit
    >>> from importlib.resources import files
    >>> demo = files("sharpaudit") / "demo"
    >>> plain = sharpaudit.measure(demo / "baseline-seed0.safetensors", "digits", probes="accuracy,calibration")
    >>> plain.card.measured("clean.accuracy").ci.low > 0.9
    True
    >>> augmented = sharpaudit.measure(demo / "augmentation-seed0.safetensors", "digits", probes="accuracy,calibration")
    >>> print(sharpaudit.compare(plain, augmented).reading[1])
    They disagree on 43 of 797 images (5.4%): B gets 7 wrong that A got right, and fixes 33.

`judge(run, "policy.yaml")` gives the verdicts of a policy, `load("sharpaudit-runs/NAME")` a stored run; a `Card` shows itself in
a notebook; `probe` declares a measure of your own. Errors are `sharpaudit.errors.SharpauditError`.

ARCHITECTURE. Two towers on one foundation, under one roof. The measuring tower needs torch; the judging tower works without it.
They meet in `card` below and in `api` and `cli` above. A module imports its package-mates and anything on a lower storey:

    cli
    api
    audit  study
    cost
    execute  prepare
    plan
    probes
    workbench  disambiguation  setup_check  |  report
    checkpoints  data                       |  comparison  gate
    curvature  corruptions                  |  metrics  store
    ascent  device  transfer                |  stats
                          request
                      card  strict_yaml  signatures
                       files  flags  strict_json
                                  errors

What stands right of the bar, and all below it, imports no torch: a card is compared, gated and rendered on a machine without it.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
"""As in `typing`, which takes time to import."""

if TYPE_CHECKING:
    from sharpaudit.api import Card, judge, load, measure
    from sharpaudit.comparison import compare_runs as compare
    from sharpaudit.probes import probe

__all__ = ["Card", "compare", "judge", "load", "measure", "probe"]

__version__ = "0.1.0"

_HOMES = {
    **{name: ("sharpaudit.api", name) for name in ("Card", "judge", "load", "measure")},
    "compare": ("sharpaudit.comparison", "compare_runs"),
    "probe": ("sharpaudit.probes", "probe"),
}


if not TYPE_CHECKING:  # a type checker that sees it would take every name for an attribute

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            module, attribute = _HOMES[name]
            return getattr(import_module(module), attribute)
        raise AttributeError(f"module 'sharpaudit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
