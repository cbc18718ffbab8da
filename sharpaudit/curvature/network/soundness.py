"""Is the network a fixed function of its parameters and one image? If not, its curvature has no meaning, and it is refused.

With BatchNorm in train mode one Hessian product moves the running statistics and is 100% off; active dropout is 64% off.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from sharpaudit.curvature.network.differentiable import twice_differentiable
from sharpaudit.errors import ArchitectureError, clean

TOLERANCE = 1e-3
"""Largest change of a logit, relative to the largest logit, that rounding may explain when the batch changes (float32)."""


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


def _refused(what: str, hint: str) -> ArchitectureError:
    return ArchitectureError(f"the network cannot be measured: {what}", hint=hint)


def _shape(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}"
