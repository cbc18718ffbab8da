"""Labels find the outputs that they mean: by a map, by name, or in order; whatever does not fit is refused in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharpaudit.data import ClassMap, ImageSet, class_order, read_class_map
from sharpaudit.data.images import numbered
from sharpaudit.errors import DataError


def images(*classes: str, labels: tuple[int, ...] = (0, 1, 2, 2)) -> ImageSet:
    pixels = np.zeros((len(labels), 4, 4, 1), np.uint8)
    declared = bool(classes)
    names = classes or numbered(max(labels) + 1)
    return ImageSet("toy", pixels, np.array(labels), names, ("note",), classes_declared=declared, classes_origin="folder names")


PETS = images("cat", "dog", "owl")


def test_as_many_classes_are_taken_in_order() -> None:
    found = class_order(PETS, 3).applied(PETS)
    assert (found.labels.tolist(), found.classes, found.classes_origin) == ([0, 1, 2, 2], ("cat", "dog", "owl"), "folder names")
    assert found.notes == ("note",)


def test_names_of_the_checkpoint_decide_where_it_has_them_all() -> None:
    order = class_order(PETS, 5, names=["ant", "owl", "bee", "cat", "dog"], names_origin="config.json")
    found = order.applied(PETS)
    assert [found.classes[label] for label in found.labels] == ["cat", "dog", "owl", "owl"]
    assert found.classes_origin == "folder names, config.json"
    assert found.notes[-1] == "3 classes found by name among the 5 of config.json"


def test_the_same_names_in_the_same_order_are_not_worth_a_note() -> None:
    assert class_order(PETS, 3, names=["cat", "dog", "owl"]).notes == ()


@pytest.mark.parametrize("names", [["a cat", "a dog", "an owl"], ["cat", "cat", "owl"]])
def test_other_or_ambiguous_names_are_taken_in_order_and_noted(names: list[str]) -> None:
    order = class_order(PETS, 3, names=names)
    assert (order.outputs.tolist(), order.classes) == ([0, 1, 2], ("cat", "dog", "owl"))
    assert "taken in order" in order.notes[0]


def test_names_that_two_outputs_share_decide_nothing() -> None:
    with pytest.raises(DataError, match="2 classes, the network 3 outputs"):
        class_order(images("cat", "owl", labels=(0, 1)), 3, names=["cat", "cat", "owl"])


def test_numbered_classes_get_the_names_of_the_checkpoint() -> None:
    plain = images()
    assert class_order(plain, 4, names=list("wxyz"), names_origin="metadata").applied(plain).classes == tuple("wxyz")
    found = class_order(plain, 4)
    assert (found.classes, found.origin) == (tuple("0123"), "numbered")


def test_a_map_decides_over_names(tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_text("dog 4\ncat\t0\n\nowl   2\nfox 1\n")
    class_map = read_class_map(tmp_path / "map.txt")
    found = class_order(PETS, 5, names=list("abcde"), class_map=class_map).applied(PETS)
    assert found.labels.tolist() == [0, 4, 2, 2]
    assert found.classes == ("cat", "b", "owl", "d", "dog")
    assert found.notes[-1] == "3 of the network's 5 classes, mapped by map.txt"
    assert found.classes_origin == "folder names, map.txt"


def test_a_map_of_numbered_classes_and_of_names_with_spaces(tmp_path: Path) -> None:
    plain = images()
    (tmp_path / "map.txt").write_text("2 0\n1 1\n0 2\n")
    assert class_order(plain, 3, class_map=read_class_map(tmp_path / "map.txt")).applied(plain).labels.tolist() == [2, 1, 0, 0]
    (tmp_path / "map.txt").write_text("great white shark 7")
    assert read_class_map(tmp_path / "map.txt").output_of == {"great white shark": 7}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat", "line 1: expected a class and the number of its output, got 'cat'"),
        ("cat 0\ndog one", "line 2: expected"),
        ("cat -1", "line 1: expected"),
        ("cat 99999999999", "line 1: expected"),
        ("cat 0\ncat 1", "line 2: 'cat' occurs a second time"),
        ("cat 0\ndog 1\nowls 2", "does not name the class 'owl' - map.txt - nearest: owls"),
        ("cat 0\ndog 1", "does not name the class 'owl'"),
        ("cat 0\ndog 1\nowl 3", "names output 3, the network has 0 to 2"),
        ("cat 0\ndog 1\nowl 1", "gives output 1 to two classes"),
        ("\x1b[31m 0\ncat x", "line 2"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "map.txt").write_text(text)
    with pytest.raises(DataError) as caught:
        class_order(PETS, 3, class_map=read_class_map(tmp_path / "map.txt"))
    assert words in str(caught.value).replace(f"{tmp_path}/", "")


def test_other_numbers_of_classes_are_refused_with_both() -> None:
    with pytest.raises(DataError, match="3 classes, the network 7 outputs") as caught:
        class_order(PETS, 7)
    assert "--class-map" in str(caught.value)
    with pytest.raises(DataError, match="labels 0 to 1, one per output, got 0 to 2"):
        class_order(images(), 2)


def test_a_map_must_be_given_as_a_record() -> None:
    assert class_order(PETS, 3, class_map=ClassMap("m", {"cat": 2, "dog": 1, "owl": 0})).outputs.tolist() == [2, 1, 0]
