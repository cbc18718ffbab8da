"""What is the loss as a function of the parameters? Its values, gradient, Hessian and Gauss-Newton products.

Notation: θ the parameters, z the logits (n, classes), p = softmax(z), e_y the one-hot label, J = ∂z/∂θ. The mean cross-entropy L
has the gradient g = Jᵀr with r = (p − e_y)/n, the Hessian H = ∂g/∂θ and the Gauss-Newton matrix (generalised, GGN)
G = (1/n) Σ Jᵢᵀ (diag pᵢ − pᵢpᵢᵀ) Jᵢ (Schraudolph 2002).

All products come from one graph, that of g as a function of θ, by reverse mode (Pearlmutter 1994): Hv = ∂(g·v)/∂θ costs about two
gradients, Jv = ∂(g·v)/∂r about one. The graph is kept for as many examples as fit the memory bound and serves every vector.
Forward-over-reverse is not used: in torch 2.14 nested forward mode is wrong through LayerNorm, and it is slower on every network
we measured. Finite differences of gradients are wrong by 20% and more on trained ReLU networks, in float64 too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn import functional

from sharpaudit.curvature.gradient import GradientGraph, flat, pull, push
from sharpaudit.curvature.network.caches import caches, forget
from sharpaudit.curvature.network.differentiable import twice_differentiable
from sharpaudit.curvature.network.folding import foldable, folded
from sharpaudit.curvature.network.soundness import check, check_symmetry, variables
from sharpaudit.curvature.network.substitution import substituted
from sharpaudit.curvature.shards import GraphBytes, Shards, graph_bytes
from sharpaudit.device import Sizes, sizes
from sharpaudit.errors import ArchitectureError, DataError
from sharpaudit.stats import evenly_spaced
from sharpaudit.transfer import sent

TRIED = 4
"""Examples on which the Hessian's symmetry is tried."""


class Objective:
    """The mean cross-entropy (nats) of a network over a frozen probe set, as a function of its parameters.

    The parameters are all of them (weights, biases, norm scales and shifts; frozen ones too, unless `trainable_only`), flattened
    in the order of `module.parameters()`; buffers, and parameters of integers, are constants. Vectors have the module's floating
    type; sums over batches are in float64. The module is never written to: its weights, `.grad`, training flags and buffers, and
    the global random generators, stay as they were.

    Args:
        module: A network in eval mode: images to logits.
        inputs: Images (n, ...), preprocessed, on the module's device; cast to its floating type.
        labels: Classes (n,), int64.
        batch_size: Most examples in one forward pass. It changes no result beyond rounding.
        within: Bounds on the graphs; by default what suits the device. What is not kept is built again for each vector (9
            instead of 6 forwards' cost).
        trainable_only: Hold constant the parameters that do not require a gradient.
        reduce: The sum over all examples, from the sum over `inputs`: where several processes have some each.

    Raises:
        ArchitectureError: the network is not a fixed function of single images (see `soundness.check`).
        DataError: there are no examples, or labels do not fit the images and classes.
    """

    def __init__(
        self,
        module: nn.Module,
        inputs: Tensor,
        labels: Tensor,
        *,
        batch_size: int,
        within: Sizes | None = None,
        trainable_only: bool = False,
        reduce: Callable[[Tensor], Tensor] = lambda part: part,
    ) -> None:
        chosen = variables(module, trainable_only=trainable_only)
        self.names = tuple(chosen)
        """Of the parameters, as the module calls them."""
        self._own = tuple(chosen.values())
        self.dtype: torch.dtype = self._own[0].dtype
        if len(inputs) == 0 or labels.shape != inputs.shape[:1]:
            raise DataError(f"expected one label for each of at least one image, got {len(labels)} for {len(inputs)}")
        self.module = module
        self.inputs = inputs.to(self.dtype)
        self.labels = labels
        self.batch_size = batch_size
        self.passes: Counter[str] = Counter()
        """Examples sent through so far: ``forward``, ``backward`` (g and Jᵀw), ``jvp`` (Jv), ``hvp`` (Hv), ``ggn`` (Gv)."""
        self._readout: Callable[[Tensor], Tensor] | None = None
        self.theta = [p.detach().requires_grad_() for p in self._own]
        """The parameters as leaves of every graph, in the order of `names`."""
        self._buffers: dict[str, Tensor] = {}
        self._reduce = reduce
        self.total = self._count()
        """The number n of examples of the probe set, here and elsewhere."""
        self._within = within or sizes(inputs.device)
        self._shards: Shards[GradientGraph] | None = None
        self._is_perturbed = False
        self._symmetric = False
        check(module, self.inputs[:4])
        self._folds = foldable(module, self.inputs[:4])
        self._caches = caches(module)
        forget(self._caches)
        with torch.enable_grad():
            logits = self.forward(self.inputs[:1])
        if not logits.requires_grad:
            raise ArchitectureError("the network cannot be measured: its logits depend on none of the parameters")
        self.num_classes = logits.shape[1]
        if labels.min() < 0 or labels.max() >= self.num_classes:
            raise DataError(f"expected labels from 0 to {self.num_classes - 1}, got {labels.min()} to {labels.max()}")

    @property
    def num_parameters(self) -> int:
        """P, the length of every flat vector."""
        return sum(t.numel() for t in self.theta)

    def leaves(self, parameters: Iterable[nn.Parameter]) -> list[Tensor]:
        """Those of `theta` that stand for `parameters` of the module."""
        wanted = {id(p) for p in parameters}
        return [t for p, t in zip(self._own, self.theta, strict=True) if id(p) in wanted]

    @property
    def shards(self) -> Shards[GradientGraph]:
        """How sums over the examples are computed, and the graphs that are kept for them."""
        if self._shards is None:
            self._shards = Shards(
                self.num_examples,
                most=self.batch_size,
                within=self._within,
                cost=self._cost,
                weight_bytes=self.num_parameters * self.dtype.itemsize,
                num_threads=torch.get_num_threads() if self.inputs.device.type == "cpu" else 1,
            )
        return self._shards.unkept() if self._is_perturbed else self._shards

    @property
    def held(self) -> Sizes:
        """What of the bounds on the graphs is made use of; known without building one, as it is asked when memory ran out."""
        return self._shards.held if self._shards else self._within

    @cached_property
    def _cost(self) -> GraphBytes:
        return graph_bytes(self._build, self.num_examples, self.theta)

    @property
    def num_examples(self) -> int:
        """How many examples there are here."""
        return len(self.labels)

    def _count(self) -> int:
        return round(self._reduce(torch.tensor(float(self.num_examples), dtype=torch.float64)).item())

    @property
    def parameters(self) -> Tensor:
        """θ as one new flat vector."""
        return flat(self.theta).detach()

    def split(self, vector: Tensor) -> list[Tensor]:
        """A flat vector as one tensor a parameter, in the parameters' shapes."""
        if vector.shape != (self.num_parameters,):
            raise ValueError(f"expected a vector of {self.num_parameters} entries, got shape {tuple(vector.shape)}")
        pieces = torch.split(vector.to(self.dtype), [t.numel() for t in self.theta])
        return [piece.view_as(t) for piece, t in zip(pieces, self.theta, strict=True)]

    @contextmanager
    def perturbed(self, delta: Tensor, buffers: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Inside, the objective stands at θ + `delta` (and reads these `buffers`, by name, for the module's own).

        θ itself is not written to, so leaving restores it bit for bit and retained graphs stay valid.
        """
        saved = self.theta, self._buffers, self._is_perturbed
        self.theta = [(t.detach() + d).requires_grad_() for t, d in zip(self.theta, self.split(delta), strict=True)]
        self._buffers = {**self._buffers, **(buffers or {})}
        self._is_perturbed = True
        try:
            yield
        finally:
            self.theta, self._buffers, self._is_perturbed = saved

    def variant(
        self, examples: slice | NDArray[np.int64] = slice(None), readout: Callable[[Tensor], Tensor] | None = None
    ) -> Objective:
        """The same network at the same θ, over some of the `examples` or with its logits passed through `readout`.

        Its passes are counted with those of this objective.
        """
        other = copy(self)
        rows = examples if isinstance(examples, slice) else sent(torch.from_numpy(examples), self.inputs.device)
        other.inputs, other.labels = self.inputs[rows].contiguous(), self.labels[rows]
        other._readout = readout or self._readout
        other.total = other._count()
        other._shards = self.shards.over(other.num_examples)
        return other

    @torch.no_grad()
    def logits(self, limit: int | None = None) -> Tensor:
        """The logits z (n, classes) of the first `limit` examples, or of all."""
        inputs = self.inputs[:limit]
        return torch.cat([self.forward(batch) for batch in torch.split(inputs, self.batch_size)])

    def forward(self, images: Tensor, *, fold: bool = True) -> Tensor:
        """The logits of other `images`, attached to θ; with `fold`, BatchNorm is computed inside the convolutions."""
        self.passes["forward"] += len(images)
        own = {id(p): t for p, t in zip(self._own, self.theta, strict=True)}
        buffers = {id(b): self._buffers[name] for name, b in self.module.named_buffers() if name in self._buffers}
        with twice_differentiable(), folded(self._folds if fold else []), substituted(self.module, own | buffers):
            logits: Tensor = self.module(images)
        forget(self._caches)
        return self._readout(logits) if self._readout else logits

    def losses(self) -> Tensor:
        """The cross-entropy of each example (n,), float64, in nats."""
        return _cross_entropy(self.logits(), self.labels)

    def loss(self) -> float:
        """L, the mean of `losses`."""
        return self._reduce(self.losses().sum()).item() / self.total

    def gradient(self) -> Tensor:
        """The gradient g = ∇L (P,)."""
        return self.losses_and_gradient()[1]

    def losses_and_gradient(self) -> tuple[Tensor, Tensor]:
        """`losses` and `gradient` from one pass there and back."""
        total, logits = self._zeros(), []
        for _, graph in self.shards.built(partial(self._build, create_graph=False)):
            total += flat(graph.gradient).detach()
            logits.append(graph.logits.detach())
        return _cross_entropy(torch.cat(logits), self.labels), self._reduce(total).to(self.dtype)

    def hvp(self, v: Tensor) -> Tensor:
        """Hv (P,), the Hessian of L times `v`.

        Raises:
            ArchitectureError: the derivatives of the gradient are no symmetric matrix (see `check_symmetry`).
        """
        if not self._symmetric:
            few = self.variant(evenly_spaced(self.num_examples, TRIED))
            few.passes = Counter()  # as little counted as what `check` does
            check_symmetry(few._hvp, few.ggn_product, few.logit_jvp, self.parameters)
            self._symmetric = True
        return self._hvp(v)

    def _hvp(self, v: Tensor) -> Tensor:
        tangent = self.split(v)
        self.passes["hvp"] += self.num_examples
        return self._sum(lambda graph: pull(graph.gradient, self.theta, tangent))

    def ggn_product(self, v: Tensor) -> Tensor:
        """Gv (P,), the Gauss-Newton matrix of L times `v`; positive semi-definite, and equal to H where the network is linear."""
        tangent = self.split(v)
        self.passes["ggn"] += self.num_examples

        def product(graph: GradientGraph) -> Tensor:
            p = graph.logits.detach().double().softmax(1)
            q = p * push(graph, tangent).double()
            w = (q - p * q.sum(1, keepdim=True)) / self.total
            return pull([graph.logits], self.theta, [w.to(self.dtype)])

        return self._sum(product)

    def logit_vjp(self, w: Tensor) -> Tensor:
        """Jᵀw (P,) for weights w (n, classes) on the logits."""
        self.passes["backward"] += self.num_examples
        pairs = zip(self.shards.graphs(self._build), torch.split(w.to(self.dtype), self.shards.size), strict=True)
        total = self._zeros()
        for part in self.shards.threads.map(lambda pair: pull([pair[0].logits], self.theta, [pair[1]]), pairs):
            total += part
        return self._reduce(total).to(self.dtype)

    def logit_jvp(self, v: Tensor) -> Tensor:
        """Jv (n, classes): how fast each example's logits change when the parameters move along `v`."""
        tangent = self.split(v)
        self.passes["jvp"] += self.num_examples
        return torch.cat(list(self.shards.map(self._build, lambda graph: push(graph, tangent))))

    @torch.enable_grad()
    def _build(self, start: int, stop: int, *, create_graph: bool = True) -> GradientGraph:
        """The gradient of the examples from `start` up to `stop`; attached to θ if `create_graph`."""
        labels = self.labels[start:stop]
        logits = self.forward(self.inputs[start:stop])
        onehot = functional.one_hot(labels, self.num_classes)
        residual = ((logits.double().softmax(1) - onehot) / self.total).to(self.dtype)
        gradient = grad([logits], self.theta, [residual], create_graph=create_graph, materialize_grads=True)
        self.passes["backward"] += len(labels)
        return GradientGraph(logits, residual, gradient)

    def _sum(self, function: Callable[[GradientGraph], Tensor]) -> Tensor:
        """The sum of `function` over all examples."""
        return self._reduce(self.shards.sum(self._build, function)).to(self.dtype)

    def _zeros(self) -> Tensor:
        return torch.zeros(self.num_parameters, dtype=torch.float64, device=self.inputs.device)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.double(), labels, reduction="none")
