"""How much of its accuracy does the model keep when the images are degraded?

Why it matters
    Noise, blur, weather and compression are what a released model meets. Accuracy under them separates models that clean accuracy
    cannot tell apart.

How it is computed
    Each test image is corrupted on the device by our own versioned functions (label ``synthetic-c``), quantised to 8 bits as the
    published sets are, and sent through once; the same corrupted images for every checkpoint, batch size and machine. The mean
    over cells (corruption × severity) is unweighted, as in the published protocols. Its interval is a bootstrap over *images*:
    the same image stands in every cell, so cells are not independent samples.

When not to trust it
    Our functions are not the published files: compare `synthetic-c` numbers with each other, never with published CIFAR-10-C
    tables. Severity constants follow the image size; at 8×8 pixels the blurs remove most of the content.

Sources
    Hendrycks and Dietterich 2019 (ImageNet-C and CIFAR-10-C protocols).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sharpaudit import corruptions
from sharpaudit.card import Measured, Table
from sharpaudit.errors import UsageError
from sharpaudit.metrics import calibration
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.probes import Finding, NamedTable, Need, Passes, Workbench, Workload, probe
from sharpaudit.stats import bootstrap, first_mean, wilson


@dataclass(frozen=True, kw_only=True)
class CorruptionOptions:
    """Settings of the corruption probe."""

    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Which of the severities 1 to 5."""
    names: Literal["all", "standard15"] = "all"
    """All nineteen corruptions, or the fifteen of the benchmark."""
    samples: int = 1000
    """Images per cell: the first this many of the test set."""

    def __post_init__(self) -> None:
        """Refuse settings that no run could honour."""
        if not self.severities or not set(self.severities) <= {1, 2, 3, 4, 5}:
            raise UsageError(f"corruption.severities: expected some of 1 to 5, got {list(self.severities)}")
        if self.samples < 1:
            raise UsageError(f"corruption.samples: expected at least 1, got {self.samples}")

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The corruptions that are run, in the order of the card's table."""
        return corruptions.NAMES if self.names == "all" else corruptions.STANDARD15


def cost(workload: Workload, options: CorruptionOptions) -> Passes:
    """One forward pass of the sampled images per cell."""
    return Passes(forward=min(options.samples, workload.test) * len(options.severities) * len(options.corruptions))


@probe(
    needs={Need.PREDICTIONS, Need.CORRUPTED, Need.RESAMPLES},
    version=1,
    measures=[
        "corruption.accuracy",
        "corruption.accuracy_standard15",
        "corruption.accuracy/*",
        "corruption.ece",
        "corruption.nll",
        "corruption.flip_rate",
    ],
    cost=cost,
)
def corruption(bench: Workbench, options: CorruptionOptions) -> Iterator[Finding]:
    """Yield accuracy per cell, per corruption, per severity and over all cells, and the table behind them."""
    clean = bench.predictions
    cells = {
        (name, severity): bench.corrupted(name, severity, options.samples)
        for name in options.corruptions
        for severity in options.severities
    }
    n = len(next(iter(cells.values())))
    first = clean.prediction[:n]

    def mean(name: str, values: list[NDArray[np.float64]], unit: str, direction: Literal["higher", "lower"], of: str) -> Measured:
        per_image = np.mean(np.stack(values), axis=0)
        found = bootstrap(per_image, first_mean, bench.resamples(n))
        return Measured(
            name=name,
            value=found.value,
            unit=unit,
            direction=direction,
            n=n,
            ci=found.ci and found.ci.model_copy(update={"method": f"{found.ci.method}, images as clusters"}),
            reason=found.reason,
            method=f"synthetic-c ({corruptions.VERSION}), {of}, unweighted mean over {len(values)} cells",
            options={"cells": len(values), "samples": n},
        )

    def accuracy(name: str, chosen: list[tuple[str, int]]) -> Measured:
        return mean(name, [cells[cell].correct.astype(float) for cell in chosen], "fraction", "higher", "top-1 accuracy")

    yield accuracy("corruption.accuracy", list(cells))
    standard = [cell for cell in cells if cell[0] in corruptions.STANDARD15]
    yield accuracy("corruption.accuracy_standard15", standard)
    for name in options.corruptions:
        yield accuracy(f"corruption.accuracy/{name}", [cell for cell in cells if cell[0] == name])
    for severity in options.severities:
        yield accuracy(f"corruption.accuracy/*/{severity}", [cell for cell in cells if cell[1] == severity])
    for (name, severity), seen in cells.items():
        hits = int(seen.correct.sum())
        yield Measured(
            name=f"corruption.accuracy/{name}/{severity}",
            value=hits / n,
            unit="fraction",
            direction="higher",
            n=n,
            ci=wilson(hits, n),
            method=f"synthetic-c ({corruptions.VERSION}), top-1 accuracy",
        )
    yield mean("corruption.nll", [seen.nll for seen in cells.values()], "nats", "lower", "mean −log p of the label")
    flips = [(seen.prediction != first).astype(float) for seen in cells.values()]
    yield mean("corruption.flip_rate", flips, "fraction", "lower", "share of predictions that differ from the clean one")
    eces = {cell: calibration.ece(seen.confidence, seen.correct) for cell, seen in cells.items()}
    yield Measured(
        name="corruption.ece",
        value=float(np.mean(list(eces.values()))),
        unit="fraction",
        direction="lower",
        n=n,
        reason="a mean of per-cell ECEs, each biased upward at this n; compare it between models on the same images",
        method=f"synthetic-c ({corruptions.VERSION}), ECE of 15 equal-width bins, unweighted mean over {len(cells)} cells",
        options={"cells": len(cells), "samples": n},
    )
    yield NamedTable("corruption", _table(cells, eces, first))


def _table(cells: dict[tuple[str, int], Predictions], eces: dict[tuple[str, int], float], clean: NDArray[np.int64]) -> Table:
    return Table(
        columns=["corruption", "family", "severity", "n", "accuracy", "ece", "nll", "flip_rate"],
        rows=[
            [
                name,
                corruptions.FAMILY[name],
                severity,
                len(seen),
                float(seen.correct.mean()),
                eces[name, severity],
                float(seen.nll.mean()),
                float((seen.prediction != clean).mean()),
            ]
            for (name, severity), seen in cells.items()
        ],
    )
