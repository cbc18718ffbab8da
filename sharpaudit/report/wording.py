"""How is a number said? With the digits its interval justifies, its interval, and its name in words.

Every renderer takes its numbers and titles from here, so a measurement reads the same on paper, on screen and in a comment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sharpaudit.card import Interval, Measured
from sharpaudit.card.measures import Named, in_words
from sharpaudit.card.prose import fixed
from sharpaudit.errors import clean

NO_GOOD_DIRECTION = "Sharpness has no good direction: these numbers describe the function that was learned, they do not grade it."

MARKS: Mapping[str, str] = {"invariant": "≡", "invariant for whole layers": "≅", "not invariant": "≢"}
"""Behind the name of a flatness measure: what rescaling did to it."""

SMALLEST_PLAIN, LARGEST_PLAIN = 1e-3, 1e6
"""Outside of this range numbers are written with a power of ten."""

FINER = 4
"""So many digits are tried until an interval that excludes zero no longer prints as touching it."""

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def foreign(text: str, limit: int = 120) -> str:
    """Text from outside on one line, without control characters and without what a CI runner takes for a command.

    GitHub's runner acts on ``::`` at the beginning of a line and on ``##[`` anywhere in it (actions/runner, ActionCommand.cs),
    and a line may begin anywhere once text is wrapped. Each sink adds its own escaping to this.
    """
    return re.sub(r":(?=:)|#(?=#)", lambda match: f"\\x{ord(match[0]):02x}", clean(text, limit))


def title(what: str | Named) -> str:
    """A measurement, or what is called so, in words: ``corruption.accuracy/fog/3`` is *Corruption accuracy, fog 3*."""
    return foreign(in_words(what))


def value(measured: Measured) -> str:
    """The value with the digits its interval justifies, without the interval."""
    return number(measured.value, measured.ci)


def estimate(measured: Measured) -> str:
    """Value and interval: ``0.915 [0.896, 0.931]``; the value alone where there is no interval."""
    return number(measured.value, measured.ci, show_interval=True)


@dataclass(frozen=True)
class Said:
    """A number in three pieces, so that a renderer may set them apart."""

    value: str
    interval: str
    """``[low, high]``, or nothing."""
    power: str
    """`` × 10⁻⁵`` for all of them, or nothing."""


def said(centre: float, ci: Interval | None = None) -> Said:
    """`centre` with as many digits as `ci` justifies, four where there is none; all pieces share one power of ten."""
    ends = [ci.low, ci.high] if ci else []
    power = _power(max(map(abs, [centre, *ends])))
    centre, *ends = (part / 10.0**power for part in [centre, *ends])
    places = _places(centre, ends[1] - ends[0] if ends else 0.0)
    if ends and ends[0] * ends[1] > 0:
        places = next((more for more in range(places, places + FINER) if all(round(end, more) for end in ends)), places)
    interval = f"[{fixed(ends[0], places)}, {fixed(ends[1], places)}]" if ends else ""
    return Said(fixed(centre, places), interval, _times(power))


def number(centre: float, ci: Interval | None = None, *, show_interval: bool = False) -> str:
    """`centre` as `said`, on request with the interval after it: ``6.21 [5.80, 6.62] × 10⁻⁵``."""
    pieces = said(centre, ci)
    interval = f" {pieces.interval}" if pieces.interval and show_interval else ""
    return pieces.value + interval + pieces.power


def rough(value: float) -> str:
    """`value` with three digits, for where its interval is not at hand."""
    power = _power(abs(value))
    scaled = value / 10.0**power
    return fixed(scaled, _decimals(scaled, 3) if scaled else 0) + _times(power)


def count(n: int) -> str:
    """A whole number with thousands separated: ``10,000``."""
    return f"{n:,}"


def unit(measured: Measured) -> str:
    """The unit as it is printed: nothing for fractions and pure numbers."""
    return "" if measured.unit in ("fraction", "1") else foreign(measured.unit, 32)


def direction(measured: Measured) -> str:
    """An arrow towards better; nothing where there is no better."""
    return {"higher": "↑", "lower": "↓", "none": ""}[measured.direction]


def _places(centre: float, width: float) -> int:
    """Decimals whose step is at most a tenth of half the width, or that give four digits where there is no width."""
    if width > 0:
        return min(12, max(0, math.ceil(1 - math.log10(width / 2))))
    return 0 if centre == round(centre) else _decimals(centre, 4)


def _decimals(value: float, digits: int) -> int:
    return min(6, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def _power(largest: float) -> int:
    """The power of ten that is written apart: 0 for numbers that read well as they are."""
    if largest == 0 or SMALLEST_PLAIN <= largest < LARGEST_PLAIN:
        return 0
    return max(-300, math.floor(math.log10(largest)))


def _times(power: int) -> str:
    return f" × 10{str(power).translate(SUPERSCRIPT)}" if power else ""
