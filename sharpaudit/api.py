"""What may a program ask of sharpaudit? The functions behind ``import sharpaudit``, for scripts and notebooks.

They take paths and names as the command line does and return the same records. `sharpaudit.audit.Request` has every setting of an
audit where the ones here are too few. Importing this gives cards their look in a notebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from sharpaudit import gate
from sharpaudit.card import Card
from sharpaudit.gate import Judgement, Policy
from sharpaudit.gate.policy import read
from sharpaudit.report.notebook import fragment
from sharpaudit.store import Run, load_run

__all__ = ["Card", "judge", "load", "measure"]


def measure(
    checkpoint: str | PathLike[str],
    data: str,
    *,
    train_data: str | None = None,
    architecture: str | None = None,
    probes: str = "standard",
    options: Mapping[str, Mapping[str, Any]] | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: str = "auto",
    search: Sequence[str | PathLike[str]] = (),
) -> Run:
    """The audit of one checkpoint: a run, which is a card and the per-example predictions behind it. Writes nothing.

    Args:
        checkpoint: the file or folder; code in it is not run.
        data: test images, as ``--data`` names them.
        train_data: training images, for the generalisation gap and as the curvature probe set.
        architecture: as ``--arch``; else it is found from the file.
        probes: presets and probes, separated by commas.
        options: probe → option → value.
        limit: use only the first so many test images.
        seed: of every random choice.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        search: folders in which data sets are looked up by name.

    Raises:
        SharpauditError: the subclass says whether the request, the checkpoint, the data or the machine is at fault.
    """
    from sharpaudit import audit
    from sharpaudit.workbench import BenchSettings

    return audit.measure(
        audit.Request(
            checkpoint=Path(checkpoint),
            data=data,
            train_data=train_data,
            architecture=architecture,
            probes=probes,
            options=options or {},
            limit=limit,
            bench=BenchSettings(seed=seed, device=device),
            search=tuple(map(Path, search)),
        )
    )


def load(run: str | PathLike[str]) -> Run:
    """The run in a folder that `sharpaudit measure` wrote, or the card in a report.json. Needs no torch.

    Raises:
        CardError: there is no readable card.
    """
    return load_run(Path(run))


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


Card._repr_html_ = fragment  # type: ignore[attr-defined]  # a card knows nothing of reports, which stand above it
