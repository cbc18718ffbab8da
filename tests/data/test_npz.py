"""An npz holds what its bytes hold, whatever its headers claim."""

import io
import os
import pickle
import socket
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpaudit.data import ImageSet, open_images
from sharpaudit.data.npz import map_npy
from sharpaudit.errors import DataError, UnsafeInput
from sharpaudit.request import Reading

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 11, 3), np.uint8)
LABELS = np.array([0, 1, 2, 2, 1, 0])


def write(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "set.npz", **arrays)
    return f"npz:{folder / 'set.npz'}"


def write_members(folder: Path, compression: int = zipfile.ZIP_STORED, **members: bytes) -> str:
    with zipfile.ZipFile(folder / "set.npz", "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return f"npz:{folder / 'set.npz'}"


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(shape: str, dtype: str = "|u1") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (117 - len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def read(spec: str, **reading: Any) -> ImageSet:
    return open_images(spec, reading=Reading(**reading))


@pytest.mark.parametrize(("x", "y"), [("images", "labels"), ("x", "y"), ("X", "Y"), ("data", "targets"), ("x_test", "y_test")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_pixels_and_labels_come_back_exactly(tmp_path: Path, x: str, y: str, save: Any) -> None:
    save(tmp_path / "set.npz", **{x: PIXELS, y: LABELS, "other": np.zeros(3)})
    data = open_images(f"npz:{tmp_path / 'set.npz'}")
    np.testing.assert_array_equal(data.images[:], PIXELS)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert (data.name, data.classes, data.classes_declared, data.notes) == ("npz:set.npz", ("0", "1", "2"), False, ())


def test_class_names_are_read_and_made_printable(tmp_path: Path) -> None:
    data = open_images(write(tmp_path, images=PIXELS, labels=LABELS, classes=np.array(["cat", "d\x1b[1mog", "owl"])))
    assert (data.classes, data.classes_declared) == (("cat", "d\\x1b[1mog", "owl"), True)


@pytest.mark.parametrize(
    ("stored", "note"),
    [
        (PIXELS.transpose(0, 3, 1, 2), "moved the channel axis last"),
        (np.asfortranarray(PIXELS), None),
        (PIXELS.astype(np.int64), "scaled int64 pixels from [0, 255] to 8 bits"),
        (PIXELS / 255, "scaled float64 pixels from [0, 1] to 8 bits"),
        ((PIXELS / 255).astype(np.float32).transpose(0, 3, 1, 2), "moved the channel axis last"),
    ],
)
def test_other_layouts_and_types_mean_the_same_pixels(tmp_path: Path, stored: np.ndarray, note: str | None) -> None:
    data = open_images(write(tmp_path, images=stored, labels=LABELS))
    np.testing.assert_array_equal(data.images[:], PIXELS)
    assert data.notes[:1] == (() if note is None else (note,))


@pytest.mark.parametrize("stored", [PIXELS[..., 0], PIXELS[..., :1], PIXELS[:, None, ..., 0]])
def test_grey_images_have_one_channel(tmp_path: Path, stored: np.ndarray) -> None:
    np.testing.assert_array_equal(open_images(write(tmp_path, images=stored, labels=LABELS)).images[:], PIXELS[..., :1])


@pytest.mark.parametrize("channels", [2, 4])
def test_two_and_four_channels_stay(tmp_path: Path, channels: int) -> None:
    pixels = np.concatenate([PIXELS, PIXELS], axis=3)[..., :channels]
    square = pixels[:, :2, :2]  # two channel axes by size; the one that leaves squares is meant
    for stored in (pixels, pixels.transpose(0, 3, 1, 2)):
        np.testing.assert_array_equal(open_images(write(tmp_path, images=stored, labels=LABELS)).images[:], pixels)
    if channels == 4:
        np.testing.assert_array_equal(open_images(write(tmp_path, images=square, labels=LABELS)).images[:], square)


def test_a_stated_range_is_scaled_and_the_rounding_is_noted(tmp_path: Path) -> None:
    spec = write(tmp_path, images=PIXELS / 127.5 - 1, labels=LABELS)
    with pytest.raises(DataError, match=r"pixels in \[0, 1\], got -1 to 1"):
        read(spec)
    np.testing.assert_array_equal(read(spec, input_range=(-1.0, 1.0)).images[:], PIXELS)
    half = write(tmp_path, images=np.full((6, 3, 5), 0.5), labels=LABELS)
    assert read(half).notes == ("scaled float64 pixels from [0, 1] to 8 bits, rounding by up to 0.50 grey levels",)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (PIXELS, LABELS[:5], "5 labels for 6 images"),
        (PIXELS[:0], LABELS[:0], "0 samples"),
        (PIXELS, np.int64(3), r"got shapes \(6, 9, 11, 3\) and \(\)"),
        (PIXELS, np.zeros(6, [("a", "u1")]), "unsupported type"),
        (PIXELS, LABELS.astype("M8[s]"), "unsupported type"),
        (PIXELS, LABELS - 1, "labels 0 to 99999, got -1 to 1"),
        (PIXELS, LABELS * 100_000, "labels 0 to 99999, got 0 to 200000"),
        (PIXELS, LABELS.astype(float), "integer labels, got float64"),
        (PIXELS, np.eye(3)[LABELS], r"labels of shape \(n,\), got \(6, 3\)"),
        (PIXELS.reshape(6, -1), LABELS, r"got shape \(6, 297\)"),
        (PIXELS[:, :3], LABELS, "one channel axis of size 1 to 4"),
        (np.concatenate([PIXELS, PIXELS[..., :2]], 3), LABELS, "one channel axis of size 1 to 4"),
        (PIXELS[:, :1, :1, 0], LABELS, "at least 2×2 pixels, got 1×1"),
        (PIXELS * 1.0, LABELS, r"pixels in \[0, 1\], got 0 to 255"),
        (PIXELS * 2, LABELS, None),
        (PIXELS.astype(np.int16) * 2, LABELS, r"pixels in \[0, 255\], got 0 to 510"),
        (np.where(np.arange(6)[:, None, None] == 4, np.nan, 0.5) * np.ones((6, 8, 8)), LABELS, "image 4 holds a NaN"),
        (PIXELS.astype(complex), LABELS, "type uint8 or float, got complex128"),
        (PIXELS.astype("S1"), LABELS, "type uint8 or float"),
    ],
)
def test_what_no_rule_covers_is_named(tmp_path: Path, images: np.ndarray, labels: np.ndarray, says: str | None) -> None:
    spec = write(tmp_path, images=images, labels=labels)
    if says is None:
        assert len(open_images(spec)) == 6
        return
    with pytest.raises(DataError, match=says):
        open_images(spec)


def test_labels_of_one_column_are_flattened(tmp_path: Path) -> None:
    data = open_images(write(tmp_path, images=PIXELS, labels=LABELS[:, None]))
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.notes == ("flattened labels of shape (n, 1)",)


def test_labels_beyond_the_named_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels 0 to 1, got 0 to 2"):
        open_images(write(tmp_path, images=PIXELS, labels=LABELS, classes=np.array(["a", "b"])))
    with pytest.raises(DataError, match="class names as a 1-D array of strings"):
        open_images(write(tmp_path, images=PIXELS, labels=LABELS, classes=np.arange(3)))


class Canary:
    """Unpickling this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(UnsafeInput, match="Python objects, which only a pickle can read"):
        open_images(write(tmp_path, images=np.array([Canary(canary)], dtype=object), labels=LABELS))
    with pytest.raises(DataError, match="no readable npy header"):
        open_images(write_members(tmp_path, images=pickle.dumps(Canary(canary)), labels=npy(LABELS)))
    (tmp_path / "x.npy").write_bytes(npy(np.array([Canary(canary)], dtype=object)))
    with pytest.raises(UnsafeInput, match="Python objects"):
        map_npy(tmp_path / "x.npy")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (header("(8000, 1000, 1000, 1000)"), "declares 8,000,000,000,000 bytes"),
        (header("(-1, 8, 8)"), "impossible shape"),
        (header("(0, 9223372036854775808)"), "impossible shape"),
        (header("(2, 8, 8)") + bytes(127), "declares 128 bytes (2, 8, 8) and holds 127"),
        (header("(2, 8, 8)") + bytes(129), "declares 128 bytes (2, 8, 8) and holds 129"),
        (header("(6,)", "<U0"), "unsupported type"),
        (header("(2, 8"), "no readable npy header"),
        (header("(2, 8, 8)").replace(b"'descr'", b"'dascr'"), "no readable npy header"),
        (b"\x93NUMPY\x09\x00" + bytes(120), "no readable npy header"),
        (b"<html>not found</html>", "no readable npy header"),
    ],
)
def test_a_lying_header_is_caught_before_anything_is_allocated(tmp_path: Path, head: bytes, says: str) -> None:
    (tmp_path / "x.npy").write_bytes(head)
    with pytest.raises(DataError) as caught:
        map_npy(tmp_path / "x.npy")
    assert says in str(caught.value)
    with pytest.raises(DataError) as caught:
        open_images(write_members(tmp_path, images=head, labels=npy(LABELS)))
    assert says in str(caught.value)


def test_an_npy_is_mapped_in_both_orders(tmp_path: Path) -> None:
    for array in (PIXELS, np.asfortranarray(PIXELS)):
        np.save(tmp_path / "x.npy", array)
        mapped = map_npy(tmp_path / "x.npy")
        np.testing.assert_array_equal(mapped, PIXELS)
        assert isinstance(mapped, np.memmap)


def test_budgets_stop_bombs(tmp_path: Path) -> None:
    spec = write(tmp_path, images=PIXELS, labels=LABELS)
    with pytest.raises(UnsafeInput, match="declares 1,910 bytes, the limit is 1,000") as caught:
        read(spec, max_bytes=1000)
    assert "--max-bytes" in str(caught.value)

    black, labels = np.zeros((640, 64, 64), np.uint8), np.zeros(640, np.int64)
    spec = write_members(tmp_path, zipfile.ZIP_BZIP2, images=npy(black), labels=npy(labels))
    with pytest.raises(UnsafeInput, match="packed in a way that NumPy never uses"):
        read(spec)
    spec = write_members(tmp_path, zipfile.ZIP_DEFLATED, images=npy(black), labels=npy(labels))
    assert len(read(spec)) == 640
    with pytest.raises(
        UnsafeInput, match=r"'images.npy' would unpack to 2,621,440 bytes, at most 1,00.* for what it weighs"
    ) as caught:
        read(spec, max_unpacked_bytes=1_000_000)
    assert "--max-unpacked-bytes" in str(caught.value)
    assert len(read(write(tmp_path, images=black, labels=labels), max_unpacked_bytes=1_000_000)) == 640, "stored as it is"


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    spec = write(tmp_path, images=PIXELS, labels=LABELS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(DataError, match="not an npz"):
        open_images(spec)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match="it begins with b'version https://git-lfs"):
        open_images(spec)
    flipped = bytearray(whole)
    flipped[400] ^= 255
    path.write_bytes(flipped)
    with pytest.raises(DataError, match=r"member 'images.npy' is damaged: Bad CRC-32"):
        open_images(spec)


def test_a_member_shorter_than_its_directory_entry_is_truncated(tmp_path: Path) -> None:
    content = npy(PIXELS)
    spec = write_members(tmp_path, images=content[:-5], labels=npy(LABELS))
    path = tmp_path / "set.npz"
    stored, declared = struct.pack("<I", len(content) - 5), struct.pack("<I", len(content))
    raw = path.read_bytes()
    entry = raw.index(b"PK\x01\x02")
    path.write_bytes(raw[:entry] + raw[entry:].replace(stored + stored, stored + declared, 1))
    with pytest.raises(DataError, match=r"member 'images.npy' is (damaged|truncated)"):
        open_images(spec)


def test_missing_and_doubled_members(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no images in 'set.npz': it holds a, b") as caught:
        open_images(write(tmp_path, a=PIXELS, b=LABELS))
    assert "known: images" in str(caught.value)
    with pytest.raises(DataError, match=r"no labels in 'set.npz'"):
        open_images(write(tmp_path, images=PIXELS))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images.npy", npy(PIXELS))
        archive.writestr("images.npy", npy(PIXELS))
    with pytest.raises(UnsafeInput, match="two members of one name"):
        open_images(f"npz:{tmp_path / 'set.npz'}")


def test_only_a_regular_readable_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test.npz").touch()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path is limited to 107 bytes
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("plug")
    with pytest.raises(DataError, match="has 0 bytes"):
        open_images(f"npz:{tmp_path / 'test.npz'}")
    with pytest.raises(DataError, match=r"does not exist") as caught:
        open_images(f"npz:{tmp_path / 'tset.npz'}")
    assert "nearest: test.npz" in str(caught.value)
    with pytest.raises(DataError, match="check the folder's name"):
        open_images(f"npz:{tmp_path / 'no' / 'tset.npz'}")
    with pytest.raises(DataError, match="got the folder"):
        open_images(f"npz:{tmp_path}")
    for special in ("/dev/null", "pipe", "plug"):
        with pytest.raises(UnsafeInput, match="not a regular file"):
            open_images(f"npz:{special}")
    with pytest.raises(DataError, match="cannot read"):
        open_images(f"npz:{tmp_path / 'test.npz' / 'inside'}")
    for impossible in ("x" * 300, "x\0y"):
        with pytest.raises(DataError, match="cannot read"):
            open_images(f"npz:{tmp_path / impossible}")


@settings(max_examples=300, deadline=None)
@given(
    descr=st.one_of(
        st.text(max_size=8),
        st.integers(),
        st.none(),
        st.sampled_from(["|u1", "<f8", "|O", "<U0", "<U3", "|V4", "<M8[s]", [("a", "|u1")], ("|u1", (2,)), "<c16", ">i2", "|b1"]),
    ),
    shape=st.one_of(
        st.lists(st.integers(-3, 1 << 70), max_size=6).map(tuple),
        st.lists(st.integers(0, 4), max_size=5).map(tuple),
        st.integers(),
        st.just([2, 3]),
        st.just((True, 2)),
    ),
    fortran=st.sampled_from([True, False, None, 0, "x"]),
    body=st.binary(max_size=80),
    cut=st.integers(0, 90),
)
def test_no_header_escapes_as_another_error(descr: Any, shape: Any, fortran: Any, body: bytes, cut: int) -> None:
    text = repr({"descr": descr, "fortran_order": fortran, "shape": shape}).encode("utf-8", "replace")
    content = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + body
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        path.write_bytes(content[: len(content) - cut] if cut < 20 else content)
        try:
            mapped = map_npy(path)
            assert mapped.nbytes <= len(body)
        except (DataError, UnsafeInput) as error:
            assert str(error).isprintable()
        spec = write_members(Path(folder), images=path.read_bytes(), labels=npy(LABELS))
        with pytest.raises((DataError, UnsafeInput)):
            open_images(spec)
