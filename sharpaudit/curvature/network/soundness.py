"""Is the network a fixed function of its parameters and one image? If not, its curvature has no meaning, and it is refused.

With BatchNorm in train mode one Hessian product moves the running statistics and is 100% off; active dropout is 64% off.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from sharpaudit.curvature.draws import gaussian
from sharpaudit.curvature.network.differentiable import twice_differentiable
from sharpaudit.errors import ArchitectureError, clean

TOLERANCE = 1e-3
"""Largest change of a logit, relative to the largest logit, that rounding may explain when the batch changes (float32)."""

Product = Callable[[Tensor], Tensor]

ASYMMETRY = 10
"""Largest asymmetry of the Hessian that rounding may cause, in square roots of the floating type's precision."""


def variables(module: nn.Module, *, trainable_only: bool) -> dict[str, nn.Parameter]:
    """The parameters that the loss is a function of, by name; those of integers have no derivatives and are constants.

    Raises:
        ArchitectureError: there are none, or not all are in float32 or all in float64.
    """
    real = {name: p for name, p in module.named_parameters() if p.is_floating_point() or p.is_complex()}
    chosen = {name: p for name, p in real.items() if p.requires_grad or not trainable_only}
    if not chosen:
        raise ArchitectureError(
            f"the network cannot be measured: it has no {'trainable ' if real else ''}parameters",
            hint="count frozen ones too: leave out --trainable-only" if real else None,
        )
    found = {p.dtype for p in chosen.values()}
    if len(found) > 1 or not found <= {torch.float32, torch.float64}:
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in found))
        raise ArchitectureError(f"expected all parameters in float32 or all in float64, got {names}", hint="cast the network")
    return chosen


@torch.no_grad()
def check(module: nn.Module, inputs: Tensor) -> None:
    """Refuse a network whose logits are not a fixed function of one image: a few `inputs` are passed three times.

    The global random generator is left as it was found.

    Raises:
        ArchitectureError: BatchNorm or dropout is active, the forward pass is random, writes to a buffer or to its input,
            mixes the images of a batch, or gives logits that are not finite numbers of shape (n, classes).
    """
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None):
            raise _refused(
                f"layer '{clean(name)}' normalises by the statistics of the batch", "use running statistics: call eval()"
            )
        if isinstance(layer, _DropoutNd) and layer.training and layer.p > 0:
            raise _refused(f"layer '{clean(name)}' drops units at random", "call eval() before measuring")
    before = [buffer.clone() for buffer in module.buffers()]
    given = inputs.clone()
    with torch.random.fork_rng(), twice_differentiable():
        first, again, single = module(given), module(inputs.clone()), module(inputs[:1].clone())
    if not (isinstance(first, Tensor) and first.ndim == 2 and len(first) == len(inputs)):
        raise _refused(f"expected logits of shape ({len(inputs)}, classes), got {_shape(first)}", "return only the logits")
    if not first.isfinite().all():
        raise _refused("the logits are not finite numbers", "check the weights and the preprocessing")
    scale = first.abs().max().clamp_min(1e-30)
    if (first - again).abs().max() > TOLERANCE * scale:
        raise _refused("two forward passes of the same images differ", "remove the randomness from the forward pass")
    if (first[:1] - single).abs().max() > TOLERANCE * scale:
        raise _refused("an image's logits depend on the other images of its batch", "use only operations on single images")
    if not torch.equal(given, inputs):
        raise _refused("the forward pass writes to the images it is given", "make its first operation not in place")
    if not all(torch.equal(old, new) for old, new in zip(before, module.buffers(), strict=True)):
        raise _refused("a forward pass changes a buffer", "make the forward pass leave the module as it is")


def check_symmetry(hvp: Product, ggn_product: Product, logit_jvp: Product, like: Tensor) -> None:
    """Refuse a network whose Hessian is no symmetric matrix: torch has some second derivatives wrong, as that of weight norm.

    Args:
        hvp: Hv of a few examples; trying it once is enough, as perturbing the weights changes no operation.
        ggn_product: Gv of the same.
        logit_jvp: Jv of the same.
        like: a vector of the right length, type and device.

    Raises:
        ArchitectureError: uᵀHv and vᵀHu differ for two random vectors.
    """
    u, v = (gaussian(len(like), 0, draw).to(like) for draw in range(2))
    hu, hv = hvp(u).double(), hvp(v).double()
    apart = (u.double() @ hv - v.double() @ hu).abs()
    size = hu.norm() + hv.norm() + ggn_product(v).double().norm()  # H can be little beside the two parts it is made of
    speeds = [logit_jvp(w).double() for w in (u, v)]
    rounding = torch.finfo(torch.float64).eps * speeds[0].norm() * speeds[1].norm() / len(speeds[0])  # of p(1 − p) where p is 1
    if apart > ASYMMETRY * (torch.finfo(like.dtype).eps ** 0.5 * size + rounding):
        raise ArchitectureError(
            f"the network has no Hessian: uᵀHv and vᵀHu differ by {apart / size:.2g} of their scale",
            hint="an operation's second derivative is wrong, or its first is not that of what it computes",
        )


def _refused(what: str, hint: str) -> ArchitectureError:
    return ArchitectureError(f"the network cannot be measured: {what}", hint=hint)


def _shape(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}"
