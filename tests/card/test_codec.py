"""The codec: what is written comes back, byte for byte, and what is not a card is refused in words."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpaudit.card import Card, Measured, codec
from sharpaudit.errors import CardError, ExitCode
from tests.report import cards

CARDS = {"full": cards.full(), "minimal": cards.minimal(), "hostile": cards.hostile("<b>\x1b[0m\u202e")}


def document(**changes: Any) -> dict[str, Any]:
    """The minimal card as JSON types, changed, and without its digest."""
    plain: dict[str, Any] = json.loads(codec.encode(cards.minimal()))
    del plain["digest"]
    return plain | changes


def sealed(card: dict[str, Any]) -> str:
    """The card with its digest, as any program can write it."""
    covered = {name: value for name, value in card.items() if name != "timing"}
    canonical = json.dumps(covered, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    return json.dumps(card | {"digest": "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()})


@pytest.mark.parametrize("name", CARDS)
def test_round_trip_keeps_every_byte(name: str) -> None:
    text = codec.encode(CARDS[name])
    assert codec.encode(codec.decode(text, source=name)) == text


def test_text_is_sorted_indented_and_ends_in_a_newline() -> None:
    text = codec.encode(cards.full())
    assert text == json.dumps(json.loads(text), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def test_canonical_form_leaves_out_timing_and_digest() -> None:
    card = cards.full()
    assert card.timing
    later = card.model_copy(update={"timing": card.timing.model_copy(update={"seconds": 1.0})})
    assert codec.canonical(later) == codec.canonical(card)
    assert not {"timing", "digest"} & json.loads(codec.canonical(card)).keys()
    assert codec.encode(later) == codec.encode(card)
    assert codec.encode(later, timing=True) != codec.encode(card, timing=True)
    assert codec.decode(codec.encode(card, timing=True), source="x") == card


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_bit_for_bit(value: float) -> None:
    measured = cards.number("clean.nll", 1.0).model_copy(update={"value": value})
    card = cards.minimal().model_copy(update={"measurements": [measured]})
    found = codec.decode(codec.encode(card), source="x").measurements[0]
    assert isinstance(found, Measured)
    assert (found.value, str(found.value)) == (value, str(value))


def test_unknown_fields_of_a_newer_minor_version_are_kept() -> None:
    newer = document(schema="sharpaudit.card/1.7", mood={"level": [1, 2.5]})
    newer["subject"]["owner"] = "someone"
    text = codec.encode(codec.decode(sealed(newer), source="x"))
    back = json.loads(text)
    assert (back["schema"], back["mood"], back["subject"]["owner"]) == ("sharpaudit.card/1.7", {"level": [1, 2.5]}, "someone")
    assert codec.encode(codec.decode(text, source="x")) == text


def test_only_a_card_of_the_first_version_may_lack_its_digest() -> None:
    assert codec.decode(sealed(document()), source="x") == codec.decode(codec.encode(cards.minimal()), source="x")
    with pytest.raises(CardError, match="the card has no digest: it was edited, or cut"):
        codec.decode(json.dumps(document()), source="x")
    assert codec.decode(json.dumps(document(schema="sharpaudit.card/1.0")), source="x").seed == 0


@pytest.mark.parametrize("version", ["1.", "1.0.evil", "1.01", "1.-1", "1.1 ", "1.1\n", "01.1", "2.0", "1.١", "1.12345"])
def test_only_versions_that_are_exactly_known_are_read(version: str) -> None:
    with pytest.raises(CardError, match="the card has schema"):
        codec.decode(sealed(document(schema=f"sharpaudit.card/{version}")), source="x")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": True},
        {"seed": "0"},
        {"seed": 0.0},
        {"subject": document()["subject"] | {"clean_load": "yes"}},
        {"subject": document()["subject"] | {"ran_user_code": 0}},
        {"measurements": [cards.number("a.b", 1.0).model_dump() | {"value": "0.99"}]},
        {"measurements": [cards.number("a.b", 1.0).model_dump() | {"value": True}]},
        {"measurements": [cards.number("a.b", 1.0).model_dump() | {"n": 5.0}]},
    ],
)
def test_no_type_is_converted(change: dict[str, Any]) -> None:
    with pytest.raises(CardError, match="not a valid card"):
        codec.decode(sealed(document(**change)), source="x")


def test_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(codec.encode(cards.full(), timing=True))
    assert codec.read(path) == cards.full()


def test_a_card_of_the_first_version_reads_and_keeps_its_digest() -> None:
    """Written by the code of schema 1.0 before any field was added; later versions add fields with defaults."""
    path = Path(__file__).with_name("card-1.0.json")
    card, digest = codec.decode_with_digest(path.read_bytes(), source=path.name)
    assert digest == json.loads(path.read_text())["digest"]
    assert card.measured("clean.accuracy")
    assert card.incomplete == []
    edited = path.read_text().replace('"n": 40', '"n": 41', 1)
    with pytest.raises(CardError, match="the card was edited"):
        codec.decode(edited, source="card-1.0.json")


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "not readable as JSON"),
    "truncated": (codec.encode(cards.minimal())[:-40], "not readable as JSON"),
    "not UTF-8": (b"\xff\xfe\x00", "not readable as JSON"),
    "a list": ("[]", "expected an object"),
    "another document": ('{"a": 1}', "this JSON is not a sharpaudit card"),
    "another type of schema": ('{"schema": 1}', "this JSON is not a sharpaudit card"),
    "version 2": (json.dumps(document(schema="sharpaudit.card/2.0")), "the card has schema 'sharpaudit.card/2.0'"),
    "version 0": (json.dumps(document(schema="sharpaudit.card/0.9")), "the card has schema 'sharpaudit.card/0.9'"),
    "version 10": (json.dumps(document(schema="sharpaudit.card/10.0")), "the card has schema 'sharpaudit.card/10.0'"),
    "a key twice": ('{"schema": "sharpaudit.card/1.0", "seed": 0, "seed": 1}', "it holds 'seed' twice"),
    "NaN": (json.dumps(document(seed=float("nan"))), "NaN is not a number of JSON"),
    "Infinity": (json.dumps(document(x=[float("-inf")])), "-Infinity is not a number of JSON"),
    "1e999": (json.dumps(document(x=0)).replace('"x": 0', '"x": 1e999'), "1e999 is not a finite number"),
    "a huge integer": ('{"x": ' + "9" * 5000 + "}", "not readable as JSON: Exceeds the limit"),
    "deep": ('{"x": ' + "[" * 200_000, "not readable as JSON: nested too deep"),
    "rather deep": (
        json.dumps(document(x=0)).replace('"x": 0', '"x": ' + "[" * 600 + "]" * 600),
        "not readable as JSON: nested too deep",
    ),
    "half a character": (json.dumps(document(x="\ud800")), "'utf-8' codec can't encode"),
    "a missing field": ('{"schema": "sharpaudit.card/1.0"}', "not a valid card: subject: Field required"),
    "a number without uncertainty": (
        json.dumps(document(measurements=[cards.number("a.b", 1.0).model_dump() | {"reason": None}])),
        "a.b: a number without an interval must say why it has none",
    ),
    "edited": (codec.encode(cards.full()).replace('"value": 0.915,', '"value": 0.995,'), "its digest does not fit its content"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name: str) -> None:
    text, message = REFUSED[name]
    with pytest.raises(CardError) as caught:
        codec.decode(text, source="card.json")
    assert message in caught.value.message
    assert caught.value.exit_code is ExitCode.INPUT
    assert str(caught.value).isprintable()


def test_a_missing_or_too_large_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="cannot read the card: No such file"):
        codec.read(tmp_path / "none.json")
    huge = tmp_path / "huge.json"
    with huge.open("wb") as file:
        file.truncate(codec.MAX_BYTES + 1)
    with pytest.raises(CardError, match="bytes are more than the"):
        codec.read(huge)


def test_found_by_name() -> None:
    card: Card = cards.full()
    assert card.find("clean.nll") is card.measured("clean.nll")
    assert card.find("disagreement.rate") is not None
    assert card.measured("disagreement.rate") is None
    assert card.find("nothing") is None
