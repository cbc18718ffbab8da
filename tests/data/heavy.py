"""Data that ask for much more than they weigh, in every form that ``--data`` takes.

Seeded: a finding is made again from its kind and seed. ``python -m tests.data.heavy KIND SEED FOLDER`` writes one case and prints
what ``--data`` takes.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

from tests.data import heavy_arrays, heavy_pictures

Make = Callable[[Path, random.Random], str]
MAKES: tuple[Make, ...] = (*heavy_arrays.KINDS, *heavy_pictures.KINDS)
KINDS: dict[str, Make] = {getattr(make, "__name__", ""): make for make in MAKES}


def case(kind: str, seed: int, folder: Path) -> str:
    """Write the case into the empty `folder` and return what ``--data`` takes."""
    return KINDS[kind](folder, random.Random(f"{kind} {seed}"))


if __name__ == "__main__":
    print(case(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
