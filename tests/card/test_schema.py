"""The shipped JSON Schema is the current one, accepts our cards and refuses what the codec refuses."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sharpaudit.card import codec
from sharpaudit.card.schema import card_schema
from tests.report import cards

VALIDATOR = Draft202012Validator(json.loads(codec.SCHEMA_FILE.read_text(encoding="utf-8")))


def test_shipped_file_is_current() -> None:
    text = codec.SCHEMA_FILE.read_text(encoding="utf-8")
    assert text == codec.dumps(card_schema()), "run: python -m sharpaudit.card.schema"
    Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("name", ["full", "minimal"])
def test_cards_of_ours_are_valid(name: str) -> None:
    VALIDATOR.validate(json.loads(codec.encode(getattr(cards, name)())))


def test_hostile_cards_are_valid() -> None:
    for payload in cards.PAYLOADS[::8]:
        VALIDATOR.validate(cards.hostile(payload).model_dump(mode="json"))


def test_unknown_fields_are_allowed() -> None:
    VALIDATOR.validate(json.loads(codec.encode(cards.minimal())) | {"mood": "good", "schema": "sharpaudit.card/1.12"})


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "sharpaudit.card/2.0"},
        {"seed": "zero"},
        {"subject": {}},
        {"measurements": [cards.number("a.b", 1.0).model_dump() | {"reason": None}]},
        {"measurements": [cards.number("a.b", 1.0).model_dump() | {"status": "guessed"}]},
        {"measurements": [cards.number("a.b", 1.0).model_dump() | {"value": "1"}]},
    ],
)
def test_what_is_no_card_is_invalid(change: dict[str, Any]) -> None:
    document = json.loads(codec.encode(cards.minimal())) | change
    assert list(VALIDATOR.iter_errors(document))
