"""What does the loss look like along a random line through the weights?

Why it matters
    Pictures of valleys are how most people think of flat and sharp. Here the same picture is drawn for every checkpoint, with the
    same line but for the scale of the filters, so that two can be laid side by side.

How it is computed
    A Gaussian direction d, from a seed that does not depend on the checkpoint, is scaled filter by filter to the length of the
    filter it moves; biases and the scales and shifts of norms stay, and so do BatchNorm's running statistics. The table
    `loss_slice` holds L(θ + αd) on the frozen probe set at equal steps of α, with Student's interval over images; at α = 0 it is
    L(θ) to the last bit. `sharpness.slice_curvature` is the second difference of the three middle losses over the squared step,
    with its interval over the same images. With `plane` points a side, the table `loss_plane` holds L(θ + αd + βe), e being
    orthogonal to d in every filter.

When not to trust it
    One random line among millions of dimensions says little about the worst of them: networks look flat that are not. The
    picture does not change when whole layers are rescaled, or filters in front of BatchNorm, but it does with other rescalings.
    `sharpness.slice_curvature` depends on the step: kinks of ReLU networks count for more, the larger it is.

Sources
    Li et al. 2018 (arXiv 1712.09913).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sharpaudit.card import Scalar, Table
from sharpaudit.curvature.perturbations.slices import loss_plane, loss_slice
from sharpaudit.errors import UsageError
from sharpaudit.probes import Finding, NamedTable, Need, Passes, Workbench, Workload, probe
from sharpaudit.probes.perturbation import with_terms


@dataclass(frozen=True, kw_only=True)
class SlicesOptions:
    """Settings of the slices probe."""

    points: int = 51
    """Places along the line, an odd number: θ is the middle one."""
    extent: float = 1.0
    """How far the line reaches on each side, in filter norms."""
    plane: int = 0
    """Places along each side of a plane, an odd number; 0 for no plane. It costs their square."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if self.points < 3 or self.points % 2 == 0:
            raise UsageError(f"slices.points: expected an odd number of at least 3, got {self.points}")
        if self.plane and (self.plane < 3 or self.plane % 2 == 0):
            raise UsageError(f"slices.plane: expected 0 or an odd number of at least 3, got {self.plane}")
        if not 0 < self.extent < float("inf"):
            raise UsageError(f"slices.extent: expected a positive number, got {self.extent}")


def cost(workload: Workload, options: SlicesOptions) -> Passes:
    """A forward pass for each place."""
    return Passes(forward=workload.probe_set * (options.points + options.plane**2))


@probe(needs={Need.OBJECTIVE}, version=1, cost=cost)
def slices(bench: Workbench, options: SlicesOptions) -> Iterator[Finding]:
    """Yield the curvature of the slice, its table, and that of the plane if asked for."""
    objective, seed, extent = bench.objective, bench.seed_for("direction"), options.extent
    split = options.points / (options.points + options.plane**2)
    line = loss_slice(objective, points=options.points, extent=extent, seed=seed, on_progress=bench.progress(0.0, split))
    yield from with_terms(
        "sharpness.slice_curvature",
        line.curvature,
        "second difference of the loss along a filter-normalised random direction; n and interval over images",
        {"step": 2 * extent / (options.points - 1), "examples": objective.num_examples},
        "images",
    )
    rows: list[list[Scalar]] = [
        [alpha, loss.value, loss.interval().low, loss.interval().high]
        for alpha, loss in zip(line.steps, line.losses, strict=True)
    ]
    yield NamedTable("loss_slice", Table(columns=["alpha", "loss", "low", "high"], rows=rows))
    if options.plane:
        plane = loss_plane(objective, points=options.plane, extent=extent, seed=seed, on_progress=bench.progress(split, 1.0))
        cells: list[list[Scalar]] = [
            [alpha, beta, loss]
            for alpha, row in zip(plane.steps, plane.losses, strict=True)
            for beta, loss in zip(plane.steps, row, strict=True)
        ]
        yield NamedTable("loss_plane", Table(columns=["alpha", "beta", "loss"], rows=cells))
