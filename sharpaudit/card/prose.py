"""How is a number written in a sentence? With a true minus sign, without a negative zero, its interval behind it."""

from __future__ import annotations

from sharpaudit.card.measurement import Interval


def fixed(number: float, places: int) -> str:
    """`number` with `places` decimals; from 10,000 on with thousands separated."""
    text = f"{number:,.{places}f}" if abs(number) >= 10_000 else f"{number:.{places}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def signed(change: float, places: int) -> str:
    """A change with its sign."""
    return ("+" if round(change, places) > 0 else "") + fixed(change, places)


def interval(ci: Interval | None, places: int, scale: float = 1) -> str:
    """`` [low, high]``, both times `scale`; nothing where there is none."""
    return f" [{fixed(scale * ci.low, places)}, {fixed(scale * ci.high, places)}]" if ci else ""
