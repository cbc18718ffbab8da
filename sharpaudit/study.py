"""What do the paper's control conditions do to a network's sharpness and safety? Train them, so that they can be audited.

The six conditions are those of "A Function-Centric Perspective on Flat and Sharp Minima" (arXiv 2510.12451): a baseline, the
same with data augmentation, the same with weight decay, and each of the three with sharpness-aware minimisation (SAM, Foret et
al. 2021). One seed gives one initialisation and one order of the examples, shared by all conditions, so conditions are paired
by seed and differ in nothing but themselves.

The bundled demo checkpoints come from ``python -m sharpaudit.study OUT``: `DEMO_RECIPE`, seeds 0 and 1, on ``digits:train``. The
recipe was fixed before any result was looked at, and follows the paper where that carries over: 100 epochs of SGD with momentum
0.9 at a constant rate, weight decay 5e-4, SAM radius 0.05, mean = std = 0.5. Three things are scaled to 1,000 images of 8×8
pixels: batches of 50 and a rate of 0.05, because 20 steps an epoch at the paper's 1e-3 would stop far from a minimum; and
augmentation shifts by at most one pixel and never flips, because a mirrored digit is another digit. The same torch build on the
same kind of processor gives the same files bit for bit; another one may round differently.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from sharpaudit.card import Preprocessing
from sharpaudit.checkpoints import zoo
from sharpaudit.data import ImageSet, open_images, to_input


@dataclass(frozen=True)
class Condition:
    """One way to train, beside the recipe that all ways share."""

    augmented: bool = False
    """Whether every epoch sees freshly shifted images."""
    weight_decay: float = 0.0
    """L2 coefficient on all parameters."""
    sam_radius: float = 0.0
    """Length of the ascent step of sharpness-aware minimisation; 0 is plain SGD."""


CONDITIONS = {
    "baseline": Condition(),
    "sam": Condition(sam_radius=0.05),
    "augmentation": Condition(augmented=True),
    "augmentation_sam": Condition(augmented=True, sam_radius=0.05),
    "weight_decay": Condition(weight_decay=5e-4),
    "weight_decay_sam": Condition(weight_decay=5e-4, sam_radius=0.05),
}
"""The paper's control conditions."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every condition of a study shares."""

    build: Callable[[], nn.Module]
    """A freshly initialised network; called under the study's seed."""
    preprocessing: Preprocessing
    epochs: int = 100
    batch_size: int = 50
    learning_rate: float = 0.05
    momentum: float = 0.9
    shift: int = 1
    """Largest shift of the augmentation, in pixels, along each axis."""


TINY = 1e-12
"""Keeps the ascent step finite where the gradient vanishes."""

DEMO_ARCHITECTURE = "zoo:digits_cnn"
DEMO_SEEDS = (0, 1)
TRAINED_WITH = f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
"""What decides the last bits of a training run; written into every checkpoint."""

DEMO_RECIPE = Recipe(
    build=zoo.digits_cnn,
    preprocessing=Preprocessing(mean=[0.5], std=[0.5], input_size=[1, 8, 8], origin="metadata"),
)


def train(
    condition: Condition, *, seed: int, data: ImageSet, recipe: Recipe, progress: Callable[[int], None] = lambda epoch: None
) -> nn.Module:
    """The network after training on `data` under `condition`, in eval mode.

    Args:
        condition: what sets this run apart.
        seed: decides the initialisation, the order of the examples and the shifts; no global generator is touched.
        data: the training set, all of it used in every epoch.
        recipe: network, optimiser and length.
        progress: called with the number of finished epochs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = recipe.build()
    order, shifts = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    images, labels = torch.from_numpy(data.images[:]), torch.from_numpy(data.labels)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=condition.weight_decay
    )
    model.train()
    for epoch in range(recipe.epochs):
        shown = shifted(images, recipe.shift, shifts) if condition.augmented else images
        inputs = to_input(shown, recipe.preprocessing)
        for batch in torch.split(torch.randperm(len(labels), generator=order), recipe.batch_size):
            step(model, optimiser, inputs[batch], labels[batch], condition.sam_radius)
        progress(epoch + 1)
    return model.eval()


def step(model: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, sam_radius: float) -> None:
    """One step of SGD on the cross-entropy, or of SAM: w ← w − η ∇L(w + ρ g / ‖g‖₂), g = ∇L(w) over all parameters (Foret et
    al. 2021, equation 2). The weights are put back bit for bit before the optimiser moves them.
    """
    parameters = list(model.parameters())

    def gradient() -> tuple[Tensor, ...]:
        return torch.autograd.grad(functional.cross_entropy(model(inputs), labels), parameters)

    found = gradient()
    if sam_radius:
        kept = [parameter.detach().clone() for parameter in parameters]
        length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(part) for part in found]))
        with torch.no_grad():
            for parameter, part in zip(parameters, found, strict=True):
                parameter.add_(part, alpha=sam_radius / (float(length) + TINY))
        found = gradient()
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
    for parameter, part in zip(parameters, found, strict=True):
        parameter.grad = part
    optimiser.step()


def shifted(images: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """`images` (n, h, w, c), each moved by its own whole number of pixels up to `shift` along both axes; black comes in."""
    n, height, width, _ = images.shape
    padded = functional.pad(images, (0, 0, shift, shift, shift, shift))
    offset = torch.randint(0, 2 * shift + 1, (2, n, 1, 1), generator=generator)
    rows = offset[0] + torch.arange(height).view(1, -1, 1)
    columns = offset[1] + torch.arange(width).view(1, 1, -1)
    return padded[torch.arange(n).view(-1, 1, 1), rows, columns]


def save_demo(folder: Path) -> Iterator[Path]:
    """Train the bundled demo checkpoints into `folder`, yielding each path when its file is written.

    The metadata holds all that `measure` needs: architecture, number of classes, class names and preprocessing.
    """
    data = open_images("digits:train")
    folder.mkdir(parents=True, exist_ok=True)
    for name, condition in CONDITIONS.items():
        for seed in DEMO_SEEDS:
            model = train(condition, seed=seed, data=data, recipe=DEMO_RECIPE)
            path = folder / f"{name}-seed{seed}.safetensors"
            path.write_bytes(serialised(model.state_dict(), _metadata(name, seed, data)))
            yield path


def serialised(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A safetensors file whose bytes depend on the contents only; the library writes metadata in an order that changes."""
    raw = save(tensors, metadata)
    length = int.from_bytes(raw[:8], "little")
    header = json.dumps(json.loads(raw[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + raw[8 + length :]


def _metadata(condition: str, seed: int, data: ImageSet) -> dict[str, str]:
    preprocessing = DEMO_RECIPE.preprocessing.model_dump(exclude={"origin"})
    return {
        "sharpaudit.architecture": DEMO_ARCHITECTURE,
        "sharpaudit.num_classes": str(len(data.classes)),
        "sharpaudit.preprocessing": json.dumps(preprocessing, sort_keys=True),
        "sharpaudit.classes": json.dumps(data.classes),
        "sharpaudit.condition": condition,
        "sharpaudit.seed": str(seed),
        "sharpaudit.trained_with": TRAINED_WITH,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for written in save_demo(Path(sys.argv[1])):
        print(written)
