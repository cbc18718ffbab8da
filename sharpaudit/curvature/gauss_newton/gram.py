"""How is all of the Gauss-Newton matrix computed, and what does it cost?

With G = RᵀR for the rows R of `matrix`, R itself is never held. G is a sum over batches of examples, with all their rows. The
Gram matrix RRᵀ is a sum over parameters: they come in groups whose rows fit a bound, and a backward pass goes no deeper than its
group. A weight whose layer has few output positions adds ⟨ΔᵢᵀΔₖ, XᵢᵀXₖ⟩ for its outputs' gradients Δ and inputs X, and its rows
are not formed at all.

Products of rows are in the objective's floating type, sums of them in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sharpaudit.curvature.gauss_newton.explicit import BACKWARD, pulled_back
from sharpaudit.curvature.gauss_newton.layers import Product, seen, with_formula
from sharpaudit.curvature.gauss_newton.matrix import LEAST, GaussNewton, coordinates, directions
from sharpaudit.curvature.objective import Objective
from sharpaudit.device import GRAPH_BYTES, Work

Progress = Callable[[float], None]

CHUNK = 16
"""Examples whose rows are formed at a time."""

BLOCK = 1024
"""Rows that are multiplied with all others at a time."""

EIGENVALUES = 3
"""Cubes of the order that a decomposition costs, in multiplications of a matrix product: measured at order 2,000."""

ELEMENTWISE = 16
"""Multiplications of a matrix product that take as long as one number on its way through memory."""

COPIES = 3
"""Matrices of the order that exist at once: the matrix, what is decomposed, and its workspace."""


@dataclass(frozen=True)
class _Part:
    """Some entries of one parameter."""

    place: int
    entries: slice

    @property
    def width(self) -> int:
        """How many there are."""
        return int(self.entries.stop - self.entries.start)


_Compute = Callable[[slice, Tensor, Sequence[_Part]], list[Tensor]]
_Add = Callable[[Tensor, Sequence[Tensor]], None]


class Plan:
    """How all of G, or of its block of some `parameters`, is computed; made without computing it.

    Args:
        objective: whose G.
        parameters: some of `objective.theta`; all, if not given.
        examples: how many there are to be, if the plan is only to be asked for its cost.
    """

    def __init__(self, objective: Objective, parameters: Sequence[Tensor] | None = None, examples: int | None = None) -> None:
        chosen = {id(t) for t in (objective.theta if parameters is None else parameters)}
        self._objective = objective
        self._places = [place for place, t in enumerate(objective.theta) if id(t) in chosen]
        self._num_parameters = sum(objective.theta[place].numel() for place in self._places)
        self._examples = examples or objective.num_examples
        self._rows = self._examples * (objective.num_classes - 1)
        self._by_gram = self._rows < self._num_parameters
        self._order = min(self._rows, self._num_parameters)
        self._row_bytes = min(GRAPH_BYTES, objective.held.graph_bytes) // 2
        self._layered = with_formula(objective) & {*self._places}
        passed = seen(objective.variant(slice(1)), objective.inputs[:1], self._layered)
        self._products = {place: use[1] for place, use in passed.formulas.items() if isinstance(use[1], Product)}

    @property
    def products(self) -> float:
        """Gauss-Newton products that cost as much; infinitely many where the memory bound does not hold it.

        Counted in multiplications (float64 ones twice), not timed, so that equal audits choose equally.
        """
        matrices, gradients = 8 * COPIES * self._order**2, 8 * self._order * self._examples
        if matrices + gradients + (self._row_bytes if self._by_gram else 0) > GRAPH_BYTES:
            return float("inf")
        return self._work / (6 * self._examples * self._forward)

    def run(self, on_progress: Progress = lambda fraction: None) -> GaussNewton:
        """All of G."""
        p = self._objective.logits().double().softmax(1).clamp_min(LEAST)
        computed = self._gram if self._by_gram else self._dense
        found = computed(directions(p), coordinates(p, self._objective.labels), on_progress)
        return GaussNewton(*found, self._num_parameters, self._by_gram)

    def _gram(self, pulled: Tensor, columns: Tensor, on_progress: Progress) -> tuple[Tensor, Tensor]:
        n, each = columns.shape
        gram = columns.new_zeros(self._rows, self._rows)
        groups: list[tuple[_Compute, _Add, list[_Part]]] = [(self._factors, _add_factors, [part]) for part in self._contracted]
        groups += [(self._formed, _add_rows, parts) for parts in self._groups]
        for number, (compute, add, parts) in enumerate(groups):
            kept: list[Tensor] = []
            for start in range(0, n, CHUNK):
                chunk = slice(start, start + CHUNK)
                for place, found in enumerate(compute(chunk, pulled[:, chunk], parts)):
                    if start == 0:
                        kept.append(found.new_empty(n, *found.shape[1:]))
                    kept[place][chunk] = found
                on_progress((number + 0.5 * min(1.0, (start + CHUNK) / n)) / len(groups))
            add(gram, kept)
        gram += gram.tril_().tril(-1).T
        gradients = columns.new_zeros(n, each, n)
        gradients.diagonal(dim1=0, dim2=2).copy_(columns.T)
        return gram, gradients.flatten(0, 1)

    def _dense(self, pulled: Tensor, columns: Tensor, on_progress: Progress) -> tuple[Tensor, Tensor]:
        n, parts = len(columns), [self._part(place) for place in self._places]
        matrix, gradients = columns.new_zeros(self._order, self._order), []
        for start in range(0, n, CHUNK):
            chunk = slice(start, start + CHUNK)
            rows = torch.cat(self._formed(chunk, pulled[:, chunk], parts), dim=2)
            matrix += rows.flatten(0, 1).T @ rows.flatten(0, 1)
            gradients.append(torch.einsum("ij,ijp->pi", columns[chunk], rows.double()))
            on_progress(min(1.0, (start + CHUNK) / n))
        return matrix, torch.cat(gradients, dim=1)

    def _formed(self, chunk: slice, directions: Tensor, parts: Sequence[_Part]) -> list[Tensor]:
        """The rows of some examples in each of `parts` (b, classes − 1, entries)."""
        few = self._objective.variant(chunk)
        formed = [few.inputs.new_zeros(few.num_examples, len(directions), part.width) for part in parts]
        passed = seen(few, few.inputs, self._layered & {part.place for part in parts})
        for j, gradients in enumerate(passed.backward(directions)):
            few.passes["backward"] += few.num_examples
            for part, rows in zip(parts, formed, strict=True):
                if (gradient := gradients.get(part.place)) is not None:
                    rows[:, j] = passed.formulas[part.place][1].gradients(gradient, part.entries)
        known = {*passed.formulas, *passed.unused}
        explicit = [(part, rows) for part, rows in zip(parts, formed, strict=True) if part.place not in known]
        if explicit:
            leaves = [few.theta[part.place] for part, _ in explicit]
            for i, pulled in enumerate(pulled_back(few, directions.transpose(0, 1), leaves)):
                blocks = torch.split(pulled, [leaf.numel() for leaf in leaves], dim=1)
                for (part, rows), block in zip(explicit, blocks, strict=True):
                    rows[i] = block[:, part.entries]
        return formed

    def _factors(self, chunk: slice, directions: Tensor, parts: Sequence[_Part]) -> list[Tensor]:
        """Δ (b, classes − 1, groups, outputs, L) and X (b, groups, D, L) of each of `parts`, for some examples."""
        few = self._objective.variant(chunk)
        passed = seen(few, few.inputs, {part.place for part in parts})
        backward = list(passed.backward(directions))
        few.passes["backward"] += few.num_examples * len(directions)
        factors: list[Tensor] = []
        for part in parts:
            formula = passed.formulas[part.place][1]
            assert isinstance(formula, Product)
            found = [gradients[part.place] for gradients in backward]
            deltas = [formula.arranged(gradient) for gradient in found if gradient is not None]
            if deltas:
                factors += [torch.stack(deltas, dim=1), formula.columns]
        return factors

    @property
    def _contracted(self) -> list[_Part]:
        """Weights whose rows are not formed, because they have few output positions."""
        fits = self._row_bytes // self._objective.dtype.itemsize
        chosen = []
        for place, product in self._products.items():
            _, groups, inner, positions = product.columns.shape
            outer = groups * product.outputs
            numbers = positions * (self._rows * outer + self._examples * groups * inner)
            if numbers <= fits and self._contraction(product) < self._formation(outer * inner, positions):
                chosen.append(self._part(place))
        return chosen

    def _contraction(self, product: Product) -> float:
        _, groups, inner, positions = product.columns.shape
        pairs, weight = (self._rows * positions) ** 2 / 2, groups * (product.outputs + ELEMENTWISE)
        return pairs * weight + (self._examples * positions) ** 2 / 2 * groups * inner

    def _formation(self, width: int, positions: int) -> float:
        return self._rows * width * (positions + self._rows / 2)

    @cached_property
    def _groups(self) -> list[list[_Part]]:
        """All other parameters, the last first, in groups whose rows fit the bound."""
        most = max(1, self._row_bytes // (self._rows * self._objective.dtype.itemsize))
        contracted = {part.place for part in self._contracted}
        groups: list[list[_Part]] = []
        left = 0
        for place in reversed(self._places):
            if place in contracted:
                continue
            size, step = self._objective.theta[place].numel(), 1
            if product := self._products.get(place):
                step = size // (product.outputs if product.columns.shape[1] == 1 else product.columns.shape[1])
            start = 0
            while start < size:
                if left < min(step, size):
                    groups.append([])
                    left = most
                stop = min(size, start + max(1, left // step) * step)
                groups[-1].append(_Part(place, slice(start, stop)))
                left -= stop - start
                start = stop
        return groups

    def _part(self, place: int) -> _Part:
        return _Part(place, slice(0, self._objective.theta[place].numel()))

    @cached_property
    def _forward(self) -> float:
        """Multiplications of one forward pass of one example."""
        with Work() as work, torch.no_grad():
            self._objective.forward(self._objective.inputs[:1])
        multiplications: float = work.operations / 2
        return multiplications

    @property
    def _work(self) -> float:
        """Multiplications of all of it."""
        passes = 1.0 + self._objective.num_classes
        positions = {place: product.columns.shape[3] for place, product in self._products.items()}
        if self._by_gram:
            work = sum(self._contraction(self._products[part.place]) for part in self._contracted)
            work += sum(self._formation(part.width, positions.get(part.place, 1)) for parts in self._groups for part in parts)
            explicit = sum(any(part.place not in self._layered for part in parts) for parts in self._groups)
            groups = len(self._groups) + len(self._contracted)
            passes = groups + self._objective.num_classes * (groups + 1) / 2  # the first group is the last layers
        else:
            work = self._rows * self._order**2
            explicit = int(len(self._layered) < len(self._places))
        work *= self._objective.dtype.itemsize / 4
        by_rows = explicit * BACKWARD * self._rows * self._forward
        return work + passes * self._examples * self._forward + by_rows + 2 * EIGENVALUES * self._order**3


def _add_rows(gram: Tensor, parts: Sequence[Tensor]) -> None:
    """Add the products of rows (n, classes − 1, entries) to the lower triangle."""
    for part in parts:
        rows = part.flatten(0, 1)
        for start in range(0, len(rows), BLOCK):
            stop = min(start + BLOCK, len(rows))
            gram[start:stop, :stop] += rows[start:stop] @ rows[:stop].T


def _add_factors(gram: Tensor, factors: Sequence[Tensor]) -> None:
    """Add ⟨ΔᵢᵀΔₖ, XᵢᵀXₖ⟩ to the lower triangle, for Δ (n, classes − 1, groups, outputs, L) and X (n, groups, D, L)."""
    for delta, columns in zip(factors[::2], factors[1::2], strict=True):
        n, directions, *_, positions = delta.shape
        step = max(1, BLOCK // (directions * positions))
        for start in range(0, n, step):
            rows = slice(start, start + step)
            for other in range(0, start + 1, step):
                cols = slice(other, other + step)
                outer = torch.einsum("ajgol,bkgom->gajlbkm", delta[rows], delta[cols])
                inner = torch.einsum("agdl,bgdm->galbm", columns[rows], columns[cols])
                block = (outer * inner[:, :, None, :, :, None]).sum((0, 3, 6)).flatten(0, 1).flatten(1)
                gram[start * directions :, other * directions :][: block.shape[0], : block.shape[1]] += block
