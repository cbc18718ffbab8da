"""The seed of all that tests draw: new in every run. A failure states it, and ``SHARPAUDIT_TEST_SEED=N`` draws the same again."""

from __future__ import annotations

import os
import random

VARIABLE = "SHARPAUDIT_TEST_SEED"
SEED = int(os.environ.get(VARIABLE, random.SystemRandom().randrange(10**9)))
AGAIN = f"{VARIABLE}={SEED}"
"""What a failure says."""
