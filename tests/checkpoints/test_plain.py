"""Plain networks: described in a line, or inferred from shapes and labelled images, and never guessed."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from torch import nn

from sharpaudit.checkpoints import fingerprint, load
from sharpaudit.checkpoints.inspection import inspect
from sharpaudit.checkpoints.plain.chain import chains
from sharpaudit.checkpoints.plain.description import ACTIVATIONS, parse, written
from sharpaudit.checkpoints.plain.geometry import geometries
from sharpaudit.checkpoints.plain.suggestions import suggestions
from sharpaudit.data import to_input
from sharpaudit.errors import ArchitectureError, SharpauditError, UsageError
from sharpaudit.prepare import Prepared, prepare
from sharpaudit.request import PreprocessingOverrides, Request
from tests.checkpoints.plain_networks import STRANGE, Case, fitted, strange, trained

SEED = int(os.environ.get("SHARPAUDIT_PLAIN_SEED", "100"))
"""First of the thirty networks of the slow test."""


def random_layers(draw: random.Random) -> str:
    """A description, in its own canonical words."""
    layers = []
    for _ in range(draw.randint(1, 5)):
        kernel = draw.choice(["1x1", "3x3", "5x5", "3x5"])
        sizes = draw.choice(["", " stride 2", " pad 1", " stride 2x1 pad 1x2", " pad 2 dilation 2", " groups 2"])
        layers.append(f"conv {draw.randint(1, 64)} {kernel}{sizes}")
        layers += draw.choice([[], ["batchnorm"], ["groupnorm 4"], ["layernorm"], ["instancenorm"]])
        layers += [draw.choice([*ACTIVATIONS, "leaky_relu 0.2", "elu 0.5"])]
        layers += draw.choice([[], ["maxpool 2"], ["avgpool 3 stride 2 pad 1"], ["maxpool 3x2 ceil"]])
    layers += draw.choice([[], ["global avgpool"], ["adaptive maxpool 4"]])
    return f"seq({', '.join([*layers, 'linear 32', 'tanh', 'linear 10'])})"


@pytest.mark.parametrize("seed", range(20))
def test_a_description_prints_as_it_is_parsed(seed: int) -> None:
    text = random_layers(random.Random(seed))
    assert str(parse(text).description) == text


def test_an_mlp_prints_with_its_inputs() -> None:
    parsed = parse(" mlp( 784-50-25-10 , relu) ")
    assert (parsed.inputs, written(parsed.description, 784)) == (784, "mlp(784-50-25-10, relu)")
    assert str(parsed.description) == "seq(linear 50, relu, linear 25, relu, linear 10)"
    assert written(parse("seq(linear 50, relu, linear 25, tanh, linear 10)").description, 784).startswith("seq(")


def test_what_changes_nothing_is_left_out() -> None:
    shorter = parse("seq(conv 8 3x3, relu, linear 10)").description
    assert parse("seq(conv 8 3, relu, dropout 0.5, flatten, linear 10, log_softmax)").description == shorter


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mlp(784-50-10, relu", "cannot read 'mlp(784-50-10, relu'"),
        ("mlp(784, relu)", "expected widths from input to classes"),
        ("mlp(784-10, relu, tanh)", "expected one activation"),
        ("mlp(784-10, conv 3 3x3)", "expected one activation"),
        ("seq(relu)", "expected at least one conv or linear layer"),
        ("seq(linear ten)", "cannot read 'linear ten'"),
        ("seq(linear 0)", "expected a whole number from 1 to 65,536"),
        ("seq(linear 99999)", "expected a whole number from 1 to 65,536"),
        ("seq(conv 8 3x3 stride)", "expected a number after 'stride'"),
        ("seq(conv 8 3x3 pad 1 pad 1)", "each at most once"),
        ("seq(maxpool 2 pad 2, linear 10)", "expected a pad of at most half the window"),
        ("seq(__import__('os').system('true'))", "cannot read"),
        ("seq(leaky_relu 1e999, linear 10)", "cannot read 'leaky_relu 1e999'"),
        ("seq(" + "relu, " * 300 + "linear 10)", "at most 200 layers"),
        ("seq(" + " " * 20_000 + ")", "at most 10,000 characters"),
    ],
)
def test_what_is_no_description_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert words in str(caught.value)


def saved(module: nn.Module, folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] = dict) -> Path:
    torch.save(change(module.state_dict()), folder / "net.pt")
    return folder / "net.pt"


def lenet() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, 10),
    ).eval()


LENET = "seq(conv 6 5x5 pad 2, tanh, avgpool 2, conv 16 5x5, tanh, avgpool 2, linear 120, tanh, linear 84, tanh, linear 10)"


def with_size(height: int) -> PreprocessingOverrides:
    return PreprocessingOverrides(mean=(0.0,), std=(1.0,), input_size=(1, height, height))


@pytest.mark.parametrize("seed", range(3))
def test_a_described_network_computes_what_its_author_wrote(seed: int, tmp_path: Path) -> None:
    truth = lenet()
    model = load(saved(truth, tmp_path), architecture=LENET, overrides=with_size(28))
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(model.module(images), truth(images), atol=1e-5)
    assert (model.subject.architecture, model.subject.architecture_origin) == (LENET, "--arch")


def test_a_description_that_does_not_fit_is_refused_with_the_place(tmp_path: Path) -> None:
    path = saved(lenet(), tmp_path)
    for text, words in {
        LENET.replace("conv 16 5x5", "conv 16 5x5 pad 2"): "16×7×7 arrive at 'flatten'|784|cannot take them",
        LENET.replace("linear 84", "linear 85"): "'linear 85' is not 9, a linear of shape [84, 120]",
        LENET.replace("avgpool 2, conv", "batchnorm, avgpool 2, conv"): "'batchnorm' is not 3, a conv",
        LENET.replace(", tanh, linear 10)", ")"): "the description ends before 11 [10, 84]",
        LENET.replace("linear 10)", "linear 10, linear 10)"): "has 'linear 10' where the weights end",
        "mlp(784-10, relu)": "'linear 10' is not 0, a conv",
    }.items():
        with pytest.raises(ArchitectureError) as caught:
            load(path, architecture=text, overrides=with_size(28))
        assert any(part in str(caught.value) for part in words.split("|"))
    with pytest.raises(ArchitectureError, match="the first layer takes 20 numbers, the description says 30"):
        load(saved(nn.Linear(20, 3), tmp_path), architecture="mlp(30-3)")
    with pytest.raises(ArchitectureError, match="not the weights of layers one after the other"):
        load(saved(nn.Embedding(20, 3, 1), tmp_path, lambda s: {"a.weight": torch.ones(2, 3, 4)}), architecture="mlp(30-3)")


def shapes(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_order_comes_from_names_where_the_file_has_none() -> None:
    names = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "conv10": (16, 16, 3, 3), "fc1": (10, 64)}
    found = chains({f"{name}.weight": shape for name, shape in sorted(names.items())})
    assert [[layer.stem for layer in chain.layers] for chain in found] == [["conv1", "conv2", "conv10", "fc1"]]
    norms = {f"bn{i}.{role}": (width,) for i, width in ((1, 6), (2, 16)) for role in ("running_mean", "running_var")}
    (found_one,) = chains({**norms, "conv1.weight": (6, 1, 5, 5), "conv2.weight": (16, 6, 5, 5), "fc.weight": (10, 64)})
    assert [layer.stem for layer in found_one.layers] == ["conv1", "bn1", "conv2", "bn2", "fc"]


def test_bare_and_transposed_weights_are_understood_where_shapes_prove_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(64, 20), nn.Linear(20, 10)
    truth = nn.Sequential(first, nn.ReLU(), second)
    state = {"w1": first.weight.detach().t().contiguous(), "b1": first.bias.detach()}
    state |= {"w2": second.weight.detach().t().contiguous(), "b2": second.bias.detach()}
    torch.save(state, tmp_path / "net.pt")
    model = load(tmp_path / "net.pt", architecture="mlp(64-20-10, relu)")
    images = torch.randn(3, 1, 8, 8)
    assert torch.allclose(model.module(images), truth(images.flatten(1)), atol=1e-5)
    assert "transposed w1, w2: stored as (in, out)" in model.subject.steps


@pytest.mark.parametrize("change", ["a block of a ResNet", "a stray tensor", "a wrong bias", "nothing but norms"])
def test_what_is_no_chain_is_none(change: str) -> None:
    plain = {"a.weight": (8, 3, 3, 3), "a.bias": (8,), "b.weight": (10, 8), "b.bias": (10,)}
    changed: dict[str, dict[str, tuple[int, ...]]] = {
        "a block of a ResNet": {"a.weight": (8, 3, 3, 3), "s.weight": (16, 4, 1, 1), "b.weight": (10, 16)},
        "a stray tensor": {**plain, "c": (3, 4, 5)},
        "a wrong bias": {**plain, "b.bias": (8,)},
        "nothing but norms": {"a.weight": (8,), "a.bias": (8,)},
    }
    assert chains(plain) and not chains(changed[change])


@pytest.mark.parametrize("name", ["regnetx_002", "swinv2_cr_tiny_384", "efficientnet_b0", "darknet17", "convmixer_768_32"])
def test_large_networks_are_looked_at_in_no_time(name: str) -> None:
    """Each of these once took more than five seconds, most of them for ever."""
    index = fingerprint.shipped()
    network = index.networks[f"timm:{name}"]
    numbers = zip(network.names, network.shapes, strict=True)
    found = chains({index.names[n]: tuple(axis or 10 for axis in index.shapes[s]) for n, s in numbers})
    assert all("conv" in text for text in suggestions(found))


def test_many_equal_norms_are_placed_without_trying_all() -> None:
    convs = {f"c{i}.weight": (8, 8, 3, 3) for i in range(160)}
    norms = {f"n{i}.{role}": (8,) for i in range(120) for role in ("running_mean", "running_var")}
    assert len(chains({**convs, **norms})) == 16
    assert not chains({**convs, **norms, "n99.running_mean": (9,), "n99.running_var": (9,)})


@pytest.mark.parametrize("seed", range(8))
def test_the_true_geometry_is_among_those_counted_out(seed: int) -> None:
    draw = random.Random(seed)
    side, width, steps = draw.choice([16, 20, 28, 32]), 1, []
    state: dict[str, tuple[int, ...]] = {}
    start = side
    for number in range(draw.choice([1, 2, 3])):
        kernel, stride, window = draw.choice([3, 5]), draw.choice([1, 2]), draw.choice([None, 2])
        pad = draw.choice([0, (kernel - 1) // 2])
        side = (side + 2 * pad - kernel) // stride + 1
        side = side // window if window else side
        if side < 2:
            return
        state[f"c{number}.weight"] = (8 + number, width, kernel, kernel)
        width = 8 + number
        steps.append((stride, pad, window))
    state["fc.weight"] = (10, width * side * side)
    (chain,) = chains(state)
    found = [
        [(s.stride, s.pad[0], s.window and s.window.kernel) for s in g.steps if s.window is None or s.window.stride == 2]
        for g in geometries(chain, start, start)
    ]
    assert steps in found


def right_answers(prepared: Prepared) -> int:
    model, images = prepared.model, prepared.test
    with torch.no_grad():
        return sum(
            int((model.module(to_input(torch.tensor(pixels), model.subject.preprocessing)).argmax(1).numpy() == labels).sum())
            for pixels, labels in images.batches(250)
        )


def request(case: Case, folder: Path) -> Request:
    checkpoint, images = case.save(folder)
    return Request(checkpoint=checkpoint, data=f"npz:{images}", probes="accuracy")


def small(*, size: int, activation: type[nn.Module], seed: int) -> nn.Sequential:
    """A network in a shape of no zoo."""
    torch.manual_seed(seed)
    side = ((size + 2 - 5) // 2 + 1 - 2) // 2
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, 2, 1), activation(), nn.Conv2d(12, 16, 3), activation(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * side * side, 40), activation(), nn.Linear(40, 10),
    )  # fmt: skip


@pytest.fixture(scope="module")
def case() -> Case:
    """Tanh on images of 20 by 20, pixels in [-1, 1]."""
    return fitted(small(size=20, activation=nn.Tanh, seed=0), "tanh", 20, 1, seed=0, mean=0.5, std=0.5, copies=3, epochs=3)


def test_a_plain_network_is_inferred_and_right_to_the_count(case: Case, tmp_path: Path) -> None:
    prepared = prepare(request(case, tmp_path))
    subject = prepared.model.subject
    text = "seq(conv 12 5x5 stride 2 pad 1, tanh, conv 16 3x3, tanh, maxpool 2, linear 40, tanh, linear 10)"
    assert (subject.architecture, subject.architecture_origin) == (text, "shapes, then labelled images")
    assert right_answers(prepared) == case.correct
    assert subject.preprocessing.input_size == [1, 20, 20]
    assert (subject.preprocessing.mean, subject.preprocessing.std) == ([0.5], [0.5])
    pasted = prepare(replace(prepared.request, architecture=text))
    assert right_answers(pasted) == case.correct
    assert pasted.model.subject.preprocessing == subject.preprocessing.model_copy(update={"origin": ANY})


@pytest.mark.parametrize("number", [0, 3, *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 12))])
def test_a_described_network_on_images_of_another_range_is_right_or_flagged(number: int, case: Case, tmp_path: Path) -> None:
    """Darker or paler images are as good as a trainer's mean and standard deviation that nobody else uses."""
    draw = random.Random(SEED + number)
    gain, offset = draw.uniform(0.4, 0.9), draw.uniform(0.0, 0.1)
    print(f"SHARPAUDIT_PLAIN_SEED={SEED}, number {number}: gain {gain}, offset {offset}")
    pixels = np.round(case.pixels * gain + 255 * offset).astype(np.uint8)
    text = "seq(conv 12 5x5 stride 2 pad 1, tanh, conv 16 3x3, tanh, maxpool 2, linear 40, tanh, linear 10)"
    prepared = prepare(replace(request(replace(case, pixels=pixels), tmp_path), architecture=text))
    true = replace(prepared.request, preprocessing=PreprocessingOverrides(mean=(0.5 * gain + offset,), std=(0.5 * gain,)))
    assert prepared.model.doubts or right_answers(prepared) == right_answers(prepare(true))


def test_labels_without_sense_decide_no_network(case: Case, tmp_path: Path) -> None:
    shuffled = replace(case, labels=np.random.default_rng(0).permutation(case.labels))
    with pytest.raises(ArchitectureError, match="the labelled images do not tell which") as caught:
        prepare(replace(request(shuffled, tmp_path), limit=300))
    assert caught.value.exit_code == 3 and caught.value.hint and "--arch 'seq(conv 12 5x5" in caught.value.hint


def test_without_images_it_is_refused_with_likely_descriptions(case: Case, tmp_path: Path) -> None:
    path, _ = case.save(tmp_path)
    with pytest.raises(ArchitectureError, match="only labelled images tell") as caught:
        load(path)
    assert caught.value.hint and "describe it: --arch 'seq(conv 12 5x5" in caught.value.hint
    assert inspect(path).plain[0] == "4 layers in a row: conv 12 5x5, conv 16 3x3, linear 144 to 40, linear 40 to 10"


@pytest.mark.parametrize("channels", [2, 4])
def test_two_and_four_channels_go_from_the_file_to_the_network(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(channels, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 49, 10))
    case = fitted(net, "channels", 16, channels, seed=0, mean=0.5, std=0.5, copies=2, epochs=1)
    text, half = "seq(conv 8 3x3 stride 2, relu, linear 10)", PreprocessingOverrides(mean=(0.5,), std=(0.5,))
    prepared = prepare(replace(request(case, tmp_path), architecture=text, preprocessing=half))
    assert prepared.model.subject.preprocessing.input_size == [channels, 16, 16]
    assert right_answers(prepared) == case.correct


COUNT = 30


def said(doubts: Sequence[str]) -> int:
    """How many answers hang on what the card says is open."""
    found = [re.findall(r"(?:up to|so far from them that) ([0-9,]+) of", doubt) for doubt in doubts]
    return max((int(number.replace(",", "")) for numbers in found for number in numbers), default=0)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How so many networks in shapes of no zoo fared; the table is printed."""
    found: dict[str, int] = {}
    seed = SEED
    while sum(found.values()) < COUNT:
        network, seed = trained(seed), seed + 1
        if network.correct < 0.6 * len(network.labels):  # it was hardly trained
            continue
        began = time.process_time()
        try:
            prepared = prepare(request(network, tmp_path_factory.mktemp("network")))
        except SharpauditError as error:
            outcome, told = "asked", re.sub(r".*choose one: ", "", str(error))[:100]
        else:
            doubts = prepared.model.doubts
            off = abs(right_answers(prepared) - network.correct)
            outcome = f"{'right' if off == 0 else 'within' if off <= said(doubts) else 'wrong'}{' flagged' * bool(doubts)}"
            told = f"{off} off, {said(doubts)} said to be open, {prepared.model.subject.architecture}"
        found[outcome] = found.get(outcome, 0) + 1
        print(f"{outcome:<14} {network.correct:>5} {time.process_time() - began:4.0f} s  {network.name} -> {told}")
    print(found)
    return found


@pytest.mark.slow
def test_the_counts_of_thirty_networks_are_right_or_as_near_as_the_card_says(outcomes: dict[str, int]) -> None:
    """Right to the count is not promised: images seldom tell a trainer's own mean, or activations that answer alike."""
    assert not outcomes.get("wrong")
    assert outcomes.get("wrong flagged", 0) <= 1


@pytest.mark.slow
def test_most_of_thirty_networks_are_loaded(outcomes: dict[str, int]) -> None:
    assert COUNT - outcomes.get("asked", 0) >= 0.8 * COUNT


@pytest.mark.slow
def test_no_network_outside_the_hypotheses_is_taken_for_another_without_a_word(tmp_path: Path) -> None:
    """What a card without a flag says is what the trainer counted."""
    for seed in range(SEED, SEED + len(STRANGE)):  # each kind once
        network = strange(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            prepared = prepare(request(network, folder))
        except ArchitectureError as error:
            print(f"asked {network.name}: {str(error)[:100]}")
            continue
        right = right_answers(prepared)
        print(f"{right} of {network.correct} {network.name}: {prepared.model.subject.architecture} {prepared.model.doubts}")
        assert prepared.model.doubts or right == network.correct, f"SHARPAUDIT_PLAIN_SEED={seed}"


@pytest.mark.slow
def test_a_network_that_is_none_of_those_tried_is_not_taken_for_one_of_them(tmp_path: Path) -> None:
    torch.manual_seed(1)
    dilated = nn.Sequential(
        nn.Conv2d(1, 12, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 16, 3, 1, 2, dilation=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 25, 10),
    )  # fmt: skip
    case = fitted(dilated, "dilated", 20, 1, seed=3, mean=0.5, std=0.5, copies=3, epochs=3)
    with pytest.raises(ArchitectureError, match="where training in it would leave the weights, they are not"):
        prepare(request(case, tmp_path))
    text = "seq(conv 12 3x3 pad 1, relu, maxpool 2, conv 16 3x3 pad 2 dilation 2, relu, maxpool 2, linear 10)"
    named = replace(request(case, tmp_path), architecture=text, preprocessing=PreprocessingOverrides(mean=(0.5,), std=(0.5,)))
    assert right_answers(prepare(named)) == case.correct
