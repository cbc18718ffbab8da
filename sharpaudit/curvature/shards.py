"""How is a sum over examples computed in bounded memory? Shard by shard; the graphs of some are kept for the next vector."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Generic, TypeVar

import torch
from torch import Tensor

from sharpaudit.curvature.threads import Threads
from sharpaudit.device import Sizes

LIGHT = 2
"""Shards whose graphs take less than so many times the weights' memory are not shared between threads: two shards of 8 images
cost 1.26 times the processor time of one of 16 on a ResNet-18, 0.93 on a ViT with a quarter of the weights."""

Graph = TypeVar("Graph")
Build = Callable[[int, int], Graph]
"""The graph of the examples from one place up to another."""


@dataclass(frozen=True)
class GraphBytes:
    """The memory of a graph."""

    per_example: int
    fixed: int
    """What there is of the weights in any graph, such as folded ones."""

    def of(self, examples: int) -> int:
        """Bytes of a graph of so many examples."""
        return self.fixed + examples * self.per_example


def graph_bytes(build: Build[object], num_examples: int, theta: Iterable[Tensor]) -> GraphBytes:
    """Measured on graphs of two and of four examples; `theta`, which they all end in, is not counted."""
    small, large = min(2, num_examples), min(4, num_examples)
    less, more = (bytes_held(partial(build, 0, size), theta) for size in (small, large))
    per_example = max(1, (more - less) // (large - small) if large > small else less // small)
    return GraphBytes(per_example, max(0, less - small * per_example))


def bytes_held(build: Callable[[], object], theta: Iterable[Tensor]) -> int:
    """Memory of what autograd saves for the graph that `build` makes, but for `theta`."""
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        build()
    gc.collect(1)  # the hooks tie the graph in a reference cycle; young objects suffice, all of them take 0.3 s each time
    parameters = {t.data_ptr() for t in theta}
    return sum(nbytes for at, nbytes in held.items() if at not in parameters)


class Shards(Generic[Graph]):
    """The examples of a sum, in shards, and the graphs of those that are kept.

    It does not hold what builds them: a cycle of references would keep the memory of graphs that nobody needs.

    Args:
        num_examples: how many there are.
        most: examples in one shard at most.
        within: bounds on a shard, and on the memory of all graphs.
        cost: what graphs take.
        weight_bytes: memory of the parameters.
        num_threads: how many there are.
    """

    def __init__(
        self, num_examples: int, *, most: int, within: Sizes, cost: GraphBytes, weight_bytes: int, num_threads: int
    ) -> None:
        self.num_examples = num_examples
        self.within = within
        self.cost = cost
        self._most = most
        self._weight_bytes = weight_bytes
        self._num_threads = num_threads
        self._kept: dict[int, Graph] = {}
        self._keeps = True

    @cached_property
    def threads(self) -> Threads:
        """Threads with a shard each; but where shards are light beside the weights, one at a time, all threads in its operations.

        Every shard costs as much as its weights, whatever its images cost.
        """
        heavy = self._fitting(self._num_threads) * self.cost.per_example >= LIGHT * self._weight_bytes
        return Threads(self._num_threads if heavy else 1)

    @cached_property
    def size(self) -> int:
        """Examples in a shard."""
        return self._fitting(self.threads.size)

    @property
    def memory(self) -> int:
        """Bytes that the graphs of all examples would take."""
        whole, rest = divmod(self.num_examples, self.size)
        return whole * self.cost.of(self.size) + (self.cost.of(rest) if rest else 0)

    def over(self, num_examples: int) -> Shards[Graph]:
        """Other examples of the same network, with the same threads."""
        other = self._without_graphs()
        other.threads, other.num_examples = self.threads, num_examples
        other.__dict__.pop("size", None)
        return other

    def unkept(self) -> Shards[Graph]:
        """The same shards, of which no graph is kept: for parameters that are met once."""
        other = self._without_graphs()
        other.threads, other._keeps = self.threads, False
        return other

    def _without_graphs(self) -> Shards[Graph]:
        other = copy(self)
        other._kept = {}
        return other

    @property
    def held(self) -> Sizes:
        """What of `within` is made use of."""
        lengths = [min(self.size, self.num_examples - start) for start in self._kept]
        kept = sum(map(self.cost.of, lengths))
        return Sizes(max(lengths, default=self.within.shard), kept or self.within.graph_bytes)

    def release(self) -> None:
        """Let go of the graphs; the next product builds them again."""
        self._kept.clear()

    def map(self, build: Build[Graph], function: Callable[[Graph], Tensor]) -> Iterator[Tensor]:
        """`function` of the graph of each shard, in order."""
        return self.threads.map(function, self.graphs(build))

    def sum(self, build: Build[Graph], function: Callable[[Graph], Tensor]) -> Tensor:
        """The sum of `function` over the examples, shard by shard in their order, in float64 where there are several."""
        parts = self.map(build, function)
        total = next(parts)
        for part in parts:
            total = total.double().add_(part)
        return total

    def graphs(self, build: Build[Graph]) -> Iterator[Graph]:
        """The graph of each shard, from memory where it was kept."""
        room = self.within.graph_bytes // self.cost.of(self.size) - self.threads.size
        everything = self.memory <= self.within.graph_bytes
        for start, graph in self.built(build):
            if self._keeps and (everything or len(self._kept) < room):
                self._kept[start] = graph
            yield graph

    def built(self, build: Build[Graph]) -> Iterator[tuple[int, Graph]]:
        """Where each shard begins and its graph, from memory or from `build`; none is kept for that."""
        for start in range(0, self.num_examples, self.size):
            yield start, self._kept.get(start) or build(start, start + self.size)

    def _fitting(self, threads: int) -> int:
        """At least two shards for each of several threads, one for a single one; none beyond what memory and `most` allow."""
        shares = 2 * threads if threads > 1 else 1
        wanted = min(self.within.shard, max(8, self.num_examples // shares), self._most)
        allowed = self.within.graph_bytes // (2 * threads) - self.cost.fixed
        return max(1, min(wanted, allowed // self.cost.per_example))
