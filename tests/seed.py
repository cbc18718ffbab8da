"""The seed of all that tests draw. The default tests draw the same in every run, so that what lands does not hang on chance;
`nox -s slow` draws anew. A failure states the seed, and ``SHARPAUDIT_TEST_SEED=N`` draws the same again.
"""

from __future__ import annotations

import os

VARIABLE = "SHARPAUDIT_TEST_SEED"
SEED = int(os.environ.get(VARIABLE, 1))
AGAIN = f"{VARIABLE}={SEED}"
"""What a failure says."""
