"""What does the JSON Schema of a card say? `python -m sharpaudit.card.schema` writes it beside this file for other programs."""

from __future__ import annotations

from typing import Any

from sharpaudit.card import Card
from sharpaudit.card.codec import SCHEMA_FILE, dumps


def card_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of every card of version 1: unknown fields are allowed, a missing interval needs a reason."""
    schema = Card.model_json_schema(by_alias=True, mode="validation")
    schema["properties"]["schema"] |= {"pattern": r"^sharpaudit\.card/1\.[0-9]+$"}
    schema["required"] = sorted([*schema["required"], "schema"])
    schema["$defs"]["Measured"]["anyOf"] = [
        {"required": ["ci"], "properties": {"ci": {"type": "object"}}},
        {"required": ["reason"], "properties": {"reason": {"type": "string", "minLength": 1}}},
    ]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:sharpaudit:card:1", **schema}


if __name__ == "__main__":
    SCHEMA_FILE.write_text(dumps(card_schema()), encoding="utf-8")
