"""Random small classifiers of every make: tied, frozen, scaled, reparametrised, with attention, odd buffers and idle parameters.

A module is an embedding of the image in a few features, one to three blocks drawn from `BLOCKS`, and a head drawn from `HEADS`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from tests.cases import Attention, Case, Residual

Rng = np.random.Generator
Make = Callable[[Rng, int], nn.Module]
"""A block from `width` features to as many."""

ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Hardswish)


def activation(rng: Rng) -> nn.Module:
    return ACTIVATIONS[rng.integers(len(ACTIVATIONS))]()


class Function(nn.Module):
    """A module whose forward pass is given, over the parameters, buffers and modules that are given too."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], **parts: nn.Module | nn.Parameter | Tensor) -> None:
        super().__init__()
        self._function = forward
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self._function(self, x)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape))


def plain(rng: Rng, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width, bias=bool(rng.integers(2))), activation(rng))


def tied_modules(rng: Rng, width: int) -> nn.Module:
    layer = nn.Linear(width, width)
    return nn.Sequential(layer, activation(rng), layer)


def tied_weights(rng: Rng, width: int) -> nn.Module:
    first, second = nn.Linear(width, width), nn.Linear(width, width)
    second.weight = first.weight
    return nn.Sequential(first, activation(rng), second)


def tied_transposed(rng: Rng, width: int) -> nn.Module:
    inside = activation(rng)
    return Function(
        lambda m, x: functional.linear(m.inside(m.encoder(x)), m.encoder.weight.T),
        encoder=nn.Linear(width, width + 1),
        inside=inside,
    )


def borrowed(rng: Rng, width: int) -> nn.Module:
    """A layer's weight and bias are used once more outside of it."""
    return Function(
        lambda m, x: m.layer(x).tanh() + 0.1 * functional.linear(x, m.layer.weight, m.layer.bias), layer=nn.Linear(width, width)
    )


def recurrent(rng: Rng, width: int) -> nn.Module:
    kind = (nn.GRUCell, nn.RNNCell, nn.LSTMCell)[rng.integers(3)]

    def forward(m: Any, x: Tensor) -> Tensor:
        state = m.cell(x)
        for _ in range(2):
            state = m.cell(x, state)
        return state[0] if isinstance(state, tuple) else state  # type: ignore[no-any-return]  # modules are called untyped

    return Function(forward, cell=kind(width, width))


def gain(rng: Rng, width: int) -> nn.Module:
    """As in ReZero: a residual sum with a scalar in front, sometimes still zero."""
    scale = nn.Parameter(torch.tensor(0.0 if rng.integers(2) else 0.7))
    return Function(lambda m, x: x + m.scale * m.body(x), scale=scale, body=plain(rng, width))


def layer_scale(rng: Rng, width: int) -> nn.Module:
    if rng.integers(2):
        return Function(lambda m, x: m.gamma * x + m.body(x) * m.gamma, gamma=parameter(width), body=plain(rng, width))
    return Function(lambda m, x: x * m.gamma, gamma=parameter(width))


def idle(rng: Rng, width: int) -> nn.Module:
    """With parameters that no forward pass uses, one of them empty."""
    return Function(
        lambda m, x: m.body(x), spare=parameter(2, 3), empty=parameter(0), unused=nn.Linear(2, 2), body=plain(rng, width)
    )


def frozen(rng: Rng, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width).requires_grad_(False), activation(rng))


def lora(rng: Rng, width: int) -> nn.Module:
    base = nn.Linear(width, width).requires_grad_(False)
    return Function(
        lambda m, x: functional.linear(x, m.base.weight + m.up @ m.down / 2, m.base.bias),
        base=base, up=parameter(width, 2), down=parameter(2, width),
    )  # fmt: skip


def lora_beside(rng: Rng, width: int) -> nn.Module:
    return Function(
        lambda m, x: m.base(x) + m.up(m.down(x)),
        base=nn.Linear(width, width).requires_grad_(False),
        down=nn.Linear(width, 2, bias=False),
        up=nn.Linear(2, width, bias=False),
    )


def reparametrised(rng: Rng, width: int) -> nn.Module:
    makes = (parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal)
    return nn.Sequential(makes[rng.integers(3)](nn.Linear(width, width)), activation(rng))


def reparametrised_by_hook(rng: Rng, width: int) -> nn.Module:
    """The older weight norm and spectral norm, which compute the weight before each call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        make = (nn.utils.weight_norm, nn.utils.spectral_norm)[rng.integers(2)]
        return nn.Sequential(make(nn.Linear(width, width)), activation(rng))


def spectral_filter(rng: Rng, width: int) -> nn.Module:
    """A complex buffer filters the features' Fourier transform; the gains of the frequencies are learned."""
    size = width // 2 + 1
    return Function(
        lambda m, x: torch.fft.irfft(torch.fft.rfft(x) * m.phases * m.gains, n=x.shape[1]),
        phases=torch.polar(torch.ones(size), torch.rand(size)),
        gains=parameter(size),
    )


def looked_up(rng: Rng, width: int) -> nn.Module:
    """An integer buffer says which entry of a short table each feature is shifted and multiplied by."""
    index = torch.from_numpy(rng.integers(0, 3, width))
    return Function(
        lambda m, x: x * m.table[m.index] + m.embedding(m.index)[:, 0],
        table=parameter(3),
        embedding=nn.Embedding(3, 1),
        index=index,
    )


def tokens(rng: Rng, width: int, mix: nn.Module) -> nn.Module:
    """Each feature a token of four numbers, with learned positions and a class token; mixed, and averaged back."""

    def forward(m: Any, x: Tensor) -> Tensor:
        sequence = x[:, :, None] * m.scale + m.positions
        sequence = torch.cat([m.first.expand(len(x), 1, 4), sequence], 1)
        return m.mix(sequence)[:, 1:].mean(2)  # type: ignore[no-any-return]  # modules are called untyped

    return Function(forward, scale=parameter(4), positions=parameter(width, 4), first=parameter(1, 1, 4), mix=mix)


def attention(rng: Rng, width: int) -> nn.Module:
    if rng.integers(2):
        return tokens(rng, width, Residual(nn.LayerNorm(4), Attention(4)))
    batch_first = bool(rng.integers(2))

    def forward(m: Any, x: Tensor) -> Tensor:
        x = x if batch_first else x.transpose(0, 1)
        y: Tensor = m.attention(x, x, x, need_weights=bool(batch_first))[0]
        return y if batch_first else y.transpose(0, 1)

    return tokens(rng, width, Function(forward, attention=nn.MultiheadAttention(4, 2, batch_first=batch_first)))


def transformer(rng: Rng, width: int) -> nn.Module:
    return tokens(rng, width, nn.TransformerEncoderLayer(4, 2, 5, batch_first=True, norm_first=bool(rng.integers(2))))


def normed(rng: Rng, width: int) -> nn.Module:
    return nn.Sequential((nn.LayerNorm, nn.RMSNorm, nn.BatchNorm1d)[rng.integers(3)](width), activation(rng))


def prelu(rng: Rng, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.PReLU(width if rng.integers(2) else 1))


def gated(rng: Rng, width: int) -> nn.Module:
    """Experts, weighed by a softmax of the features."""
    return Function(
        lambda m, x: torch.einsum("ne,neo->no", m.gate(x).softmax(1), torch.einsum("ni,eio->neo", x, m.experts).relu()),
        gate=nn.Linear(width, 2), experts=parameter(2, width, width),
    )  # fmt: skip


def bilinear(rng: Rng, width: int) -> nn.Module:
    return Function(lambda m, x: m.product(x, x.tanh()), product=nn.Bilinear(width, width, width))


BLOCKS: dict[str, Make] = {
    make.__name__: make
    for make in (
        plain, tied_modules, tied_weights, tied_transposed, borrowed, recurrent, gain, layer_scale, idle, frozen, lora,
        lora_beside, reparametrised, reparametrised_by_hook, spectral_filter, looked_up, attention, transformer, normed, prelu,
        gated, bilinear,
    )
}  # fmt: skip


def flat(rng: Rng, width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width))


def convolved(rng: Rng, width: int) -> nn.Module:
    """Convolutions with BatchNorm, sometimes by one weight twice, sometimes read beside the BatchNorm by a gain of zero."""
    first, norm, last = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, width, 2, stride=2, groups=1)
    kind = rng.integers(4)
    if kind == 0:
        return nn.Sequential(first, norm, nn.ReLU(), last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if kind == 1:
        again = nn.Conv2d(2, 2, 3, padding=1)
        return nn.Sequential(
            first, norm, nn.ReLU(), again, nn.ReLU(), again, last, nn.Flatten(2), nn.Flatten(1), nn.Linear(4 * width, width)
        )
    if kind == 2:
        return Function(
            lambda m, x: m.last(m.norm(m.first(x)) + m.leak * m.first(x)).mean((2, 3)),
            first=first, norm=norm, last=last, leak=nn.Parameter(torch.zeros(())),
        )  # fmt: skip

    def forward(m: Any, x: Tensor) -> Tensor:
        x = m.first(x)
        return m.last(m.norm(x) + m.leak * x).mean((2, 3))  # type: ignore[no-any-return]  # modules are called untyped

    return Function(
        forward,
        first=parametrizations.weight_norm(first) if rng.integers(2) else first,
        norm=norm,
        last=last,
        leak=nn.Parameter(torch.zeros(())),
    )


def patches(rng: Rng, width: int) -> nn.Module:
    rows = nn.Conv1d(4, width, 2) if rng.integers(2) else nn.Sequential(nn.ConvTranspose1d(4, width, 2), nn.GroupNorm(1, width))
    return nn.Sequential(nn.Flatten(1, 2), rows, nn.GELU(), nn.Flatten(2), Function(lambda m, x: x.mean(2)))


EMBEDDINGS: tuple[Make, ...] = (flat, flat, convolved, patches)


def linear(rng: Rng, width: int, classes: int) -> nn.Module:
    return nn.Linear(width, classes)


def cosine(rng: Rng, width: int, classes: int) -> nn.Module:
    """Scaled cosines to learned centres."""
    return Function(
        lambda m, x: m.scale * functional.normalize(x, dim=1) @ functional.normalize(m.centres, dim=1).T,
        centres=parameter(classes, width),
        scale=nn.Parameter(torch.tensor(2.0)),
    )


def tempered(rng: Rng, width: int, classes: int) -> nn.Module:
    return Function(
        lambda m, x: m.head(x) / m.temperature, head=nn.Linear(width, classes), temperature=nn.Parameter(torch.tensor(1.5))
    )


def normalised_head(rng: Rng, width: int, classes: int) -> nn.Module:
    head: nn.Module = parametrizations.weight_norm(nn.Linear(width, classes))
    return head


HEADS = (linear, linear, cosine, tempered, normalised_head)


def random_classifier(rng: Rng, classes: int, *, scale: int = 1) -> tuple[str, nn.Module]:
    """A network in eval mode for images (n, 1, 4, 4), with its description; float32, and some of it is complex or integers."""
    width = scale * int(rng.integers(3, 6))
    embedding, head = EMBEDDINGS[rng.integers(len(EMBEDDINGS))], HEADS[rng.integers(len(HEADS))]
    names = [str(name) for name in rng.choice(list(BLOCKS), int(rng.integers(1, 4)), replace=False)]
    seed = int(rng.integers(2**31))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(embedding(rng, width), *(BLOCKS[name](rng, width) for name in names), head(rng, width, classes))
        with torch.no_grad():
            for p in module.parameters():
                if p.ndim:
                    p.add_(0.2 * torch.randn(p.shape))
            module(torch.randn(32, 1, 4, 4))  # gives BatchNorm statistics that are not 0 and 1
    return " → ".join([embedding.__name__, *names, head.__name__]), module.eval()


def random_module(rng: Rng, *, scale: int = 1) -> tuple[str, Case]:
    """A case of two to four classes in float64, with its description; the last batch is ragged for an even batch size."""
    classes = int(rng.integers(2, 5))
    name, module = random_classifier(rng, classes, scale=scale)
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    inputs = torch.randn(2 * int(rng.integers(4, 9)) + 1, 1, 4, 4, generator=generator).double()
    return name, Case(double(module), inputs, torch.randint(0, classes, inputs.shape[:1], generator=generator))


def double(module: nn.Module) -> nn.Module:
    """Real and complex parts in double precision."""
    wide = {torch.float32: torch.float64, torch.complex64: torch.complex128}
    for layer in module.modules():
        tables: list[dict[str, Any]] = [layer._parameters, layer._buffers]
        for table in tables:
            for t in table.values():
                if t is not None:
                    t.data = t.data.to(wide.get(t.dtype, t.dtype))
    return module
