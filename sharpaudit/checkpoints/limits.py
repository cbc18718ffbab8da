"""How much may a checkpoint ask for before we stop reading? Every budget, its flag and its refusal.

A file can claim far more than it holds. Each budget is checked before the memory or time it protects is spent, and each
refusal names the flag that raises it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sharpaudit.errors import UnsafeInput


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Budgets of the readers; field ``max_x`` is the flag ``--max-x``."""

    max_file_bytes: int = 16 * 2**30
    """Size of one file, which is read whole."""
    max_header_bytes: int = 16 * 2**20
    """JSON header of a safetensors file, ``config.json`` and the like."""
    max_tensors: int = 50_000
    """Tensors in one file. The largest architecture of timm has about 2,500."""
    max_name_chars: int = 2**14
    """Length of one tensor name."""
    max_rank: int = 16
    """Dimensions of one tensor."""
    max_pickle_steps: int = 1_000_000
    """Opcodes of all pickles in a file, and items that they have copied; a tensor takes about 30."""
    max_depth: int = 200
    """Nesting of containers that is searched for weights."""
    max_view_excess_bytes: int = 2**20
    """How far a view may exceed the bytes stored for it (a tensor expanded with stride 0)."""
    max_shared_bytes: int = 128 * 2**20
    """How far all tensors together may exceed the bytes stored for them (views and ties, which get copies of their own)."""

    def check(self, budget: str, amount: int, what: str) -> None:
        """Refuse when `amount` is above the budget of that name.

        Raises:
            UnsafeInput: with the amount, the limit and the flag.
        """
        limit = getattr(self, budget)
        if amount > limit:
            flag = "--" + budget.replace("_", "-")
            raise UnsafeInput(f"{what}: {amount:,} is above the limit of {limit:,}", hint=f"{flag} raises it")


class Meter:
    """What reading one file has cost so far, held to its budget: not how long the file is but what it makes us do.

    A few bytes can ask again and again for the same large thing (a shape, a text, a dictionary) that lies in the memo. Whoever
    copies or walks something that a file handed over says here how long it is, before doing so.
    """

    def __init__(self, limits: Limits, file_bytes: int) -> None:
        self._limits = limits
        self._file_bytes = file_bytes
        self._steps = self._made = 0

    def step(self, count: int = 1) -> None:
        """Count instructions done or items copied.

        Raises:
            UnsafeInput: more than `Limits.max_pickle_steps`.
        """
        self._steps += count
        if self._steps > self._limits.max_pickle_steps:
            self._limits.check("max_pickle_steps", self._steps, "steps to read the pickle")

    def check(self, budget: str, amount: int, what: str) -> None:
        """As `Limits.check`."""
        self._limits.check(budget, amount, what)

    def make(self, num_bytes: int) -> None:
        """Count bytes that are made of others.

        Raises:
            UnsafeInput: `Limits.max_shared_bytes` more than the file has.
        """
        self._made += num_bytes
        self._limits.check("max_shared_bytes", self._made - self._file_bytes, "bytes made by the pickle beyond its own")


DEFAULT = Limits()
