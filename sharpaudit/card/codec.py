"""How does a card become bytes, and bytes a card? One encoder, one bounded decoder.

The JSON is byte-stable: sorted keys, two-space indent, shortest float that round-trips, no NaN, newline at the end. The digest is
taken over the canonical form (no timing, no digest), so an edited card is noticed; from version 1.1 on every card has one. A
stored card is untrusted input: size, depth, duplicate keys and non-finite constants are checked before pydantic sees it, and no
type is converted into another.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sharpaudit import files, strict_json
from sharpaudit.card import SCHEMA, Card
from sharpaudit.errors import CardError, clean

MAX_BYTES = 64 * 2**20
"""No card of ours comes near; a file above is refused before it is parsed."""

VERSION = re.compile(r"sharpaudit\.card/1\.(0|[1-9][0-9]{0,3})")
"""Schemas of the cards that can be read: fields are only ever added, and unknown ones are kept."""

SCHEMA_FILE = Path(__file__).with_name("card.schema.json")


def dumps(document: Any) -> str:
    """`document` (JSON types only) as byte-stable text."""
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def canonical(card: Card) -> str:
    """The card without its timing: equal for equal audits, byte for byte."""
    return _canonical(card.model_dump(mode="json"))


def encode(card: Card, *, timing: bool = False) -> str:
    """The card as JSON text: the canonical form with its digest, and with `timing` what differs from run to run."""
    document = card.model_dump(mode="json", exclude={"digest"} if timing else {"digest", "timing"})
    return dumps(document | {"digest": digest(card)})


def digest(card: Card) -> str:
    """``sha256:…`` of the canonical form."""
    return _digest(canonical(card))


def decode(text: str | bytes, *, source: str) -> Card:
    """The card in `text`; `source` names it in messages.

    Raises:
        CardError: not JSON, not a card, a card of another major version, or one without the digest of its content.
    """
    return decode_with_digest(text, source=source)[0]


def decode_with_digest(text: str | bytes, *, source: str) -> tuple[Card, str]:
    """The card and its digest, which is of the document itself: a card of an older version lacks fields that ours has.

    Raises:
        CardError: as `decode`.
    """
    document = loads(text, source=source)
    schema = document.get("schema")
    if not isinstance(schema, str) or not schema.startswith("sharpaudit.card/"):
        raise CardError("this JSON is not a sharpaudit card", path=source, hint=f'expected "schema": "{SCHEMA}"')
    if not VERSION.fullmatch(schema):
        raise CardError(f"the card has schema '{clean(schema)}'", path=source, hint="this version reads sharpaudit.card/1.x")
    stated = document.pop("digest", None)
    try:
        card = Card.model_validate(document, strict=True)
        canonical(card)  # what could not be written again is refused here
        found = _digest(_canonical(document))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CardError(f"not a valid card: {clean(where)}: {clean(first['msg'])}", path=source) from error
    except (ValueError, RecursionError) as error:  # unknown fields: lone surrogates, 1e999, hundreds of levels
        raise CardError(f"not a valid card: {clean(str(error))}", path=source) from error
    if stated is None and not is_first_version(card):
        raise CardError("the card has no digest: it was edited, or cut", path=source, hint="measure again")
    if stated is not None and stated != found:
        raise CardError("the card was edited: its digest does not fit its content", path=source, hint="measure again")
    return card, found


def is_first_version(card: Card) -> bool:
    """Whether it is of version 1.0, whose digest was optional and which says nothing of its predictions."""
    return card.schema_ == "sharpaudit.card/1.0"


def is_newer(card: Card) -> bool:
    """Whether it is of a later version than ours, with fields that we keep and do not understand."""
    return int(card.schema_.rpartition(".")[2]) > int(SCHEMA.rpartition(".")[2])


def _canonical(document: Mapping[str, Any]) -> str:
    return dumps({name: value for name, value in document.items() if name not in ("timing", "digest")})


def _digest(canonical: str) -> str:
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def read(path: Path) -> Card:
    """The card stored at `path`.

    Raises:
        CardError: as `decode`, or the file cannot be read or is too large.
    """
    return decode(read_bytes(path), source=str(path))


def read_bytes(path: Path) -> bytes:
    """What stands at `path`, where a card should be.

    Raises:
        CardError: the file cannot be read or is too large.
    """
    try:
        return files.read(path, most=MAX_BYTES)
    except OSError as error:
        raise CardError(f"cannot read the card: {error.strerror}", path=str(path)) from error


def loads(text: str | bytes, *, source: str) -> dict[str, Any]:
    """A JSON object, read strictly: no duplicate keys, no NaN or Infinity, bounded depth.

    Raises:
        CardError: anything else.
    """
    try:
        return strict_json.load(text)
    except ValueError as error:
        raise CardError(f"not readable as JSON: {clean(str(error))}", path=source) from error
