"""A folder of class folders: the label order, the colour rules, the resizing, and the files that are refused."""

import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from sharpaudit.card import Preprocessing
from sharpaudit.data import ImageSet, open_images
from sharpaudit.data.folder import _entries
from sharpaudit.errors import DataError, UnsafeInput
from sharpaudit.request import Reading

RNG = np.random.default_rng(0)


def save(path: Path, pixels: np.ndarray | None = None, mode: str = "RGB") -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    if pixels is None:
        pixels = RNG.integers(0, 256, (9, 11) if mode == "L" else (9, 11, len(mode)), np.uint8)
    Image.fromarray(pixels, mode if mode in ("CMYK", "LA") else None).save(path)
    return pixels


def read(root: Path, preprocessing: Preprocessing | None = None, **reading: Any) -> ImageSet:
    return open_images(f"imagefolder:{root}", preprocessing=preprocessing, reading=Reading(**reading))


def network(crop_pct: float = 1.0, interpolation: Any = "bilinear") -> Preprocessing:
    """Of a network that takes 32×32 pixels."""
    shape = [3, 32, 32]
    return Preprocessing(mean=[0.5], std=[0.5], input_size=shape, crop_pct=crop_pct, interpolation=interpolation, origin="test")


def test_classes_follow_sorted_names_and_images_sorted_paths(tmp_path: Path) -> None:
    stored = {name: save(tmp_path / name) for name in ("b/2.png", "a/1.png", "b/1.png", "b/deep/er/0.PNG", "c/0.bmp")}
    data = read(tmp_path)
    order = ["a/1.png", "b/1.png", "b/2.png", "b/deep/er/0.PNG", "c/0.bmp"]
    np.testing.assert_array_equal(data.images[:], np.stack([stored[name] for name in order]))
    assert (data.labels.tolist(), data.classes) == ([0, 1, 1, 1, 2], ("a", "b", "c"))
    assert (data.name, data.notes, data.shape) == (f"imagefolder:{tmp_path.name}", (), (9, 11, 3))


def test_an_npz_of_the_same_pixels_has_the_same_hash(tmp_path: Path) -> None:
    for index in range(7):
        save(tmp_path / "set" / f"c{index % 3}" / f"{index}.png")
    data = read(tmp_path / "set")
    np.savez(tmp_path / "set.npz", images=data.images[:], labels=data.labels)
    assert open_images(f"npz:{tmp_path / 'set.npz'}").index_hash == data.index_hash


def test_integer_folders_are_sorted_as_numbers(tmp_path: Path) -> None:
    for label in range(12):
        save(tmp_path / str(label) / "x.png", np.full((4, 4, 3), label, np.uint8))
    data = read(tmp_path)
    np.testing.assert_array_equal(data.images[:][:, 0, 0, 0], data.labels)
    assert (data.classes[2], data.classes[10]) == ("2", "10")
    assert data.notes == ("class folders are integers: sorted as numbers",)


@pytest.mark.parametrize("lines", ["n2\nn3\nn1\n", "n2 a dog\nn3 an owl\nn1 a cat\n"])
def test_a_class_list_decides_the_order_and_may_name_more(tmp_path: Path, lines: str) -> None:
    save(tmp_path / "n1" / "x.png")
    save(tmp_path / "n2" / "x.png")
    (tmp_path / "classes.txt").write_text(lines)
    data = read(tmp_path)
    assert data.labels.tolist() == [0, 2]
    assert data.classes == (("n2", "n3", "n1") if len(lines) < 20 else ("a dog", "an owl", "a cat"))
    assert data.notes == ("class order from classes.txt",)


@pytest.mark.parametrize(("lines", "says"), [("n1\nn3\n", "n2"), ("n1\nn1\nn2\n", "a line is repeated"), ("\n", "n1, n2")])
def test_a_class_list_must_name_every_folder_once(tmp_path: Path, lines: str, says: str) -> None:
    save(tmp_path / "n1" / "x.png")
    save(tmp_path / "n2" / "x.png")
    (tmp_path / "classes.txt").write_text(lines)
    with pytest.raises(DataError, match=f"does not name every class folder once: {says}"):
        read(tmp_path)


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    for name in ("a/1.png", "top.png", "a/.hidden.png", ".git/x.png", "b/2.png"):
        save(tmp_path / name)
    for name in ("a/Thumbs.db", "b/notes.txt", "README"):
        (tmp_path / name).write_text("x")
    (tmp_path / "empty").mkdir()
    data = read(tmp_path)
    assert (len(data), data.classes) == (2, ("a", "b", "empty"))
    assert data.notes == (
        "2 hidden entries left out",
        "1 images left out",
        "3 other files left out",
        "class folders without images: empty",
    )


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no class folders"):
        read(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="0 samples"):
        read(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "no")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="expected a folder, got the file 'file'"):
        read(tmp_path / "file")


def test_colour_modes_are_converted_by_rule_and_counted(tmp_path: Path) -> None:
    rgb = save(tmp_path / "a" / "0.png")
    grey = save(tmp_path / "a" / "1.png", mode="L")
    alpha = save(tmp_path / "a" / "2.png", mode="RGBA")
    cmyk = save(tmp_path / "a" / "3.tif", np.tile(np.array([0, 255, 255, 0], np.uint8), (9, 11, 1)), "CMYK")
    palette = Image.fromarray(rgb).quantize(7)
    palette.save(tmp_path / "a" / "4.png", transparency=bytes(range(7)))
    deep = RNG.integers(0, 1 << 16, (9, 11), np.uint16)
    save(tmp_path / "a" / "5.png", deep)
    data = read(tmp_path)
    pixels = data.images[:]
    np.testing.assert_array_equal(pixels[0], rgb)
    np.testing.assert_array_equal(pixels[1], np.repeat(grey[..., None], 3, 2))
    np.testing.assert_array_equal(pixels[2], alpha[..., :3])
    np.testing.assert_array_equal(pixels[3], np.tile(np.array([255, 0, 0], np.uint8), (9, 11, 1)))
    np.testing.assert_array_equal(pixels[4], np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(pixels[5], np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, 2))
    assert cmyk.shape[2] == 4
    assert data.notes == tuple(f"converted 1 images of mode {mode}" for mode in ("CMYK", "I;16", "L", "P", "RGBA"))


def test_a_grey_folder_has_one_channel(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a" / "0.png", mode="L"), save(tmp_path / "a" / "1.png", mode="LA")
    data = read(tmp_path)
    np.testing.assert_array_equal(data.images[:], np.stack([first, second[..., 0]])[..., None])
    assert data.notes == ("converted 1 images of mode LA",)


def test_a_mode_without_a_rule_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.tif", RNG.normal(size=(4, 4)).astype(np.float32))
    with pytest.raises(DataError, match=r"image 0, '0.tif', has mode F"):
        read(tmp_path)


@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_mixed_sizes_are_resized_and_cropped_as_torchvision_does(tmp_path: Path, crop_pct: float, interpolation: Any) -> None:
    sizes = [(40, 60), (61, 40), (33, 32), (20, 30), (32, 32)]
    stored = [save(tmp_path / "a" / f"{i}.png", RNG.integers(0, 256, (*size, 3), np.uint8)) for i, size in enumerate(sizes)]
    data = read(tmp_path, network(crop_pct, interpolation))
    reference = v2.Compose([v2.Resize(int(32 / crop_pct), v2.InterpolationMode(interpolation)), v2.CenterCrop(32)])
    np.testing.assert_array_equal(data.images[:], np.stack([np.asarray(reference(Image.fromarray(image))) for image in stored]))
    assert data.notes == ("resized and centre-cropped images of 5 sizes to 32×32",)
    with pytest.raises(DataError, match=r"images of 5 sizes \(40×60, 61×40, 33×32, 20×30, 32×32"):
        read(tmp_path)


def test_one_size_is_kept_as_stored(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.png")
    assert read(tmp_path, network()).shape == (9, 11, 3)


def test_any_selection_decodes_the_same_pixels(tmp_path: Path) -> None:
    for index in range(9):
        save(tmp_path / f"{index % 2}" / f"{index}.jpg")
    data = read(tmp_path)
    whole = data.images[:]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in data.batches(4)]), whole)
    np.testing.assert_array_equal(data.take(np.array([8, 1, 1])).images[:], whole[[8, 1, 1]])
    assert data.images[np.array([], dtype=np.int64)].shape == (0, 9, 11, 3)
    assert torch.from_numpy(data.images[:2]).dtype == torch.uint8


def test_a_damaged_image_fails_or_is_skipped_and_counted(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "a" / f"{index}.png", RNG.integers(0, 256, (60, 60, 3), np.uint8))
    whole = (tmp_path / "a" / "1.png").read_bytes()
    for damage in (whole[: len(whole) // 2], b"<html>", b"", whole[:20], b"\xff\xd8\xff\xe0" + bytes(20)):
        (tmp_path / "a" / "1.png").write_bytes(damage)
        with pytest.raises(DataError, match=r"'1.png'"):
            read(tmp_path).images[:]
        data = read(tmp_path, bad_samples="skip")
        assert (len(data), data.notes) == (2, ("skipped 1 damaged images: 1.png",))
    for index in range(3):
        (tmp_path / "a" / f"{index}.png").write_bytes(b"x")
    with pytest.raises(DataError, match="0 samples that can be decoded"):
        read(tmp_path, bad_samples="skip")


def test_truncation_is_found_at_the_image_that_has_it(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.png")
    save(tmp_path / "a" / "1.png", RNG.integers(0, 256, (9, 11, 3), np.uint8))
    whole = (tmp_path / "a" / "1.png").read_bytes()
    (tmp_path / "a" / "1.png").write_bytes(whole[:-60])
    data = read(tmp_path)
    assert data.images[:1].shape == (1, 9, 11, 3)
    with pytest.raises(DataError, match=r"image 1, '1.png' cannot be decoded: .*--on-bad-sample skip") as caught:
        data.images[1:]
    assert caught.value.__cause__ is not None


def test_a_file_that_changes_size_is_noticed(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.png")
    data = read(tmp_path)
    save(tmp_path / "a" / "0.png", RNG.integers(0, 256, (5, 5, 3), np.uint8))
    with pytest.raises(DataError, match="changed while being read"):
        data.images[:]


def png_claiming(side: int) -> bytes:
    """A PNG of a few bytes whose header claims side × side pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [4097, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(png_claiming(side))
    with pytest.raises(UnsafeInput, match="pixels") as caught:
        read(tmp_path)
    assert "the limit is 16,777,216 pixels (--max-pixels)" in str(caught.value)


def test_links_do_not_leave_the_folder(tmp_path: Path) -> None:
    root, outside = tmp_path / "set", tmp_path / "outside"
    save(root / "a" / "0.png")
    save(outside / "1.png")
    (root / "a" / "inside.png").symlink_to("0.png")
    assert len(read(root)) == 2
    (root / "a" / "link.png").symlink_to(outside / "1.png")
    with pytest.raises(UnsafeInput, match=r"the link 'link.png' leaves the folder") as caught:
        read(root)
    assert "--follow-links" in str(caught.value)
    assert len(read(root, follow_links=True)) == 3
    (root / "a" / "link.png").unlink()
    (root / "b").symlink_to(outside)
    with pytest.raises(UnsafeInput, match="the link 'b' leaves"):
        read(root)
    assert read(root, follow_links=True).classes == ("a", "b")
    (root / "b").unlink()
    (tmp_path / "alias").symlink_to(root)
    assert len(read(tmp_path / "alias")) == 2


def test_loops_of_links_end(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.png")
    (tmp_path / "a" / "loop").symlink_to(".")
    with pytest.raises(UnsafeInput, match="a link leads to the folder 'loop', which is read already"):
        read(tmp_path)
    (tmp_path / "a" / "loop").unlink()
    (tmp_path / "a" / "x.png").symlink_to("x.png")
    with pytest.raises(UnsafeInput, match=r"the link 'x.png' cannot be followed: Too many levels"):
        read(tmp_path)


def test_a_dangling_link_and_an_unlistable_folder_are_named(tmp_path: Path) -> None:
    save(tmp_path / "a" / "0.png")
    with pytest.raises(DataError, match=r"cannot list the folder '0.png'"):
        _entries(tmp_path / "a" / "0.png")
    (tmp_path / "a" / "x.png").symlink_to("gone.png")
    with pytest.raises(DataError, match=r"'.*x.png' does not exist"):
        read(tmp_path)


def test_a_special_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "0.png")
    with pytest.raises(UnsafeInput, match="not a regular file"):
        read(tmp_path)


def test_no_damage_to_an_image_escapes_as_another_error(tmp_path: Path) -> None:
    source = random.Random(0)
    (tmp_path / "a").mkdir()
    image = Image.fromarray(RNG.integers(0, 256, (12, 12, 3), np.uint8))
    for suffix in ("png", "jpg", "bmp", "tif", "webp", "ppm"):
        path = tmp_path / "a" / f"0.{suffix}"
        image.save(path)
        whole = path.read_bytes()
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(source.randint(1, 6)):
                damaged[source.randrange(min(len(damaged), 200))] = source.randrange(256)
            path.write_bytes(damaged[: source.choice([None, source.randrange(1, len(damaged))])])
            try:
                assert read(tmp_path).images[:].dtype == np.uint8
            except (DataError, UnsafeInput) as error:
                assert str(error).isprintable()
        path.unlink()
