"""A bare state dict tells its network: over every network of timm, torchvision and the zoo, and never a wrong one."""

import math
import random
import subprocess
import sys
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision import models

from sharpaudit.audit import prepare
from sharpaudit.checkpoints import (
    Decision,
    LoadedModel,
    architectures,
    fingerprint,
    fitting,
    functions,
    load,
    zoo,
)
from sharpaudit.checkpoints.matching import Shape
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.checkpoints.tensors import OddTensor
from sharpaudit.data.images import ImageSet
from sharpaudit.disambiguation import by_clean_loss, clearly_best
from sharpaudit.errors import ArchitectureError
from sharpaudit.request import PreprocessingOverrides, Request

INDEX = fingerprint.shipped()
REFUSALS = (ValueError, TypeError, RuntimeError, AssertionError, IndexError, ZeroDivisionError, AttributeError, KeyError)


def built(spec: str, **settings: Any) -> nn.Module:
    """The network as its library builds it, without any code of ours and always alike; `settings` in timm's words."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some networks deplore the channels they are asked to take
        torch.manual_seed(0)
        return _built(spec, **settings)


def _built(spec: str, **settings: Any) -> nn.Module:
    family, _, name = spec.partition(":")
    if family == "timm":
        return timm.create_model(name, **settings)
    if family == "torchvision":
        words = {"img_size": "image_size"}
        more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return models.get_model(name, **{words.get(key, key): value for key, value in settings.items()}, **more)  # type: ignore[no-any-return]  # torchvision is untyped
    words = {"in_chans": "in_channels", "img_size": "image_size"}
    return zoo.build(name, **{words.get(key, key): value for key, value in settings.items()})


def shapes_of(spec: str, **settings: int) -> dict[str, Shape] | None:
    """Names and shapes of its state dict, or None where the library refuses the settings."""
    regnet = "torchvision:regnet" in spec  # computes its widths with tensors, which must have values
    try:
        with torch.device("cpu" if regnet else "meta"):
            module = architectures.parse(spec).outline(**settings) if regnet else built(spec, **settings)
    except REFUSALS:
        return None
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def bare(shapes: dict[str, Shape]) -> Weights:
    """Weights of which nothing is known but names and shapes."""
    return Weights({name: OddTensor("nothing but a shape", shape) for name, shape in shapes.items()})


@dataclass
class Tally:
    """How identifications went; every list holds what was asked."""

    named: list[str] = field(default_factory=list)
    """All fits are made alike, so there is one answer; the truth is among them."""
    listed: list[str] = field(default_factory=list)
    """Fits are made differently; the truth is among them."""
    refused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """An answer without the truth."""

    @property
    def asked(self) -> int:
        return len(self.named) + len(self.listed) + len(self.refused) + len(self.wrong)


def questions(spec: str) -> list[dict[str, int]]:
    """Three class counts; then one channel and another image size, which some libraries and networks do not allow."""
    config = timm.get_pretrained_cfg(spec.removeprefix("timm:")) if spec.startswith("timm:") else None
    size = config.input_size[-1] if config else 224
    classes = [{"num_classes": count} for count in (10, 100, 1000)]
    return [*classes, {"num_classes": 10, "in_chans": 1}, {"num_classes": 10, "img_size": size * 3 // 2}]


def ask(spec: str, question: dict[str, int], tally: Tally) -> None:
    """Put one network with one question to `identify`, and its answer to the tally."""
    shapes = shapes_of(spec, **question)
    if shapes is None:
        return
    asked = f"{spec} {question}"
    try:
        fits = fitting.identify(bare(shapes))
    except ArchitectureError:
        tally.refused.append(asked)
        return
    truth = next((fit for fit in fits if fit.architecture.spec == spec), None)
    told = [key for key in OURS.keys() & question if INDEX.tells(spec, OURS[key])]
    right = truth and all(truth.settings[OURS[key]] == question[key] for key in told)
    one = len(functions.made_alike(fits)) == 1
    (tally.wrong if not right else tally.named if one else tally.listed).append(asked)


OURS = {"num_classes": "num_classes", "in_chans": "in_channels"}
"""What the weights must tell exactly, if anything; of an image size they tell at most how many patches it has."""


def test_sixty_networks_are_named_or_listed() -> None:
    found = Tally()
    quick = sorted(spec for spec, network in INDEX.networks.items() if len(network.names) <= 600)
    for number, spec in enumerate(random.Random(0).sample(quick, 60)):
        ask(spec, questions(spec)[number % 5], found)
    assert not found.wrong
    assert not found.refused
    assert len(found.named) >= 0.85 * found.asked >= 0.85 * 45


@pytest.mark.parametrize("spec", ["timm:beit_base_patch16_384", "timm:vit_so400m_patch14_siglip_384"])
def test_images_larger_than_published_hide_no_network(spec: str) -> None:
    found = Tally()
    ask(spec, {"num_classes": 10, "img_size": 576}, found)
    assert len(found.named + found.listed) == 1


@pytest.mark.slow
def test_every_network_is_named_or_listed() -> None:
    found = Tally()
    for spec in INDEX.networks:
        for question in questions(spec):
            ask(spec, question, found)
    print(f"of {found.asked}: named {len(found.named)}, listed {len(found.listed)}, refused {found.refused}, wrong {found.wrong}")
    assert not found.wrong
    assert len(found.refused) <= 0.01 * found.asked
    assert len(found.named) >= 0.85 * found.asked


def families(most_parameters: int) -> list[list[str]]:
    """Networks that share names and fixed shapes, up to a size."""
    groups: dict[tuple[tuple[int, ...], tuple[int, ...]], list[str]] = {}
    for spec, network in INDEX.networks.items():
        if sum(math.prod(axis or 10 for axis in INDEX.shapes[shape]) for shape in network.shapes) <= most_parameters:
            groups.setdefault((tuple(network.names), tuple(network.shapes)), []).append(spec)
    return [specs for specs in groups.values() if len(specs) > 1]


def trained(module: nn.Module, seed: int = 0) -> nn.Module:
    """`module` with weights as after training: no layer is switched off, no statistic is 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.dim() < 2 and tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(noise + 0.5 if name.endswith(("weight", "running_var", "gamma")) else (noise - 0.5) / 5)
            elif tensor.is_floating_point() and not tensor.any():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 50)
            elif name.endswith("num_batches_tracked"):
                tensor.fill_(100)
    return module.eval()


def saved(module: nn.Module, folder: Path) -> Path:
    torch.save(module.state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def agree(one: nn.Module, other: nn.Module, size: int, channels: int = 3) -> bool:
    """Whether two networks give the same logits, up to rounding, for two images."""
    images = torch.rand(2, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        a, b = one.double()(images), other.double()(images)
    return bool((a - b).abs().max() <= 1e-6 * (a - a.mean()).abs().max())


def test_networks_that_compute_the_same_are_one_answer(tmp_path: Path) -> None:
    truth = trained(built("timm:deit_tiny_patch16_224", num_classes=10))
    model = load(saved(truth, tmp_path))
    assert model.subject.architecture == "timm:vit_tiny_patch16_224"
    assert model.subject.architecture_origin == "fingerprint"
    assert any("timm:deit_tiny_patch16_224" in step and "the same function" in step for step in model.subject.steps)
    assert agree(truth, model.module, 224)


def test_networks_that_compute_something_else_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match="2 networks that compute different functions") as caught:
        load(saved(trained(built("timm:resnetblur18", num_classes=10)), tmp_path))
    assert caught.value.message.endswith("torchvision:resnet18 (same function: timm:resnet18); timm:resnetblur18")
    assert caught.value.hint == "choose one with --arch (labelled images might tell)"


def test_one_option_is_enough_to_be_made_differently() -> None:
    """The same names and shapes with 12 heads and with 16."""
    shapes = shapes_of("timm:vit_base_patch16_gap_224", num_classes=10)
    assert shapes
    groups = [{fit.architecture.spec for fit in group} for group in functions.made_alike(fitting.identify(bare(shapes)))]
    assert groups[0] == {"timm:vit_base_patch16_gap_224"}
    assert len(groups) == 2 and "timm:vit_base_patch16_siglip_gap_224" in groups[1]


def test_weights_that_tell_nothing_are_not_decided(tmp_path: Path) -> None:
    module = trained(built("torchvision:resnet18", num_classes=10))
    for name in ("fc.weight", "fc.bias"):
        torch.nn.init.zeros_(module.get_parameter(name))
    with pytest.raises(ArchitectureError, match="3 networks that compute different functions"):
        load(saved(module, tmp_path))


@pytest.mark.slow
def test_a_network_that_cannot_take_its_images_is_no_answer(tmp_path: Path) -> None:
    """CrossViT-408 of timm 1.0.31 can be built for images of 240, with the weights of CrossViT-240, and then fails on them."""
    model = load(saved(trained(built("timm:crossvit_15_dagger_240", num_classes=10)), tmp_path))
    assert model.subject.architecture == "timm:crossvit_15_dagger_240"


@pytest.mark.slow
@pytest.mark.parametrize("specs", families(30_000_000), ids=lambda specs: specs[0])
def test_no_weights_load_into_another_function(specs: list[str], tmp_path: Path) -> None:
    for spec in specs:
        truth = trained(built(spec, num_classes=10))
        path = saved(truth, tmp_path)
        config = timm.get_pretrained_cfg(spec.removeprefix("timm:"), allow_unregistered=True)
        size = config.input_size[-1] if config else 224
        try:
            model = load(path)
            if model.subject.preprocessing.input_size[1] != size:  # the weights do not tell it, so the user is told to
                assert any("--input-size" in warning for warning in model.subject.warnings)
                model = load(path, overrides=PreprocessingOverrides(input_size=(3, size, size)))
        except ArchitectureError as error:
            assert spec in error.message
        else:
            assert agree(truth, model.module, size), f"{spec} as {model.subject.architecture}"


NORMALISATIONS = ("timm:test_efficientnet_gn", "timm:test_efficientnet_ln")
"""Two small networks with the same names and shapes: group and layer normalisation."""
GREY = PreprocessingOverrides(mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(3, 64, 64))


def pictures(labels: np.ndarray[tuple[int], np.dtype[np.int64]], seed: int = 0) -> ImageSet:
    """Coloured stripes of many widths."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
    return ImageSet("stripes", coarse.repeat(8, 1).repeat(8, 2), labels, tuple("abcdefghij"))


def logits(module: nn.Module, images: ImageSet) -> torch.Tensor:
    pixels = torch.tensor(np.asarray(images.images)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        return module.float()((pixels - 0.5) / 0.5)  # type: ignore[no-any-return]  # modules are called untyped


def answers(module: nn.Module, images: ImageSet) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return logits(module, images).argmax(1).numpy()


def undecided_on_average(spec: str) -> nn.Module:
    """The network with weights under which no class is favoured, so that it gives many answers."""
    module = trained(built(spec, num_classes=10))
    mean = logits(module, pictures(np.zeros(100, np.int64))).mean(0)
    with torch.no_grad():
        module.get_parameter("classifier.bias").sub_(mean)
    return module


@pytest.mark.parametrize("spec", NORMALISATIONS)
def test_labelled_images_decide_where_they_are_clear(spec: str, tmp_path: Path) -> None:
    truth = undecided_on_average(spec)
    labels = answers(truth, pictures(np.zeros(600, np.int64)))
    assert len(set(labels.tolist())) > 3
    model = load(saved(truth, tmp_path), overrides=GREY, decide=by_clean_loss(lambda _: pictures(labels)))
    assert model.subject.architecture == spec
    assert model.subject.architecture_origin == "fingerprint, then the clean loss"
    other = NORMALISATIONS[spec == NORMALISATIONS[0]]
    note = model.subject.warnings[-1]
    assert note.startswith(f"the weights also fit {other}; {spec} was taken") and f"of 64 images right: 100.0% in {spec}" in note
    assert agree(truth, model.module, 64)


def test_the_audit_lets_its_own_images_decide(tmp_path: Path) -> None:
    truth = undecided_on_average(NORMALISATIONS[1])
    images = pictures(np.zeros(100, np.int64))
    np.savez(tmp_path / "test.npz", images=np.asarray(images.images), labels=answers(truth, images))
    request = Request(
        checkpoint=saved(truth, tmp_path), data=f"npz:{tmp_path / 'test.npz'}", probes="accuracy", preprocessing=GREY
    )
    subject = prepare(request).model.subject
    assert (subject.architecture, subject.architecture_origin) == (NORMALISATIONS[1], "fingerprint, then the clean loss")


def test_labels_without_sense_decide_nothing(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 10, 600)
    path = saved(trained(built(NORMALISATIONS[0], num_classes=10)), tmp_path)
    with pytest.raises(ArchitectureError, match="compute different functions") as caught:
        load(path, overrides=GREY, decide=by_clean_loss(lambda _: pictures(labels)))
    assert all(spec in caught.value.message for spec in NORMALISATIONS)
    assert caught.value.hint and "of 512 images right" in caught.value.hint


def test_the_rule_of_the_decision() -> None:
    names = ["a", "b"]
    right = np.zeros((2, 100), bool)
    right[0, :11] = True  # 11 to none: p = 2 / 2¹¹ = 0.00098
    assert clearly_best(names, right, [[1.0] * 100, [2.0] * 100]) == Decision(0, "of 100 images right: 11.0% in a, 0.0% in b")
    assert clearly_best(names, right, [[2.0] * 100, [1.0] * 100]).index is None  # right more often, and yet the higher loss
    assert clearly_best(names, right[:, 1:], [[1.0] * 99, [2.0] * 99]).index is None  # 10 to none: p = 0.00195
    three = np.vstack([right, np.zeros((1, 100), bool)])
    assert (
        clearly_best([*names, "c"], three, [[1.0] * 100, [2.0] * 100, [2.0] * 100]).index is None
    )  # two comparisons share 0.001
    assert clearly_best(names, right, [[1.0] * 100, [2.0] * 100], looks=2).index is None  # as do two looks
    assert clearly_best(names, right[::-1], [[np.nan] * 100, [2.0] * 100]).index == 1
    assert clearly_best(names, np.ones((2, 100), bool), [[np.nan] * 100, [2.0] * 100]).index == 1  # not finite is not right


def test_an_unknown_network_gets_the_nearest(tmp_path: Path) -> None:
    state = built("timm:resnet18", num_classes=10).state_dict()
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("layer4.1.conv2")}, tmp_path / "cut.pth")
    with pytest.raises(
        ArchitectureError, match=r"no architecture was named and none fits; the nearest: 121 of 122 names"
    ) as caught:
        load(tmp_path / "cut.pth")
    assert caught.value.hint and "--arch timm:resnet18 (99% of names and shapes)" in caught.value.hint
    torch.save({"some.tensor": torch.ones(3), "other": torch.ones(3)}, tmp_path / "none.pth")
    with pytest.raises(ArchitectureError, match="none of the known ones is near these 2 names and shapes"):
        load(tmp_path / "none.pth")


def test_an_index_of_another_version_is_completed_or_said_to_be_old() -> None:
    lacking = {spec: network for spec, network in INDEX.networks.items() if spec != "timm:test_vit"}
    old = replace(INDEX, versions={"timm": "0.0", "torchvision": "0.0"}, networks=lacking)
    shapes = shapes_of("timm:test_vit", num_classes=10)
    assert shapes
    assert [fit.architecture.spec for fit in fitting.identify(bare(shapes), old)] == ["timm:test_vit"]
    shapes["extra"] = (3,)
    with pytest.raises(ArchitectureError) as caught:
        fitting.identify(bare(shapes), old)
    assert caught.value.hint and "built with timm 0.0, torchvision 0.0: python -m sharpaudit.checkpoints" in caught.value.hint


def test_a_network_that_is_gone_is_no_answer() -> None:
    network = INDEX.networks["timm:test_vit"]
    shapes = shapes_of("timm:test_vit", num_classes=10)
    assert shapes
    index = replace(INDEX, networks={"timm:test_vit_of_old": network, "timm:test_vit": network})
    assert [fit.architecture.spec for fit in fitting.identify(bare(shapes), index)] == ["timm:test_vit"]


def test_the_index_is_up_to_date_with_the_zoo_and_the_libraries() -> None:
    assert not INDEX.stale, "run python -m sharpaudit.checkpoints.fingerprint"
    assert list(INDEX.networks) == fingerprint.installed()
    for name in zoo.ENTRIES:
        spec = f"zoo:{name}"
        network = INDEX.networks[spec]
        there = {INDEX.names[n]: INDEX.shapes[s] for n, s in zip(network.names, network.shapes, strict=True)}
        here = shapes_of(spec)
        assert here and there.keys() == here.keys()
        assert all(None in there[key] or there[key] == here[key] for key in here), name


def test_the_index_is_small_and_is_what_the_script_builds() -> None:
    assert fingerprint.INDEX_FILE.stat().st_size <= 400 * 1024
    few = fingerprint.build(["zoo:digits_cnn", "timm:test_vit", "torchvision:squeezenet1_0"])
    assert fingerprint.decoded(fingerprint.encoded(few)) == few
    assert few.versions == INDEX.versions
    for spec, network in few.networks.items():
        stored = INDEX.networks[spec]
        assert [few.names[n] for n in network.names] == [INDEX.names[n] for n in stored.names]
        assert [few.shapes[n] for n in network.shapes] == [INDEX.shapes[n] for n in stored.shapes]
        assert network.witnesses == stored.witnesses


@pytest.mark.parametrize("spec", ["zoo:convnet_pooled", "timm:vit_tiny_patch16_224", "timm:beit_base_patch16_224"])
def test_the_image_size_is_read(spec: str) -> None:
    shapes = shapes_of(spec, num_classes=10, img_size=96)
    assert shapes
    (settings,) = {tuple(fit.settings.items()) for fit in fitting.identify(bare(shapes))}
    assert dict(settings)["image_size"] == 96


def test_looking_up_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from sharpaudit.checkpoints import fingerprint\n"
        "shapes = {'0.weight': (16, 1, 4, 4), '0.bias': (16,), '2.weight': (32, 16, 4, 4), '2.bias': (32,),\n"
        "          '5.weight': (100, 1568), '5.bias': (100,), '7.weight': (10, 100), '7.bias': (10,)}\n"
        "print(fingerprint.candidates({'module.' + name: shape for name, shape in shapes.items()}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    settings = "{'num_classes': 10, 'in_channels': 1, 'image_size': 28}"
    assert done.stdout.strip() == f"[Candidate(spec='zoo:convnet_strided', settings={settings})]"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"num_classes": 1000}, None), ({"num_classes": 10}, "10 classes, not 1000"), ({"in_chans": 1}, "1 channels, not 3")],
)
def test_assumed_preprocessing_is_said(settings: dict[str, int], expected: str | None, tmp_path: Path) -> None:
    path = saved(trained(built("timm:test_convnext", **settings)), tmp_path)

    def said(model: LoadedModel) -> list[str]:
        return [warning for warning in model.subject.warnings if "assumed" in warning]

    if expected is None:
        assert not said(load(path))
        return
    source = "timm:test_convnext (its published weights)"
    (warning,) = said(load(path))
    flags = "pass --mean, --std, --input-size if they were trained otherwise"
    assert warning == f"mean, std, input_size assumed as for {source}, but these weights have {expected}: {flags}"
    channels = settings.get("in_chans", 3)
    size = PreprocessingOverrides(input_size=(channels, 64, 64))
    (warning,) = said(load(path, overrides=size))
    assert warning.startswith("mean, std assumed") and warning.endswith("pass --mean, --std if they were trained otherwise")
    assert not said(load(path, overrides=replace(size, mean=(0.5,) * channels, std=(0.5,) * channels)))
