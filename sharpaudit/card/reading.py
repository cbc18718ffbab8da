"""What do the numbers say, in plain words? The function-centric paragraph of a card.

Sharpness describes the function that was learned; it is not a verdict on it (arXiv 2510.12451). For one checkpoint the paragraph
therefore says how safe it is, leaves flatness to its table, and sends who asks what one has to do with the other to a comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from sharpaudit.card import Measured, Measurement, Table
from sharpaudit.card.invariance import ratios, verdicts
from sharpaudit.card.measures import OF_A_CLASS, OF_CORRUPTION, find
from sharpaudit.card.prose import fixed, interval, signed
from sharpaudit.errors import clean

ALIKE = 2
"""How many classes that are equally bad are named."""


def reading(measurements: Sequence[Measurement], tables: Mapping[str, Table] = MappingProxyType({})) -> list[str]:
    """The paragraph, one sentence an item; it says only what was measured."""
    found = {m.name: m for m in measurements if isinstance(m, Measured)}
    return [
        *_accuracy(found),
        *_calibration(found),
        *_corruption(found),
        *_gap(found),
        *_sharpness(found),
        *_rescaling(found, tables),
        *_null(found),
    ]


def worst_classes(measurements: Sequence[Measurement]) -> list[Measured]:
    """The accuracy of the class that is the worst, or of those that are; empty where the card does not say."""
    found = {m.name: m for m in measurements if isinstance(m, Measured)}
    worst = found.get("clean.worst_class_accuracy")
    if worst is None:
        return []
    fewest = worst.options.get("smallest_class")
    enough = fewest if isinstance(fewest, int) else 0
    return [m for name, m in found.items() if name.startswith(OF_A_CLASS) and m.value == worst.value and m.n >= enough]


def classes_in_words(alike: Sequence[Measured]) -> str:
    """``class 8``, ``classes 3 and 8``, or a few and how many more; nothing of none."""
    names = [clean(m.name.removeprefix(OF_A_CLASS), 24) for m in alike[:ALIKE]]
    if len(alike) > ALIKE:
        return f"classes {', '.join(names)} and {len(alike) - ALIKE} more"
    return f"class{'es' * (len(alike) > 1)} {' and '.join(names)}" if alike else ""


def _accuracy(found: Mapping[str, Measured]) -> Iterator[str]:
    if accuracy := found.get("clean.accuracy"):
        named = classes_in_words(worst_classes(list(found.values())))
        worst = f" (worst {named}: {_percent(found['clean.worst_class_accuracy'])})" if named else ""
        yield f"It gets {_percent(accuracy)} of {accuracy.n:,} images right{worst}."


def _calibration(found: Mapping[str, Measured]) -> Iterator[str]:
    ece, floor = found.get("calibration.ece"), found.get("calibration.ece_floor")
    highest = floor.options.get("upper_95") if floor else None
    if ece and floor and isinstance(highest, int | float):
        beyond = ece.value > highest
        yield (
            f"Its confidences are off by {fixed(100 * ece.value, 1)} points{interval(ece.ci, 1, 100)} on average (ECE), "
            f"{'more' if beyond else 'no more'} than chance explains ({fixed(100 * floor.value, 1)} on average"
            + (f", above {fixed(100 * highest, 1)} once in 20 times)." if beyond else ").")
        )


def _corruption(found: Mapping[str, Measured]) -> Iterator[str]:
    if corrupted := found.get("corruption.accuracy"):
        known = (corrupted.options.get("source"), corrupted.options.get("cells"))
        of = f" ({clean(str(known[0]))}, {known[1]} cells)" if all(known) else ""
        single = [(m.value, name) for name, m in found.items() if name.startswith(OF_CORRUPTION) and name.count("/") == 1]
        lowest, name = min(single, default=(0.0, ""))
        named = clean(name.removeprefix(OF_CORRUPTION).replace("_", " "))
        worst = f" (worst under {named}: {100 * lowest:.1f}%)" if named else ""
        yield f"Under corruption{of} it gets {_percent(corrupted)} right{worst}."


def _gap(found: Mapping[str, Measured]) -> Iterator[str]:
    gap = found.get("clean.generalisation_gap")
    if gap is None or gap.ci is None:
        return
    if gap.ci.low <= 0 <= gap.ci.high:
        told = f"{signed(100 * gap.value, 1)} points{interval(gap.ci, 1, 100)}"
        yield f"Its training accuracy cannot be distinguished from its test accuracy: {told}."
    else:
        low, high = sorted((abs(gap.ci.low), abs(gap.ci.high)))
        points = f"{fixed(100 * abs(gap.value), 1)} points [{fixed(100 * low, 1)}, {fixed(100 * high, 1)}]"
        yield f"Its training accuracy is {points} {'above' if gap.value > 0 else 'below'} its test accuracy."


def _sharpness(found: Mapping[str, Measured]) -> Iterator[str]:
    if any((known := find(m)) and "flatness" in known.on for m in found.values()):
        yield "Whether sharper goes with safer here, only a comparison on the same data can say: sharpaudit compare A B."


def _rescaling(found: Mapping[str, Measured], tables: Mapping[str, Table]) -> Iterator[str]:
    """What rescaling did to the flatness numbers of this card, where it was tried."""
    tried = {name: verdict for name, verdict in verdicts(list(found.values()), tables).items() if verdict != "not tested"}
    moved = [name for name, verdict in tried.items() if verdict == "not invariant"]
    if tried:
        pairs = found.get("reparametrisation.pairs")
        alpha = pairs.options.get("alpha") if pairs else None
        how = " layers"
        if pairs and isinstance(alpha, int | float):
            how = f" {pairs.value:.0f} pair{'s' * (pairs.value != 1)} of layers by {alpha:g}"
        times = [max(ratio, 1 / ratio) for name, ratio in ratios(tables).items() if name in moved and ratio > 0]
        largest = float(f"{max(times, default=0):.3g}")
        upto = f" by up to {fixed(largest, 0) if largest >= 100 else f'{largest:g}'} times" if times else ""
        scale = ": between networks they may differ by scale alone" if moved else ""
        yield f"Rescaling{how}, no logit changed, moves {len(moved) or 'none'} of {len(tried)} flatness numbers{upto}{scale}."


def _null(found: Mapping[str, Measured]) -> Iterator[str]:
    protocol, null = found.get("sharpness.random_paper_protocol"), found.get("sharpness.random_null")
    if protocol and null and null.value >= 0.1 * protocol.value > 0:
        yield (
            f"The published random-sharpness protocol reads {100 * null.value / protocol.value:.0f}% of its value with nothing "
            "perturbed: that part is its shuffled batches, not sharpness."
        )


def _percent(m: Measured) -> str:
    return f"{fixed(100 * m.value, 1)}%{interval(m.ci, 1, 100)}"
