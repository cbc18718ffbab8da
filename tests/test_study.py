"""The control conditions differ in nothing but themselves, and the bundled checkpoints are what the study writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

import sharpaudit
from sharpaudit.checkpoints import zoo
from sharpaudit.data import ImageSet, open_images, to_input
from sharpaudit.study import CONDITIONS, DEMO_RECIPE, DEMO_SEEDS, TRAINED_WITH, Condition, serialised, shifted, step, train

DEMO = Path(sharpaudit.__file__).parent / "demo"
NAMES = [f"{condition}-seed{seed}" for condition in CONDITIONS for seed in DEMO_SEEDS]
SHORT = replace(DEMO_RECIPE, epochs=2, batch_size=13)


@pytest.fixture(scope="module")
def few() -> ImageSet:
    return open_images("digits:train", limit=40)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def softmax_gradient(w: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the mean cross-entropy of logits ``x @ w.T``, in closed form: (p − e_y) xᵀ / n."""
    logits = x @ w.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    return np.asarray(p.T @ x / len(y))


@pytest.fixture
def linear() -> tuple[nn.Linear, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    model = nn.Linear(4, 3, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(rng.normal(size=(3, 4))))
    return model, rng.normal(size=(7, 4)), rng.integers(0, 3, 7)


@pytest.mark.parametrize(("radius", "decay"), [(0.0, 0.0), (0.05, 0.0), (0.0, 5e-4), (0.3, 0.1)])
def test_a_step_is_the_published_update(linear: tuple[nn.Linear, np.ndarray, np.ndarray], radius: float, decay: float) -> None:
    model, x, y = linear
    w = model.weight.detach().numpy().copy()
    g = softmax_gradient(w, x, y)
    expected = w - 0.1 * (softmax_gradient(w + radius * g / np.linalg.norm(g), x, y) + decay * w)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=decay)
    step(model, optimiser, torch.from_numpy(x), torch.from_numpy(y), radius)
    np.testing.assert_allclose(model.weight.detach().numpy(), expected, rtol=1e-9)  # float64; TINY shifts the radius by 1e-12


def test_the_ascent_step_is_undone_bit_for_bit(few: ImageSet) -> None:
    model = zoo.digits_cnn()
    before = weights(model).clone()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.0)
    inputs = to_input(torch.from_numpy(few.images[:7]), DEMO_RECIPE.preprocessing)
    step(model, optimiser, inputs, torch.from_numpy(few.labels[:7]), 0.5)
    assert torch.equal(weights(model), before)


def test_conditions_share_the_initialisation_of_their_seed(few: ImageSet) -> None:
    untrained = replace(DEMO_RECIPE, epochs=0)
    starts = [weights(train(condition, seed=4, data=few, recipe=untrained)) for condition in CONDITIONS.values()]
    assert all(torch.equal(start, starts[0]) for start in starts)
    assert not torch.equal(weights(train(Condition(), seed=5, data=few, recipe=untrained)), starts[0])


def test_every_condition_ends_elsewhere_and_ends_there_again(few: ImageSet) -> None:
    state = torch.get_rng_state()
    ends = [weights(train(condition, seed=0, data=few, recipe=SHORT)) for condition in CONDITIONS.values()]
    again = [weights(train(condition, seed=0, data=few, recipe=SHORT)) for condition in CONDITIONS.values()]
    assert all(torch.equal(first, second) for first, second in zip(ends, again, strict=True))
    assert len({tuple(end.tolist()) for end in ends}) == len(CONDITIONS)
    assert torch.equal(torch.get_rng_state(), state), "training touched the global generator"


def test_training_reports_progress_and_ends_in_eval_mode(few: ImageSet) -> None:
    epochs: list[int] = []
    assert not train(Condition(), seed=0, data=few, recipe=SHORT, progress=epochs.append).training
    assert epochs == [1, 2]


def test_shifts_move_whole_pixels_and_bring_in_black() -> None:
    images = torch.arange(1, 1 + 500 * 4 * 5, dtype=torch.int64).remainder(251).add(1).to(torch.uint8).view(500, 4, 5, 1)
    moved = shifted(images, 1, torch.Generator().manual_seed(0))
    seen = set()
    for before, after in zip(images[..., 0].numpy(), moved[..., 0].numpy(), strict=True):
        around = np.zeros((6, 7), np.uint8)
        around[1:5, 1:6] = before
        seen |= {(i, j) for i in range(3) for j in range(3) if np.array_equal(around[i : i + 4, j : j + 5], after)}
    assert len(seen) == 9
    assert torch.equal(shifted(images, 0, torch.Generator()), images)


def test_serialised_bytes_depend_on_contents_only(tmp_path: Path) -> None:
    tensors = {"b": torch.arange(3.0), "a": torch.eye(2)}
    metadata = {str(key): "v" * key for key in range(9)}
    written = serialised(tensors, metadata)
    assert written == serialised(tensors, dict(reversed(metadata.items())))
    path = tmp_path / "x.safetensors"
    path.write_bytes(written)
    assert all(torch.equal(value, tensors[name]) for name, value in load_file(path).items())
    with safe_open(path, framework="np") as file:
        assert file.metadata() == metadata


@pytest.mark.parametrize("name", NAMES)
def test_a_bundled_checkpoint_describes_itself_and_fits_the_digits(name: str) -> None:
    path = DEMO / f"{name}.safetensors"
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    condition, _, seed = name.partition("-seed")
    assert (metadata["sharpaudit.condition"], metadata["sharpaudit.seed"]) == (condition, seed)
    assert (metadata["sharpaudit.architecture"], metadata["sharpaudit.num_classes"]) == ("zoo:digits_cnn", "10")
    assert json.loads(metadata["sharpaudit.classes"]) == list("0123456789")
    assert json.loads(metadata["sharpaudit.preprocessing"]) == {
        "mean": [0.5], "std": [0.5], "input_size": [1, 8, 8], "interpolation": "bilinear", "crop_pct": 1.0
    }  # fmt: skip
    assert path.stat().st_size <= 30_000

    model = zoo.digits_cnn()
    model.load_state_dict(load_file(path))

    def accuracy(spec: str) -> float:
        data = open_images(spec)
        with torch.inference_mode():
            logits = model(torch.from_numpy(data.images).float().view(-1, 1, 8, 8) / 127.5 - 1)  # not to_input: another path
        return float((logits.argmax(1).numpy() == data.labels).mean())

    assert accuracy("digits:train") >= 0.99
    assert accuracy("digits") >= 0.94


def test_nothing_else_is_bundled() -> None:
    assert {path.stem for path in DEMO.iterdir()} == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["baseline", "augmentation_sam", "weight_decay"])
def test_retraining_gives_the_bundled_weights_bit_for_bit(name: str) -> None:
    with safe_open(DEMO / f"{name}-seed1.safetensors", framework="pt") as file:
        if file.metadata()["sharpaudit.trained_with"] != TRAINED_WITH:
            pytest.skip(f"trained with {file.metadata()['sharpaudit.trained_with']}, this is {TRAINED_WITH}")
        bundled = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, not a dict
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = train(CONDITIONS[name], seed=1, data=open_images("digits:train"), recipe=DEMO_RECIPE)
    torch.set_num_threads(threads)
    assert all(torch.equal(value, bundled[key]) for key, value in model.state_dict().items())
