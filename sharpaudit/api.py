"""What may a program ask of sharpaudit? The functions behind ``import sharpaudit``, for scripts and notebooks.

They take paths and names as the command line does and return the same records. Importing this gives cards their look in a
notebook.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from os import PathLike
from pathlib import Path
from typing import Any

import sharpaudit.report.html  # noqa: F401 - gives cards their look in a notebook
from sharpaudit import gate
from sharpaudit.card import Card
from sharpaudit.gate import Judgement, Policy
from sharpaudit.gate.policy import read
from sharpaudit.request import request
from sharpaudit.signatures import read_keys
from sharpaudit.store import Run, load_run

__all__ = ["Card", "judge", "load", "measure"]


def measure(checkpoint: str | PathLike[str], data: str, **settings: Any) -> Run:
    """The audit of one checkpoint: a run, which is a card and the per-example predictions behind it. Writes nothing.

    Args:
        checkpoint: the file or folder; code in it is not run.
        data: test images, as ``--data`` names them.
        **settings: any field of `sharpaudit.request.Request` or of a record in it, such as ``probes="quick"``, ``limit=1000``,
            ``device="cpu"``, ``mean=(0.5,)`` or ``options={"spectrum": {"max_iterations": 300}}``.

    Raises:
        SharpauditError: the subclass says whether the request, the checkpoint, the data or the machine is at fault.
    """
    from sharpaudit import audit

    others = {name: settings.pop(name) for name in ("options", "search") if name in settings}
    return audit.measure(request(Path(checkpoint), {"data": data, **settings}, **others))


def load(run: str | PathLike[str], *, trusted_keys: str | PathLike[str] | None = None) -> Run:
    """The run in a folder that `sharpaudit measure` wrote, or the card in a report.json. Needs no torch.

    Args:
        run: the folder or the card.
        trusted_keys: public keys, a file or a folder; the run must be signed with one of them.

    Raises:
        CardError: there is no readable card.
        UnsafeInput: the run is not signed with a trusted key, or was changed since.
    """
    return load_run(Path(run), None if trusted_keys is None else read_keys(Path(trusted_keys)))


def judge(run: Run, policy: Policy | str | PathLike[str], *, baseline: Run | None = None, today: date | None = None) -> Judgement:
    """The verdicts of a policy on a run; `Judgement.exit_code` is 0 where it passed. Needs no torch.

    Args:
        run: the candidate.
        policy: the rules, or the file they stand in.
        baseline: the run that rules about a baseline compare with.
        today: decides which waivers hold; else the date of the clock, UTC.

    Raises:
        UsageError: the policy cannot mean what it says.
        CardError: a card cannot be right; the baseline is missing or was measured otherwise.
    """
    rules = policy if isinstance(policy, Policy) else read(Path(policy))
    return gate.judge_run(run, rules, today=today or datetime.now(UTC).date(), baseline=baseline)
