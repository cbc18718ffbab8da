"""What do the numbers say, in plain words? The function-centric paragraph of a card.

Sharpness describes the function that was learned; it is not a verdict on it (arXiv 2510.12451). For one checkpoint the paragraph
therefore states both sides and calls neither good nor bad on the other's account; only a reference can turn them into a reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from sharpaudit.card import Measured, Measurement, Table
from sharpaudit.card.invariance import Verdict, ratios, verdicts

REPARAMETRISATION = {
    "flatness.fisher_rao": "rescaling of adjacent layers",
    "flatness.relative_trace_normalised": "rescaling of single features and of adjacent layers",
    "flatness.relative_trace": "rescaling of whole layers",
    "flatness.relative_lambda": "rescaling of whole layers",
}
"""Measures that exact rescalings of a ReLU network leave alone, and which rescalings; all others move with them."""

SHARPNESS = ("sharpness.lambda_max", "sharpness.trace", "sharpness.sam", "sharpness.random")


def reading(measurements: Sequence[Measurement], tables: Mapping[str, Table] = MappingProxyType({})) -> list[str]:
    """The paragraph, one sentence an item; it says only what was measured."""
    found = {m.name: m for m in measurements if isinstance(m, Measured)}
    return [*_safety(found), *_sharpness(found), *_null(found), *_caution(found, tables)]


def _safety(found: dict[str, Measured]) -> list[str]:
    sentences = []
    if accuracy := found.get("clean.accuracy"):
        sentences.append(f"It is right on {_percent(accuracy)} of {accuracy.n:,} images.")
    ece, floor = found.get("calibration.ece"), found.get("calibration.ece_floor")
    if ece and floor:
        upper = floor.options.get("upper_95")
        miscalibrated = isinstance(upper, float) and ece.value > upper
        sentences.append(
            f"Its expected calibration error is {ece.value:.3f}; a perfectly calibrated model with these confidences would show "
            f"{floor.value:.3f} on average at this n"
            + (
                f", and above {upper:.3f} once in 20 times."
                if miscalibrated
                else ", so it is not distinguishable from calibrated."
            )
        )
    if corrupted := found.get("corruption.accuracy"):
        cells = corrupted.options.get("cells")
        source = corrupted.options.get("source", "synthetic-c")
        sentences.append(f"Under corruption ({source}, {cells} cells) it is right on {_percent(corrupted)}.")
    if gap := found.get("clean.generalisation_gap"):
        side = "above" if gap.value >= 0 else "below"
        sentences.append(f"Its training accuracy is {100 * abs(gap.value):.1f} points {side} its test accuracy.")
    return sentences


def _percent(m: Measured) -> str:
    interval = f" [{100 * m.ci.low:.1f}, {100 * m.ci.high:.1f}]" if m.ci else ""
    return f"{100 * m.value:.1f} %{interval}"


def _sharpness(found: dict[str, Measured]) -> list[str]:
    shown = [name for name in (*SHARPNESS, *REPARAMETRISATION) if name in found]
    if not shown:
        return []
    return [
        "How sharp its minimum is (" + ", ".join(f"{name.partition('.')[2]} {found[name].value:.3g}" for name in shown) + ") "
        "describes the function it learned and is neither good nor bad by itself: regularised networks often sit in sharper "
        "minima and are safer.",
        "Only a reference on the same data can say whether sharper goes with safer here: `sharpaudit compare A B`.",
    ]


def _null(found: dict[str, Measured]) -> list[str]:
    protocol, null = found.get("sharpness.random_paper_protocol"), found.get("sharpness.random_null")
    if protocol is None or null is None or null.value < 0.1 * protocol.value:
        return []
    return [
        f"With no perturbation at all the published random-sharpness protocol would read {null.value:.2g} here against its "
        f"reading of {protocol.value:.2g}: its shuffled batches are part of the number. Use sharpness.random."
    ]


def _tried(tried: Mapping[str, Verdict], times: Mapping[str, float], pairs: Measured | None) -> list[str]:
    """What rescaling did to the numbers of this card; the best known ones are named."""
    named = sorted(tried, key=lambda name: name not in (*SHARPNESS, *REPARAMETRISATION))
    moved = [f"{name} ({times[name]:.3g} times)" if name in times else name for name in named if tried[name] == "not invariant"]
    stayed = [name for name in named if tried[name] == "invariant"]
    if not moved and not stayed:
        return []
    alpha = pairs.options.get("alpha") if pairs else None
    how = " layers"
    if pairs and isinstance(alpha, int | float):
        how = f" {pairs.value:.0f} pair{'s' * (pairs.value != 1)} of layers by {alpha:g}"
    return [
        f"Rescaling{how} leaves every logit where it was and moves {_few(moved)}: between networks, differences in these can be "
        f"of scale alone. {_few(stayed)} stayed."
    ]


def _few(names: Sequence[str], most: int = 5) -> str:
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more]) or "none"


def _caution(found: dict[str, Measured], tables: Mapping[str, Table]) -> list[str]:
    invariant = [name for name in REPARAMETRISATION if name in found]
    moved = [name for name in SHARPNESS if name in found]
    sentences = []
    if tried := verdicts(list(found.values()), tables):
        sentences += _tried(tried, ratios(tables), found.get("reparametrisation.pairs"))
    elif invariant and moved:
        sentences.append(
            f"{', '.join(moved)} change when layers are rescaled without changing the function; {', '.join(invariant)} do not."
        )
    open_ends = [m.name for m in found.values() if m.converged is False]
    if open_ends:
        sentences.append(f"Not converged, and not to be relied on: {', '.join(sorted(open_ends))}.")
    return sentences
