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
    """Opcodes of one pickle; a tensor takes about 30."""
    max_depth: int = 200
    """Nesting of containers that is searched for weights."""
    max_view_excess_bytes: int = 2**20
    """How far a view may exceed the bytes stored for it (a tensor expanded with stride 0)."""

    def check(self, budget: str, amount: int, what: str) -> None:
        """Refuse when `amount` is above the budget of that name.

        Raises:
            UnsafeInput: with the amount, the limit and the flag.
        """
        limit = getattr(self, budget)
        if amount > limit:
            flag = "--" + budget.replace("_", "-")
            raise UnsafeInput(f"{what}: {amount:,} is above the limit of {limit:,}", hint=f"{flag} raises it")


DEFAULT = Limits()
