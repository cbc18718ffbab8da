"""The corruption probe: published files or our own, which is said everywhere; cells, families, reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sharpaudit import audit, store
from sharpaudit.card import Card, Measured, Skipped, codec
from sharpaudit.card.comparable import mismatches
from sharpaudit.checkpoints import load
from sharpaudit.corruptions import NAMES, STANDARD15, VERSION, corrupt
from sharpaudit.data import open_images, to_input
from sharpaudit.data.images import ImageSet
from sharpaudit.errors import DataError, UnknownName, UsageError
from sharpaudit.plan import plan
from tests.benches import bench
from tests.cli.conftest import DEMO
from tests.data.corrupted_sets import (
    Pixels,
    write_cifar10,
    write_cifar10_c,
    write_tiny_imagenet,
    write_tiny_imagenet_c,
)

CHECKPOINT = DEMO / "baseline-seed0.safetensors"
LABELS = np.arange(30) % 10


def measured(data: str, root: Path | None = None, *, options: dict[str, Any] | None = None, **settings: Any) -> store.Run:
    return audit.measure(
        audit.Request(
            checkpoint=CHECKPOINT,
            data=data,
            probes="accuracy,corruption",
            search=(root,) if root else (),
            options={"corruption": options or {}},
            **settings,
        )
    )


def number(card: Card, name: str) -> Measured:
    found = card.measured(name)
    assert found is not None, card.find(name)
    return found


def predicted(images: Pixels) -> np.ndarray:
    """What the network says of these images, by itself."""
    model = load(CHECKPOINT)
    with torch.no_grad():
        logits = model.module.eval()(to_input(torch.tensor(images), model.subject.preprocessing))
    return np.asarray(logits.argmax(1))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Pixels, dict[str, Pixels]]:
    root = tmp_path_factory.mktemp("sets")
    return root, write_cifar10(root, LABELS), write_cifar10_c(root, LABELS)


@pytest.fixture(scope="module")
def card(published: tuple[Path, Pixels, dict[str, Pixels]]) -> Card:
    return measured("cifar10-c", published[0]).card


def test_published_numbers_are_those_of_the_files(published: tuple[Path, Pixels, dict[str, Pixels]], card: Card) -> None:
    _, clean, stored = published
    n, before = len(LABELS), predicted(clean)
    hits = {name: (predicted(images) == np.tile(LABELS, 5)).reshape(5, n) for name, images in stored.items()}
    for name in ("gaussian_noise", "fog", "saturate"):
        for severity in (1, 5):
            assert number(card, f"corruption.accuracy/{name}/{severity}").value == pytest.approx(hits[name][severity - 1].mean())
        assert number(card, f"corruption.accuracy/{name}").value == pytest.approx(hits[name].mean())
    assert number(card, "corruption.accuracy").value == pytest.approx(np.mean([hits[name] for name in NAMES]))
    assert number(card, "corruption.accuracy_standard15").value == pytest.approx(np.mean([hits[name] for name in STANDARD15]))
    assert number(card, "corruption.accuracy/*/5").value == pytest.approx(np.mean([hits[name][4] for name in NAMES]))
    weather = ("snow", "frost", "fog", "brightness", "spatter")
    assert number(card, "corruption.accuracy/family/weather").value == pytest.approx(np.mean([hits[name] for name in weather]))
    flips = np.mean([predicted(images).reshape(5, n) != before for images in stored.values()])
    assert number(card, "corruption.flip_rate").value == pytest.approx(flips)


def test_a_published_set_is_named_and_hashed(published: tuple[Path, Pixels, dict[str, Pixels]], card: Card) -> None:
    source, stored = card.corruptions, published[2]
    assert source is not None
    assert (source.label, source.version, source.missing, source.paired) == ("cifar10-c", None, [], True)
    assert source.fingerprint is not None and len(source.fingerprint) == 64
    found = number(card, "corruption.accuracy")
    assert found.method.startswith("cifar10-c (published files), top-1 accuracy")
    assert found.options == {"cells": 95, "samples": 30, "source": "cifar10-c"}
    assert "synthetic" not in codec.encode(card)
    row = next(row for row in card.tables["corruption"].records() if (row["corruption"], row["severity"]) == ("fog", 2))
    assert row["sha256"] == ImageSet("any", stored["fog"][30:60], LABELS, ("a",)).index_hash


def test_a_class_map_holds_for_corrupted_images_too(published: tuple[Path, Pixels, dict[str, Pixels]], tmp_path: Path) -> None:
    root, _, stored = published
    outputs = np.roll(np.arange(10), 5)
    names = open_images("cifar10", search=[root]).classes
    (tmp_path / "map.txt").write_text("".join(f"{name} {output}\n" for name, output in zip(names, outputs, strict=True)))
    mapped = measured("cifar10-c", root, options={"cells": ("fog/2",)}, class_map=tmp_path / "map.txt").card
    hits = predicted(stored["fog"][30:60]) == outputs[LABELS]
    assert number(mapped, "corruption.accuracy/fog/2").value == pytest.approx(hits.mean())
    assert hits.sum() != (predicted(stored["fog"][30:60]) == LABELS).sum(), "the map makes a difference"


@pytest.mark.parametrize("data", ["cifar10", "cifar10-c"])
def test_ours_is_never_called_published(published: tuple[Path, Pixels, dict[str, Pixels]], data: str) -> None:
    root, clean, _ = published
    ours = measured(data, root, synthesise=True, options={"cells": ("fog/3",)}).card
    assert ours.corruptions is not None and (ours.corruptions.label, ours.corruptions.version) == ("synthetic-c", VERSION)
    assert ours.data.name == "cifar10"
    text = codec.encode(ours).lower()
    assert "cifar10-c" not in text and "cifar-10-c" not in text
    images = corrupt(torch.tensor(clean), "fog", 3, indices=torch.arange(30)).numpy()
    assert number(ours, "corruption.accuracy/fog/3").value == pytest.approx((predicted(images) == LABELS).mean())
    assert ours.tables["corruption"].records()[0]["sha256"] == ImageSet("any", images, LABELS, ("a",)).index_hash


def test_cards_of_different_sources_are_not_compared(published: tuple[Path, Pixels, dict[str, Pixels]], card: Card) -> None:
    ours = measured("cifar10", published[0], options={"cells": ("fog/3",)}).card
    assert [each.field for each in mismatches(card, ours)] == ["corruptions"]
    assert mismatches(card, card) == []


def test_a_partial_set_says_what_is_missing(tmp_path: Path) -> None:
    write_cifar10(tmp_path, LABELS), write_cifar10_c(tmp_path, LABELS, STANDARD15)
    for name in ("fog", "snow"):
        (tmp_path / "CIFAR-10-C" / f"{name}.npy").unlink()
    with pytest.raises(DataError, match="cifar10-c is incomplete: snow, fog"):
        measured("cifar10-c", tmp_path)
    partial = measured("cifar10-c", tmp_path, allow_partial=True, options={"severities": (2, 4)}).card
    assert partial.corruptions is not None and partial.corruptions.missing == ["snow", "fog"]
    assert number(partial, "corruption.accuracy").options["cells"] == 26
    fifteen = partial.find("corruption.accuracy_standard15")
    assert isinstance(fifteen, Skipped)
    assert fifteen.reason == "not all of the fifteen were measured: snow/2, snow/4, fog/2, fog/4"
    nothing = measured("cifar10-c", tmp_path, allow_partial=True, options={"cells": ("spatter/1",)}).card
    assert nothing.probes["corruption"].reason == "cifar10-c holds none of the cells that were asked for"


def test_without_pairs_nothing_is_compared_image_by_image(tmp_path: Path) -> None:
    wnids = ["n01", "n02", "n03"]
    write_tiny_imagenet(tmp_path, [f"val_{i}.png" for i in range(6)])
    write_tiny_imagenet_c(tmp_path, {f"test_{i}.png": wnids[i % 3] for i in range(4)}, STANDARD15)
    (tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt").write_text(
        "".join(f"val_{i}.png\tn{i:02}\n" for i in range(6)) + "".join(f"val_0.png\tn{i:02}\n" for i in range(6, 10))
    )
    unpaired = measured("tiny-imagenet-c", tmp_path, options={"severities": (1,)}).card
    assert unpaired.corruptions is not None and not unpaired.corruptions.paired
    assert number(unpaired, "corruption.accuracy").n == 4
    flips = unpaired.find("corruption.flip_rate")
    assert isinstance(flips, Skipped) and "which clean image" in flips.reason
    assert unpaired.tables["corruption"].records()[0]["flip_rate"] is None


# The mean corruption error


def test_mce_against_itself_is_one(tmp_path: Path) -> None:
    run = measured("digits", options={"severities": (3, 5)}, limit=300)
    store.save_run(tmp_path / "run", run)
    again = measured("digits", options={"severities": (3, 5), "reference": str(tmp_path / "run")}, limit=300).card
    found = number(again, "corruption.mce")
    assert found.value == pytest.approx(1.0)
    assert found.ci is not None and found.ci.low < 1 < found.ci.high
    assert (found.unit, found.direction, found.options["cells"]) == ("1", "lower", 30)
    assert "error relative to baseline-seed0.safetensors" in found.method
    assert again.probes["corruption"].options["reference"]["errors"]["fog/5"] == pytest.approx(
        1 - number(again, "corruption.accuracy/fog/5").value
    )
    fewer = measured("digits", options={"severities": (2, 3), "reference": str(tmp_path / "run")}, limit=300).card
    missing = fewer.find("corruption.mce")
    assert isinstance(missing, Skipped) and "has no errors for these severities of gaussian_noise" in missing.reason


def test_mce_without_a_reference_that_fits() -> None:
    reasons = {}
    for reference in (None, "alexnet"):
        found = measured("digits", options={"cells": ("fog/3",), "reference": reference}, limit=20).card.find("corruption.mce")
        assert isinstance(found, Skipped)
        reasons[reference] = found.reason
    assert reasons == {
        None: "no reference model was named (--set corruption.reference=RUN)",
        "alexnet": "alexnet was measured on imagenet-c, this is synthetic-c",
    }


def test_references_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"corruption.reference: expected alexnet, a run folder or a report.json"):
        plan("corruption", {"corruption": {"reference": str(tmp_path / "nowhere")}})
    store.save_run(tmp_path, audit.measure(audit.Request(checkpoint=CHECKPOINT, data="digits", limit=20, probes="accuracy")))
    with pytest.raises(UsageError, match="this card has no corruption table with a source"):
        plan("corruption", {"corruption": {"reference": str(tmp_path)}})


# Options


def test_cells_are_chosen_by_name() -> None:
    (step,) = plan("corruption", {"corruption": {"cells": ["jpeg_compression/5", "fog/3"]}})
    assert step.options.wanted == [("fog", 3), ("jpeg_compression", 5)]
    (step,) = plan("corruption", {"corruption": {"cells": "fog/3", "severities": "2"}})
    assert (step.options.wanted, step.options.severities) == ([("fog", 3)], (2,))


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"cells": "fogg/3"}, UnknownName, "unknown corruption 'fogg'; did you mean 'fog'"),
        ({"cells": "fog"}, UsageError, "corruption.cells: expected NAME/SEVERITY, severity 1 to 5, got 'fog'"),
        ({"cells": ["fog/6"]}, UsageError, "got 'fog/6'"),
        ({"severities": (0,)}, UsageError, r"corruption.severities: expected some of 1 to 5, got \[0\]"),
        ({"severities": ()}, UsageError, r"expected some of 1 to 5, got \[\]"),
        ({"samples": 0}, UsageError, "corruption.samples: expected at least 1, got 0"),
    ],
)
def test_options_that_no_run_could_honour(options: dict[str, Any], kind: type[UsageError], words: str) -> None:
    with pytest.raises(kind, match=words):
        plan("corruption", {"corruption": options})


# The bench


def test_fewer_images_are_spread_over_the_set_and_keep_their_noise() -> None:
    """A set sorted by class gives every class its share, and an image its own random numbers whatever stands beside it."""
    on = bench()
    seen = on.corrupted("gaussian_noise", 4, 24)
    rows = np.arange(24) * 97 // 24
    digits = open_images("digits", limit=97)
    assert seen.labels.tolist() == digits.labels[rows].tolist()
    whole = corrupt(torch.tensor(digits.images[:]), "gaussian_noise", 4, indices=torch.arange(97))[rows].numpy()
    assert on.corrupted_hash("gaussian_noise", 4) == ImageSet("any", whole, digits.labels[rows], ("a",)).index_hash


@pytest.mark.parametrize("batch_size", [1, 7, 97])
def test_the_hash_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    hashes = []
    for size in (32, batch_size):
        on = bench(batch_size=size)
        on.corrupted("glass_blur", 2)
        hashes.append(on.corrupted_hash("glass_blur", 2))
    assert hashes[0] == hashes[1]
