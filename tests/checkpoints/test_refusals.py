"""Each refusal below the catalogue, one by one: statements, preprocessing, architectures, folders, bytes."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sharpaudit.checkpoints import load, preprocessing, source, strict_json
from sharpaudit.checkpoints.architectures import parse
from sharpaudit.checkpoints.conversion import convert
from sharpaudit.checkpoints.fitting import resolve
from sharpaudit.checkpoints.preprocessing import Defaults
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.checkpoints.statements import Statements, of_config, of_metadata
from sharpaudit.errors import ArchitectureError, ExitCode, SharpauditError
from sharpaudit.request import LIMITS, PreprocessingOverrides
from tests.checkpoints import hostile
from tests.checkpoints.hostile import archive, legacy, literal, saved, tensor, zipped


def refusal(call: Callable[[], object]) -> SharpauditError:
    with pytest.raises(SharpauditError) as caught:
        call()
    return caught.value


METADATA = {
    "num_classes of words": ({"num_classes": "ten"}, "sharpaudit.num_classes is not a count"),
    "num_classes of Arabic digits": ({"num_classes": "١٠"}, "sharpaudit.num_classes is not a count"),
    "num_classes of a million digits": ({"num_classes": "1" * 10**6}, "sharpaudit.num_classes is not a count"),
    "classes that are no list": ({"classes": '"abc"'}, "sharpaudit.classes is not a list of names"),
    "classes that are no names": ({"classes": "[1, 2]"}, "sharpaudit.classes is not a list of names"),
    "classes that are no JSON": ({"classes": "a, b"}, "sharpaudit.classes is not JSON"),
    "too many classes": ({"classes": json.dumps([""] * 100_001)}, "sharpaudit.classes is not a list of names"),
    "unknown preprocessing": ({"preprocessing": '{"gamma": 2}'}, "may hold only mean, std, input_size, interpolation, crop_pct"),
    "preprocessing that is no object": ({"preprocessing": "[]"}, "sharpaudit.preprocessing is not JSON: expected an object"),
    "three names for two classes": ({"num_classes": "2", "classes": '["a", "b", "c"]'}, "metadata states 2 classes and names 3"),
}


@pytest.mark.parametrize("name", METADATA)
def test_metadata(name: str) -> None:
    entries, words = METADATA[name]
    error = refusal(lambda: of_metadata({f"sharpaudit.{key}": text for key, text in entries.items()}))
    assert (error.exit_code, words in error.message) == (ExitCode.INPUT, True), error


CONFIG: dict[str, tuple[dict[str, Any], str]] = {
    "architecture of numbers": ({"architecture": 18}, "config.json: architecture is not a name"),
    "pretrained_cfg of text": ({"pretrained_cfg": "x"}, "config.json: pretrained_cfg is not an object"),
    "num_classes of text": ({"num_classes": "10"}, "config.json: num_classes must be a count, got '10'"),
    "num_classes below zero": ({"pretrained_cfg": {"num_classes": -1}}, "num_classes must be a count, got -1"),
    "num_classes that is true": ({"num_classes": True}, "num_classes must be a count, got True"),
    "model_args of a list": ({"model_args": ["a"]}, "config.json: model_args is not an object"),
    "id2label from one": ({"id2label": {"1": "a", "2": "b"}}, "id2label does not number its labels 0, 1, 2"),
    "id2label of a list": ({"id2label": ["a"]}, "id2label does not number its labels"),
    "id2label of numbers": ({"id2label": {"0": 5}}, "config.json: id2label is not a list of names"),
    "label_names of text": ({"label_names": "abc"}, "config.json: label_names is not a list of names"),
    "two names for three classes": ({"num_classes": 3, "label_names": ["a", "b"]}, "config.json states 3 classes and names 2"),
}


@pytest.mark.parametrize("name", CONFIG)
def test_config(name: str) -> None:
    config, words = CONFIG[name]
    error = refusal(lambda: of_config(config, {}))
    assert (error.exit_code, words in error.message) == (ExitCode.INPUT, True), error


def test_config_of_timm_is_read_whole() -> None:
    stated = of_config(
        {
            "architecture": "resnet18",
            "num_classes": 3,
            "pretrained_cfg": {"mean": [0.1] * 3, "crop_pct": 0.9, "crop_mode": "center", "input_size": [3, 64, 64]},
            "label_names": ["a", "b", "c"],
            "model_args": {"in_chans": 3, "norm_layer": ["code?"]},
        },
        {},
    )
    assert stated == Statements(
        "timm:resnet18?in_chans=3",
        3,
        ("a", "b", "c"),
        {"mean": [0.1] * 3, "crop_pct": 0.9, "input_size": [3, 64, 64]},
        "config.json",
        ["config.json: model_args that are not plain values were ignored"],
    )


@pytest.mark.parametrize(
    ("written", "size", "crop"),
    [
        ({"size": 8}, 8, 1.0),
        ({"size": {"shortest_edge": 10}, "crop_size": {"height": 8, "width": 8}}, 8, 0.8),
        ({"size": {"shortest_edge": 10}, "crop_size": 8, "do_center_crop": False}, 10, 1.0),
        ({"size": {"height": 8, "width": 9}}, None, None),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_preprocessor_of_transformers_is_read_whole(
    written: dict[str, Any], size: int | None, crop: float | None, channels: int
) -> None:
    images = {"image_mean": [0.4] * channels, "image_std": [0.2] * channels, "resample": 3, "do_normalize": True}
    found = of_config({"id2label": {"0": "cat", "1": "dog"}}, {**images, **written})
    assert found.classes == ("cat", "dog")
    assert found.preprocessing["mean"] == [0.4] * channels
    assert found.preprocessing["interpolation"] == "bicubic"
    assert found.preprocessing.get("input_size") == (size and [channels, size, size])
    assert found.preprocessing.get("crop_pct") == crop


PREPARED: dict[str, tuple[dict[str, Any], str]] = {
    "no size": ({"input_size": None}, "input_size must be (channels, height, width), got None"),
    "a size of two numbers": ({"input_size": [8, 8]}, "input_size must be (channels, height, width), got [8, 8]"),
    "a size of nothing": ({"input_size": [1, 0, 8]}, "input_size must be"),
    "a size of a thousand millions": ({"input_size": [1, 10**9, 8]}, "input_size must be"),
    "a size of fractions": ({"input_size": [1, 8.5, 8]}, "input_size must be"),
    "a mean of two channels": ({"mean": [0.5, 0.5]}, "mean must be 1 finite numbers from -1e+06 to 1e+06, got [0.5, 0.5]"),
    "a mean of text": ({"mean": ["a"]}, "mean must be 1 finite numbers"),
    "an infinite mean": ({"mean": [float("inf")]}, "mean must be 1 finite numbers from -1e+06 to 1e+06, got [inf]"),
    "a deviation of zero": ({"std": [0.0]}, "std must be 1 finite numbers from 1e-06 to 1e+06, got [0.0]"),
    "a deviation that is a number": ({"std": 0.5}, "std must be 1 finite numbers from 1e-06 to 1e+06, got 0.5"),
    "Lanczos": ({"interpolation": "lanczos"}, "interpolation must be one of nearest, bilinear, bicubic, got lanczos"),
    "no crop at all": ({"crop_pct": 0}, "crop_pct must be above 0 and at most 1, got 0"),
    "a crop larger than the image": ({"crop_pct": 1.1}, "crop_pct must be above 0 and at most 1, got 1.1"),
    "a crop of text": ({"crop_pct": "all"}, "crop_pct must be above 0 and at most 1, got all"),
}


@pytest.mark.parametrize("name", PREPARED)
def test_preprocessing(name: str) -> None:
    stated, words = PREPARED[name]
    error = refusal(lambda: preprocessing.resolve(None, stated, "config.json", Defaults((0.5,), (0.5,), (1, 8, 8)), {}))
    assert (error.exit_code, words in error.message) == (ExitCode.INPUT, True), error


def test_preprocessing_that_nobody_states() -> None:
    error = refusal(lambda: preprocessing.resolve(PreprocessingOverrides(mean=(0.5,)), {}, "metadata", None, {}))
    assert error.message == "the preprocessing is unknown: nothing states std, input_size"
    assert error.hint == "give --mean, --std and --input-size"


SPECS = {
    "no family": ("resnet18", ExitCode.USAGE, "'resnet18' does not name an architecture"),
    "an unknown family": ("keras:resnet", ExitCode.USAGE, "'keras:resnet' does not name an architecture"),
    "a method of a file": ("net.py:make()", ExitCode.USAGE, "does not name an architecture"),
    "unknown in the zoo": ("zoo:resnet21", ExitCode.INPUT, "zoo has no architecture 'resnet21'"),
    "unknown in timm": ("timm:resnet1800", ExitCode.INPUT, "timm has no architecture 'resnet1800'"),
    "unknown in torchvision": ("torchvision:resnet51", ExitCode.INPUT, "torchvision has no architecture 'resnet51'"),
    "of the hub": ("hf-hub:timm/resnet18", ExitCode.USAGE, "does not name an architecture"),
    "downloads": ("timm:resnet18?pretrained=true", ExitCode.USAGE, "'pretrained' may not be given with timm:resnet18"),
    "another file": ("timm:resnet18?checkpoint_path=/x", ExitCode.USAGE, "'checkpoint_path' may not be given"),
    "no option": ("timm:resnet18?wide", ExitCode.USAGE, "'wide' is not an option of an architecture"),
    "code": ("net.py:make", ExitCode.UNSAFE, "'net.py:make' is code"),
}


@pytest.mark.parametrize("name", SPECS)
def test_architectures(name: str) -> None:
    spec, code, words = SPECS[name]
    error = refusal(lambda: parse(spec))
    assert (error.exit_code, words in error.message) == (code, True), error
    assert error.hint


FILES = {
    "no such file": (None, "cannot read the architecture: No such file"),
    "not Python": ("def (", "the architecture file failed: SyntaxError"),
    "no such function": ("x = 1", "the architecture file failed: AttributeError"),
    "stops the program": ("raise SystemExit(0)", "the architecture file failed: SystemExit"),
    "not a network": ("def make():\n    return 7", "make returned int, expected a torch.nn.Module"),
    "fails": ("def make():\n    return {}['x']", "net.py:make cannot be built: KeyError: 'x'"),
    "fails when it is built": (
        "def make(num_classes=10):\n    raise ValueError('wide')",
        "net.py:make cannot be built: ValueError: wide",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_architectures(name: str, tmp_path: Path) -> None:
    text, words = FILES[name]
    if text is not None:
        (tmp_path / "net.py").write_text(text)
    error = refusal(lambda: resolve(parse(f"{tmp_path}/net.py:make", allow_code=True), Weights({})))
    assert (error.exit_code, words in error.message) == (ExitCode.INPUT, True), error


def test_a_folder_that_names_no_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    error = refusal(lambda: parse(f"local-dir:{tmp_path}"))
    assert error.message == "config.json names no architecture"
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    assert parse(f"local-dir:{tmp_path}").spec == "timm:resnet18"


def test_a_file_cannot_ask_for_a_network_of_any_depth(tmp_path: Path) -> None:
    config = {"architecture": "vit_tiny_patch16_224", "model_args": {"depth": 10**9}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    error = refusal(lambda: parse(f"local-dir:{tmp_path}"))
    assert (error.exit_code, error.message) == (3, "config.json: model_args.depth is above 100,000, which no network asks for")


@pytest.mark.parametrize(
    ("path", "words"),
    [("a\0b", "cannot read the file: not the name of a file"), ("x" * 300, "cannot read the file: File name too long")],
)
def test_names_that_no_file_has(path: str, words: str) -> None:
    error = refusal(lambda: source.read(Path(path), LIMITS))
    assert (error.exit_code, error.message) == (ExitCode.INPUT, words)


def nothing(folder: Path) -> None:
    """The folder stays empty."""


def two_files(folder: Path) -> None:
    for name in ("a.pt", "b.pt"):
        (folder / name).write_bytes(saved(hostile.weights()))


def index(document: object) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        save_file({"a": torch.zeros(1)}, folder / "1.safetensors")
        save_file({"b": torch.zeros(1)}, folder / "2.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(document))

    return make


FOLDERS = {
    "nothing in it": (nothing, "a folder, not a checkpoint: it holds nothing"),
    "two checkpoints": (two_files, "a folder with several checkpoints: a.pt, b.pt"),
    "no weight_map": (index({}), "the index of shards has no weight_map"),
    "a weight_map of numbers": (index({"weight_map": {"a": 1}}), "the index of shards has no weight_map"),
    "an index that is no object": (index([1]), "the index of shards is not JSON: expected an object"),
    "the wrong shard": (
        index({"weight_map": {"a": "2.safetensors", "b": "1.safetensors"}}),
        "shard '1.safetensors' holds 'a', which the index does not expect there",
    ),
    "a total_size of text": (
        index({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}, "metadata": {"total_size": "8"}}),
        "total_size of 8 bytes, the shards hold 8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name: str, tmp_path: Path) -> None:
    make, words = FOLDERS[name]
    make(tmp_path)
    error = refusal(lambda: load(tmp_path))
    assert (error.exit_code, words in error.message) == (ExitCode.INPUT, True), error


def storages(first: bytes, second: bytes) -> bytes:
    """A pickle with two tensors on the storages of these persistent ids."""
    built = b"".join(
        literal(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + literal(0) + literal((1,)) + literal((1,)) + b"\x89}tR"
        for name, pid in (("a", first), ("b", second))
    )
    return b"\x80\x02}(" + built + b"u."


def pid(kind: str = "FloatStorage", numel: Any = 1, more: bytes = b"") -> bytes:
    return (
        b"(" + literal("storage") + f"ctorch\n{kind}\n".encode() + literal("0") + literal("cpu") + literal(numel) + more + b"tQ"
    )


def zip64(data: bytes) -> bytes:
    """`data` with a ZIP64 locator before its end record that leads nowhere."""
    end = data.rfind(b"PK\x05\x06")
    return data[:end] + b"PK\x06\x07" + struct.pack("<LQL", 0, 3, 1) + data[end:]


def tarred(*names: str) -> bytes:
    """An archive as torch 0.1 wrote them."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:", format=tarfile.PAX_FORMAT) as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 9
            file.addfile(info, io.BytesIO(b"something"))
    return stream.getvalue()


def overlapping() -> bytes:
    """Two entries, whole and in place, of which the first one claims to reach into the second."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in ("archive/data.pkl", "archive/more"):
            file.writestr(name, b"}.")
    data = bytearray(stream.getvalue())
    central = data.find(b"PK\x01\x02")
    struct.pack_into("<2L", data, central + 20, 40, 40)
    return bytes(data)


BYTES = {
    "no known format": (b"\x00\x01\x02\x03", 3, "not a checkpoint in any known format; it starts with 00 01 02 03"),
    "a tar archive": (tarred("readme.txt"), 3, "a tar archive: unpack it first"),
    "torch before 0.2": (tarred("sys_info", "pickle", "tensors", "storages"), 3, "a checkpoint of torch before 0.2"),
    "a picture": (b"GIF89a", 3, "a picture"),
    "a program": (b"\x7fELF\x02", 3, "a program"),
    "a NumPy array": (b"\x93NUMPY\x01", 3, "a NumPy array"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3", 3, "TensorFlow Lite"),
    "JSON": (b'{"a": 1}', 3, "JSON text"),
    "a view of torch < 0.4": (
        zipped(storages(pid(more=b"(" + literal("1") + literal(0) + literal(1) + b"t"), pid())),
        3,
        "views of storages as written before torch 0.4",
    ),
    "a storage of two types": (zipped(storages(pid(), pid("IntStorage"))), 4, "storage '0' is declared twice, differently"),
    "a storage of two lengths": (zipped(storages(pid(), pid(numel=2))), 4, "storage '0' is declared twice, differently"),
    "a storage of text": (zipped(storages(pid(numel="x"), pid())), 3, "a persistent id in the pickle is malformed"),
    "a shape that is a number": (tensor(shape=3), 3, "shape or stride of a tensor is not a list of integers"),  # type: ignore[arg-type]  # that is the point
    "a ZIP64 directory nowhere": (zip64(archive({"data.pkl": b"}."})), 3, "damaged ZIP64 directory"),
    "entries that overlap": (overlapping(), 4, "entries 'archive/data.pkl' and 'archive/more' overlap"),
    "a directory of something": (archive({"data.pkl": b"}."}).replace(b"PK\x01\x02", b"PK\x01\x03"), 3, "damaged ZIP directory"),
    "a nested storage of something else": (
        b"\x80\x04}" + literal("w") + b"ctorch.storage\n_load_from_bytes\n" + literal(b"abc") + b"\x85Rs.",
        3,
        "a storage inside the pickle is not a legacy torch file",
    ),
    "a legacy file cut before a storage": (legacy({"b": torch.zeros(2)})[:-12], 3, "truncated in storage"),
}  # fmt: skip


@pytest.mark.parametrize("name", BYTES)
def test_bytes(name: str, tmp_path: Path) -> None:
    data, code, words = BYTES[name]
    (tmp_path / "weights.pt").write_bytes(data)
    error = refusal(lambda: load(tmp_path / "weights.pt"))
    assert (error.exit_code, words in error.message) == (code, True), error


@pytest.mark.parametrize("name", ["__metadata__", "half a \ud800"])
def test_names_that_safetensors_has_no_place_for(name: str, tmp_path: Path) -> None:
    torch.save({name: torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "in.pt")
    error = refusal(lambda: convert(tmp_path / "in.pt", tmp_path / "out.safetensors"))
    assert error.message.startswith("a tensor of safetensors cannot be called '")
    assert str(error).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["in.pt"]


def test_half_a_character_in_json() -> None:
    error = refusal(lambda: strict_json.parse(rb'{"a": ["\ud83d"]}', "the note"))
    assert error.message.startswith("the note is not JSON: 'utf-8' codec can't encode character")
    assert strict_json.parse(rb'{"a": ["\ud83d\ude00"]}', "the note") == {"a": ["\N{GRINNING FACE}"]}


def test_the_stride_of_an_axis_of_one_is_nothing(tmp_path: Path) -> None:
    """It may be any number; NumPy and torch would multiply it."""
    (tmp_path / "in.pt").write_bytes(tensor((1, 2), (2**62, 1)))
    convert(tmp_path / "in.pt", tmp_path / "out.safetensors")
    assert load_file(tmp_path / "out.safetensors")["w"].tolist() == [[1, 2]]


class Indexed(nn.Module):
    """A classifier with a buffer of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.register_buffer("order", torch.arange(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        order = self.get_buffer("order")
        return self.head(x.flatten(1)[:, order])  # type: ignore[no-any-return]  # modules are called untyped


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (torch.tensor([3.0, 2, 1, 0]), None),
        (torch.tensor([0.5, 1, 2, 3]), "tensor 'order' has dtype float32, expected int64"),
    ],
)
def test_integers_stored_as_floats(order: torch.Tensor, words: str | None, tmp_path: Path) -> None:
    torch.save({**Indexed().state_dict(), "order": order}, tmp_path / "weights.pt")
    (tmp_path / "net.py").write_text("from tests.checkpoints.test_refusals import Indexed as make\n")
    stated = PreprocessingOverrides(mean=(0.5,), std=(0.5,), input_size=(1, 2, 2))

    def loaded() -> nn.Module:
        return load(tmp_path / "weights.pt", architecture=f"{tmp_path}/net.py:make", allow_code=True, overrides=stated).module

    if words:
        assert refusal(loaded).message == words
    else:
        assert loaded().get_buffer("order").tolist() == [3, 2, 1, 0]
        assert loaded().get_buffer("order").dtype == torch.int64


def test_shards_that_torch_wrote_are_recognised(tmp_path: Path) -> None:
    """DTensors in a file and a folder of ``torch.distributed.checkpoint``, from a group of one process."""
    import torch.distributed as dist
    from torch.distributed.checkpoint.state_dict_saver import save
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        with warnings.catch_warnings(action="ignore"):
            shard = distribute_tensor(torch.ones(4, 3), init_device_mesh("cpu", (1,)), [Shard(0)])
            torch.save({"state_dict": {"w": shard}}, tmp_path / "shard.pt")
            save({"w": shard}, checkpoint_id=str(tmp_path / "dcp"))
    finally:
        dist.destroy_process_group()
    for path in (tmp_path / "shard.pt", tmp_path / "dcp", tmp_path / "dcp" / "__0_0.distcp"):
        error = refusal(partial(load, path))
        assert error.exit_code == ExitCode.INPUT
        assert "consolidate first" in error.message


def test_sklearn_objects_beside_the_weights_are_dropped(tmp_path: Path) -> None:
    from sklearn.preprocessing import LabelEncoder

    torch.manual_seed(0)
    torch.save({"model": Indexed().state_dict(), "labels": LabelEncoder()}, tmp_path / "weights.pt")
    (tmp_path / "net.py").write_text("from tests.checkpoints.test_refusals import Indexed as make\n")
    stated = PreprocessingOverrides(mean=(0.5,), std=(0.5,), input_size=(1, 2, 2))
    subject = load(tmp_path / "weights.pt", architecture=f"{tmp_path}/net.py:make", allow_code=True, overrides=stated).subject
    assert subject.dropped == ["labels (sklearn.preprocessing._label.LabelEncoder)"]


def test_a_network_of_transformers_is_named_and_not_built(tmp_path: Path) -> None:
    save_file({"vit.encoder.layer.0.weight": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ViTForImageClassification"], "model_type": "vit"}))
    error = refusal(lambda: load(tmp_path))
    assert error.exit_code == ExitCode.INPUT
    assert "config.json names ViTForImageClassification of transformers, which is not built" in (error.hint or "")


@pytest.mark.parametrize("spelled", ["{}", "local-dir:{}"])
def test_a_folder_of_timm_says_everything(spelled: str, tmp_path: Path) -> None:
    """Architecture, preprocessing and names of the classes, as timm's own hub writes them."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=3)
    network(torch.randn(2, 3, 96, 96))
    network.eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    pretrained = {
        "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 96, 96], "interpolation": "bicubic", "crop_pct": 0.9,
        "crop_mode": "center", "num_classes": 3, "pool_size": [5, 5], "first_conv": "conv1", "classifier": "fc",
    }  # fmt: skip
    config = {"architecture": "test_resnet", "num_classes": 3, "label_names": ["a", "b", "c"], "pretrained_cfg": pretrained}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load(Path(spelled.format(tmp_path)))
    subject, prepared = loaded.subject, loaded.subject.preprocessing
    assert (subject.architecture, subject.architecture_origin) == ("timm:test_resnet", "config.json")
    assert (subject.num_classes, loaded.classes, loaded.classes_origin) == (3, ("a", "b", "c"), "config.json")
    assert (prepared.mean, prepared.std, prepared.input_size) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [3, 96, 96])
    assert (prepared.interpolation, prepared.crop_pct, prepared.origin) == ("bicubic", 0.9, "config.json")
    assert not subject.warnings
    images = torch.randn(3, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(loaded.module(images), network(images))


def encoder(name: str, tmp_path: Path) -> Path:
    """The weights of a network of timm without its head."""
    save_file(timm.create_model(name, num_classes=0).state_dict(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("named", [None, "timm:test_vit"])
def test_weights_that_lack_the_head_are_called_an_encoder(named: str | None, tmp_path: Path) -> None:
    error = refusal(lambda: load(encoder("test_vit", tmp_path), architecture=named))
    assert error.message == "the weights are those of timm:test_vit without its classifying head (head.weight, head.bias)"
    assert error.hint is not None and error.hint.startswith("only classifiers are measured")


def test_a_network_built_without_a_head_is_not_taken_for_a_classifier(tmp_path: Path) -> None:
    error = refusal(lambda: load(encoder("test_vit", tmp_path), architecture="timm:test_vit?num_classes=0"))
    assert error.message == "timm:test_vit?num_classes=0 has no classifying head: it gives features, not logits"


def test_a_description_in_a_file_is_not_a_flag_of_the_users(tmp_path: Path) -> None:
    weights, stated = {"weight": torch.zeros(10, 784)}, {"sharpaudit.architecture": "seq(linear ten)"}
    save_file(weights, tmp_path / "model.safetensors", stated)
    error = refusal(lambda: load(tmp_path / "model.safetensors"))
    assert isinstance(error, ArchitectureError)
    assert "metadata: cannot read 'linear ten'" in error.message and error.hint == "--arch names another"


def test_options_that_are_no_numbers_leave_the_classes_to_the_weights(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit", num_classes=10).state_dict(), tmp_path / "model.safetensors")
    error = refusal(lambda: load(tmp_path / "model.safetensors", architecture="timm:test_vit?num_classes=none"))
    assert "they fit timm:test_vit" in str(error.hint)


def test_weights_that_lack_part_of_the_head_are_not_called_an_encoder(tmp_path: Path) -> None:
    weights = timm.create_model("test_vit", num_classes=10).state_dict()
    del weights["head.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    error = refusal(lambda: load(tmp_path / "model.safetensors", architecture="timm:test_vit"))
    assert "1 missing (head.bias)" in error.message
