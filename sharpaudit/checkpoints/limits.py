"""What has reading a file cost so far, and is it more than the file may ask for?"""

from __future__ import annotations

from sharpaudit.request import Limits


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
