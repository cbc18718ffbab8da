"""Does a layer remember what it computed from its weights? Then a second forward pass with other weights would not see them.

timm's LeViT does in eval mode: each attention keeps its biases, indexed, in a dictionary. Under it, the gradient of the biases is
zero and the network cannot be copied. Such dictionaries are emptied before every forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

Cache = dict[object, Tensor]


def caches(module: nn.Module) -> list[Cache]:
    """The dictionaries of tensors that layers fill by themselves: neither parameters nor buffers, and filled by now."""
    own = ("_parameters", "_buffers", "_modules")
    return [
        value
        for layer in module.modules()
        for name, value in vars(layer).items()
        if name not in own and type(value) is dict and value and all(isinstance(kept, Tensor) for kept in value.values())
    ]


def forget(found: Sequence[Cache]) -> None:
    """Empty them; the layers fill them again."""
    for cache in found:
        cache.clear()
