"""A Python file makes images only with permission, and the card says that it ran."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharpaudit.data import ImageSet, open_images
from sharpaudit.errors import DataError, UnsafeInput
from sharpaudit.request import Reading

MAKES = """
import numpy
from pathlib import Path
Path(__file__).with_name("canary").touch()
def pair():
    return numpy.arange(4 * 64, dtype="uint8").reshape(4, 8, 8), [0, 1, 2, 1]
def named():
    return *pair(), ["cat", "dog", "owl"]
def broken():
    raise KeyError("lost")
def leaves():
    raise SystemExit(0)
def one():
    return 3
def ragged():
    return [[1], [2, 3]], [0, 1]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MAKES)
    return tmp_path / "mine.py"


def made(file: Path, factory: str) -> ImageSet:
    return open_images(f"{file}:{factory}", reading=Reading(allow_code=True))


def test_what_the_function_returns_is_the_set(file: Path) -> None:
    data = made(file, "pair")
    np.testing.assert_array_equal(data.images[:].ravel(), np.arange(256))
    assert (data.labels.tolist(), data.name, data.ran_user_code) == ([0, 1, 2, 1], "mine.py:pair", True)
    assert data.notes[0].startswith("made by mine.py (sha256 ") and data.record().ran_user_code
    assert (made(file, "named").classes, made(file, "named").classes_origin) == (("cat", "dog", "owl"), "named")


@pytest.mark.parametrize("suffix", ["", ":pair"])
def test_nothing_runs_without_permission(suffix: str, file: Path) -> None:
    with pytest.raises(UnsafeInput, match=r"'mine.py' is code.*--allow-code"):
        open_images(f"{file}{suffix}")
    assert not file.with_name("canary").exists()


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("broken", "broken failed: KeyError: 'lost'"),
        ("leaves", "leaves failed: SystemExit: 0"),
        ("absent", "absent failed: AttributeError"),
        ("one", "one returned int, expected images and labels"),
        ("ragged", "ragged returned no arrays"),
        ("", "which function of the file makes the images?"),
    ],
)
def test_what_goes_wrong_is_told(factory: str, words: str, file: Path) -> None:
    with pytest.raises(DataError, match=words):
        made(file, factory)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        made(tmp_path / "nowhere.py", "pair")
