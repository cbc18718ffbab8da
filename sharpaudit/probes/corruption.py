"""How much of its accuracy does the model keep when the images are degraded?

Why it matters
    Noise, blur, weather and compression are what a released model meets. Accuracy under them separates models that clean accuracy
    cannot tell apart.

How it is computed
    Each test image is taken from a published set (``--data cifar10-c``), or corrupted on the device by our own versioned
    functions and quantised to 8 bits as the published sets are (label ``synthetic-c``), and sent through once; the same corrupted
    images for every checkpoint, batch size and machine: the table's ``sha256`` is of the bytes that went through, and of their
    labels. Where fewer images than the test set holds are used, they are evenly spaced over it. The mean over cells (corruption ×
    severity) is unweighted, as in the published protocols. Its interval is a bootstrap over *images*: the same image stands in
    every cell, so cells are not independent samples. The mean corruption error needs a reference: ``--set
    corruption.reference=RUN`` takes a model's card, ``alexnet`` the published unit of ImageNet-C.

When not to trust it
    Our functions are not the published files: compare `synthetic-c` numbers with each other, never with published CIFAR-10-C
    tables. Severity constants follow the image size; at 8×8 pixels the blurs remove most of the content. A mean over nineteen
    corruptions is not a mean over fifteen: the number of cells stands beside every mean.

Sources
    Hendrycks and Dietterich 2019 (ImageNet-C and CIFAR-10-C protocols, mean corruption error).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from sharpaudit import corruptions, store
from sharpaudit.card import CorruptionSource, Measured, Skipped, Table
from sharpaudit.card.measures import OF_CORRUPTION
from sharpaudit.errors import CardError, UnknownName, UsageError, clean
from sharpaudit.metrics import calibration, estimates
from sharpaudit.metrics.corruption import ALEXNET, FAMILY, STANDARD15, Cell, Reference, mean_corruption_error, mean_over_cells
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.probes import Finding, NamedTable, Need, NotApplicable, Passes, Workbench, Workload, measured, probe
from sharpaudit.stats import Estimate, bootstrap, evenly_spaced, first_mean


def _several(value: Any) -> Any:
    """One text on a command line is a list of one."""
    return [value] if isinstance(value, str) and value else value or ()


def _reference(value: Any) -> Any:
    """The model that a user named: ``alexnet``, or a card whose table of corruptions holds its errors."""
    if not isinstance(value, str):
        return value
    if value == ALEXNET.name:
        return ALEXNET
    try:
        card = store.load_run(Path(value)).card
    except CardError as error:
        raise UsageError(
            f"corruption.reference: expected alexnet, a run folder or a report.json: {error.message}", path=clean(value)
        ) from error
    table = card.tables.get("corruption")
    if table is None or card.corruptions is None:
        raise UsageError("corruption.reference: this card has no corruption table with a source", path=clean(value))
    errors = {f"{row['corruption']}/{row['severity']}": 1 - float(row["accuracy"] or 0) for row in table.records()}
    return Reference(clean(card.subject.file), card.corruptions.label, errors)


@dataclass(frozen=True, kw_only=True)
class CorruptionOptions:
    """Settings of the corruption probe."""

    severities: Annotated[tuple[int, ...], BeforeValidator(_several)] = (1, 2, 3, 4, 5)
    """Which of the severities 1 to 5."""
    names: Literal["all", "standard15"] = "all"
    """All nineteen corruptions, or the fifteen of the benchmark."""
    cells: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    """Only these, as ``fog/3``, instead of `names` at `severities`."""
    samples: int = 1000
    """Images per cell, evenly spaced over the test set."""
    reference: Annotated[Reference | None, BeforeValidator(_reference)] = None
    """Whose errors are the unit of `corruption.mce`: ``alexnet``, a run folder or a report.json."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if not self.severities or not set(self.severities) <= set(corruptions.SEVERITIES):
            raise UsageError(f"corruption.severities: expected some of 1 to 5, got {list(self.severities)}")
        if self.samples < 1:
            raise UsageError(f"corruption.samples: expected at least 1, got {self.samples}")
        for cell in self.cells:
            name, _, severity = cell.partition("/")
            if name not in FAMILY:
                raise UnknownName("corruption", name, FAMILY)
            if severity not in map(str, corruptions.SEVERITIES):
                raise UsageError(f"corruption.cells: expected NAME/SEVERITY, severity 1 to 5, got '{clean(cell)}'")

    @property
    def wanted(self) -> list[Cell]:
        """The cells that are run where they are there, in the order of the card's table."""
        if self.cells:
            return [(name, level) for name in FAMILY for level in corruptions.SEVERITIES if f"{name}/{level}" in self.cells]
        names = FAMILY if self.names == "all" else STANDARD15
        return [(name, level) for name in names for level in sorted(set(self.severities))]


def cost(workload: Workload, options: CorruptionOptions) -> Passes:
    """One forward pass of the sampled images per cell."""
    return Passes(forward=min(options.samples, workload.test) * len(options.wanted))


@dataclass(frozen=True)
class _Means:
    """Makes measurements of means over cells, which all carry the same words."""

    bench: Workbench
    source: CorruptionSource
    n: int

    def __call__(self, name: str, per_image: NDArray[np.float64], num_cells: int, what: str) -> Measured:
        found = bootstrap(per_image, first_mean, self.bench.resamples(self.n))
        ci = found.ci and found.ci.model_copy(update={"method": f"{found.ci.method}, images as clusters"})
        return self.of(name, replace(found, ci=ci), num_cells, what)

    def of(self, name: str, found: Estimate, num_cells: int, what: str) -> Measured:
        """The measurement of an estimate that is at hand."""
        return measured(
            name,
            found,
            self.n,
            f"{title(self.source)}, {what}, unweighted mean over {num_cells} cells",
            {"cells": num_cells, "samples": self.n, "source": self.source.label},
        )


def title(source: CorruptionSource) -> str:
    """The source in words: ours with the version of the functions, never under the name of a published set."""
    return f"{source.label} ({source.version})" if source.version else f"{source.label} (published files)"


@probe(
    needs={Need.PREDICTIONS, Need.CORRUPTED, Need.RESAMPLES},
    version=2,
    cost=cost,
)
def corruption(bench: Workbench, options: CorruptionOptions) -> Iterator[Finding]:
    """Yield accuracy per cell, per corruption, family and severity and over all cells, and the table behind them."""
    clean_predictions = bench.predictions
    source, there = bench.corruption_source, set(bench.corruption_cells)
    wanted = [cell for cell in options.wanted if cell in there]
    if not wanted:
        raise NotApplicable(f"{source.label} holds none of the cells that were asked for")
    cells = {cell: bench.corrupted(*cell, options.samples) for cell in wanted}
    n = len(next(iter(cells.values())))
    means = _Means(bench, source, n)

    def accuracy(name: str, chosen: Collection[Cell]) -> Measured:
        return means(name, mean_over_cells([cells[cell].correct for cell in chosen]), len(chosen), "top-1 accuracy")

    yield accuracy("corruption.accuracy", cells)
    yield _standard15(cells, accuracy)
    groups: dict[str, list[Cell]] = {}
    for name, severity in cells:
        for qualifier in (name, f"family/{FAMILY[name]}", f"*/{severity}"):
            groups.setdefault(f"{OF_CORRUPTION}{qualifier}", []).append((name, severity))
    for name, chosen in groups.items():
        yield accuracy(name, chosen)
    for (name, severity), seen in cells.items():
        share = estimates.proportion(seen.correct)
        yield measured(f"{OF_CORRUPTION}{name}/{severity}", share, n, f"{title(source)}, top-1 accuracy")
    nll = mean_over_cells([seen.nll for seen in cells.values()])
    yield means("corruption.nll", nll, len(cells), "mean −log p of the label")
    before = clean_predictions.prediction[evenly_spaced(len(clean_predictions), n)] if source.paired else None
    if before is None:
        yield Skipped(name="corruption.flip_rate", reason="it is not known which clean image each corrupted one comes from")
    else:
        flips = mean_over_cells([seen.prediction != before for seen in cells.values()])
        words = "share of predictions that differ from the clean one"
        yield means("corruption.flip_rate", flips, len(cells), words)
    eces = {cell: calibration.ece(seen.confidence, seen.correct) for cell, seen in cells.items()}
    reason = "a mean of per-cell ECEs, each biased upward at this n; compare it between models on the same images"
    ece = Estimate(float(np.mean(list(eces.values()))), None, reason)
    yield means.of("corruption.ece", ece, len(cells), "ECE of 15 equal-width bins")
    yield _mce(cells, options.reference, means)
    hashes = {cell: bench.corrupted_hash(*cell) for cell in cells}
    yield NamedTable("corruption", _table(cells, eces, before, hashes))


def _standard15(cells: Collection[Cell], accuracy: Callable[[str, Collection[Cell]], Measured]) -> Finding:
    """The benchmark's mean, only where it is the mean of all fifteen at the same severities."""
    severities = {level for _, level in cells}
    lacking = [f"{name}/{level}" for name in STANDARD15 for level in sorted(severities) if (name, level) not in cells]
    if lacking:
        shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if len(lacking) > 5 else "")
        return Skipped(name="corruption.accuracy_standard15", reason=f"not all of the fifteen were measured: {shown}")
    return accuracy("corruption.accuracy_standard15", [cell for cell in cells if cell[0] in STANDARD15])


def _mce(cells: Mapping[Cell, Predictions], reference: Reference | None, means: _Means) -> Finding:
    """The mean corruption error, where a reference was named that fits."""
    name, label = "corruption.mce", means.source.label
    if reference is None:
        return Skipped(name=name, reason="no reference model was named (--set corruption.reference=RUN)")
    if reference.source != label:
        return Skipped(name=name, reason=f"{reference.name} was measured on {reference.source}, this is {label}")
    standard = {cell: seen.correct for cell, seen in cells.items() if cell[0] in STANDARD15}
    try:
        per_image = mean_corruption_error(standard, reference)
    except ValueError as error:
        return Skipped(name=name, reason=str(error))
    words = f"error relative to {reference.name}"
    return means(name, per_image, len(standard), words)


def _table(
    cells: Mapping[Cell, Predictions],
    eces: Mapping[Cell, float],
    before: NDArray[np.int64] | None,
    hashes: Mapping[Cell, str],
) -> Table:
    return Table(
        columns=["corruption", "family", "severity", "n", "accuracy", "ece", "nll", "flip_rate", "sha256"],
        rows=[
            [
                name,
                FAMILY[name],
                severity,
                len(seen),
                float(seen.correct.mean()),
                eces[name, severity],
                float(seen.nll.mean()),
                None if before is None else float((seen.prediction != before).mean()),
                hashes[name, severity],
            ]
            for (name, severity), seen in cells.items()
        ],
    )
