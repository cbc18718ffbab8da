"""A checkpoint and a copy with one weight moved, on simulated probe sets: does the paired interval hold the difference?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sharpaudit.card import Interval
from sharpaudit.curvature.fisher_rao import fisher_rao
from sharpaudit.curvature.gauss_newton.ggn_trace import ggn_trace
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.average_case import average_case
from sharpaudit.curvature.perturbations.ball import Ball
from sharpaudit.curvature.perturbations.perturbation import random_sharpness
from sharpaudit.curvature.perturbations.slices import loss_slice
from sharpaudit.curvature.relative_flatness import normalised, normalised_influence, relative_lambda, relative_trace
from sharpaudit.metrics.terms import Terms
from tests.intervals import populations
from tests.intervals.simulation import HEADER, Row, of_examples, row
from tests.setup_check.cases import digits

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Measure = Callable[[Rows], Terms]
"""The terms of a measurement on the probe set of these rows."""

N = 512
"""The probe set of an audit."""


def measures(module: nn.Module) -> Mapping[str, Measure]:
    """Those whose images can be looked at once for all probe sets."""
    inputs, labels = populations.images()
    inputs = inputs.double()
    o = Objective(module, inputs, labels, batch_size=512)
    squares, trace = fisher_rao(o).squares, ggn_trace(o)
    assert trace is not None
    line = loss_slice(o, points=51, extent=1.0, seed=0).curvature.terms
    head = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    handle = head.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    with torch.no_grad():
        p = module(inputs).double().softmax(1).numpy()
    handle.remove()
    phi, w = seen[0].double().numpy(), head.weight.detach().double().numpy()

    def mean_of(values: Floats | None) -> Measure:
        assert values is not None
        return lambda rows: Terms("x", "images", values[rows])

    def norm(rows: Rows) -> Terms:
        root = float(np.sqrt(squares[rows].mean()))
        return Terms.around("x", root, squares[rows] / (2 * root))

    def in_units(rows: Rows) -> Terms:
        scaled, weight = normalised(phi[rows], w)
        value = float(relative_trace(scaled, p[rows], weight).mean())
        return Terms.around("x", value, normalised_influence(phi[rows], p[rows], w))

    return {
        "flatness.fisher_rao": norm,
        "flatness.relative_lambda": lambda rows: Terms("x", "images", relative_lambda(phi[rows], p[rows], w)),
        "flatness.relative_trace": mean_of(relative_trace(phi, p, w)),
        "flatness.relative_trace_normalised": in_units,
        "sharpness.slice_curvature": mean_of(line),
        "sharpness.trace": mean_of(trace.examples),
    }


def moved(module: nn.Module) -> nn.Module:
    """A copy in which one weight is larger by 1e-3."""
    copy = deepcopy(module)
    weights = [p for p in copy.parameters() if p.ndim > 1]
    with torch.no_grad():
        weights[1].view(-1)[7] += 1e-3
    return copy


def rows_of(words: str, a: nn.Module, b: nn.Module, runs: int) -> Iterator[Row]:
    """The line of each measure that is a mean over images."""
    first, second = measures(a), measures(b)
    size = len(populations.images()[1])
    for measure in first:

        def estimate(rows: Rows, measure: str = measure) -> tuple[float, Interval | None]:
            found = second[measure](rows).difference(first[measure](rows))
            assert found is not None
            return found.value, found.ci

        slow = measure == "flatness.relative_lambda"  # ten eigenvectors for each
        yield of_examples(f"{measure}, {words}", N, estimate, size, runs // 5 if slow else runs)


def tables(module: nn.Module) -> Mapping[str, Floats]:
    """Those that are means over draws of means over images (draws, images)."""
    inputs, labels = populations.images()
    o = Objective(module, inputs[::2].double(), labels[::2], batch_size=1024)
    random = random_sharpness(o, radius=0.005, draws=240, seed=0)
    average = average_case(o, Ball.around(o, "linf", 0.1, adaptive=True), draws=240, seed=0)
    found = {
        "sharpness.random": random.absolute,
        "sharpness.average/linf": average.plain,
        "sharpness.average/linf/normalised": average.normalised,
    }
    return {name: sampled.terms for name, sampled in found.items() if sampled.terms is not None}


def crossed_rows(words: str, a: nn.Module, b: nn.Module, runs: int) -> Iterator[Row]:
    """Draws and images both sampled anew."""
    first, second = tables(a), tables(b)
    for measure, table in first.items():
        draws, images = table.shape
        rng, found = np.random.default_rng(1), []
        for _ in range(runs):
            at = np.ix_(rng.integers(draws, size=32), rng.integers(images, size=N))
            paired = Terms("x", "draws and images", second[measure][at]).difference(Terms("x", "draws and images", table[at]))
            assert paired is not None
            found.append(paired.ci)
        yield row(f"{measure}, {words}", 32, found, float((second[measure] - table).mean()))


@pytest.mark.slow
def test_paired_intervals_of_flatness_cover() -> None:
    """Where most audits give an interval it covers; where few images decide, few do, and few print one that is wrong."""
    plain, sam = (deepcopy(digits(name).module).double() for name in populations.NETWORKS)
    pairs = [("plain, moved", plain, moved(plain)), ("sam, moved", sam, moved(sam)), ("plain, sam", plain, sam)]
    found = [each for words, a, b in pairs for each in [*rows_of(words, a, b, 1500), *crossed_rows(words, a, b, 500)]]
    print("", HEADER, *(each.line for each in found), sep="\n")
    assert [each.line for each in found if each.none < 0.5 and not each.fair(0.92, 0.98)] == []
    assert [each.line for each in found if each.wrong > 0.1] == []
