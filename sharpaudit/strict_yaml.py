"""How is a YAML file of the user's read, when YAML has so many ways to say something else? Strictly, or not at all.

PyYAML reads `1e-3` as a string, `017` as 15, `no` as False and `12:30:45` as 45045, keeps the last of two equal keys, and follows
430 bytes of aliases into a billion nodes. Here scalars follow the YAML 1.2 core schema (so `1e-3` is a number and `no` a word), a
number must be finite and without leading zeros, and aliases, tags, duplicate keys and further documents are refused. Policies and
configuration files are read by it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from typing import Any

import yaml

from sharpaudit.errors import SharpauditError, UnsafeInput, UsageError, clean

MAX_BYTES = 2**18
"""PyYAML reads 100,000 bytes in a second; a policy of a thousand rules has 150,000."""
MAX_DEPTH = 20
SNIPPET = 60
"""Characters of the offending line that a message shows."""

NULL = re.compile(r"~|null|Null|NULL|")
BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
CONFUSING = re.compile(r"[-+]?(0[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|0b[01]+|\.(inf|Inf|INF)|\.(nan|NaN|NAN)|[0-9][0-9_]*_[0-9_]*)")
"""Plain scalars that readers of YAML disagree about, or that are no finite number; in quotes they are text."""


def load(data: bytes, *, source: str) -> Any:
    """The one document in `data`: dictionaries with string keys, lists, strings, finite numbers, booleans and None.

    Raises:
        UnsafeInput: a tag or an alias, which can name code or stand for billions of nodes.
        UsageError: anything else; the message says where.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"{len(data)} bytes are more than such a file may have ({MAX_BYTES})", path=source)
    try:
        text = data.decode("utf-8-sig")
        _inspect(text)
        return _construct(yaml.compose(text, Loader=yaml.SafeLoader))
    except UnicodeDecodeError as error:
        raise UsageError(f"not UTF-8 text: byte {error.start}", path=source, hint="save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        kind: type[SharpauditError] = UnsafeInput if isinstance(error, _Unsafe) else UsageError
        raise kind(f"{clean(error.problem or 'not YAML')}{_where(error.problem_mark)}", path=source) from error
    except yaml.reader.ReaderError as error:
        raise UsageError(f"not YAML: character {error.character:#x} at position {error.position}", path=source) from error


def item_lines(data: bytes, key: str) -> list[int]:
    """The line on which each item of the list under `key` begins, in a document that `load` accepts."""
    document = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    pairs = document.value if isinstance(document, yaml.MappingNode) else []
    lists = [value.value for name, value in pairs if name.value == key and isinstance(value, yaml.SequenceNode)]
    return [item.start_mark.line + 1 for items in lists for item in items]


class _Unsafe(yaml.MarkedYAMLError):
    """Something that YAML allows and that no settings need."""


def _inspect(text: str) -> None:
    """Walk the events, which PyYAML yields without recursion, before anything is built from them."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not allowed", event, _Unsafe)
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise _refusal("anchors are not allowed", event, _Unsafe)
        if getattr(event, "tag", None) is not None:
            raise _refusal("tags are not allowed", event, _Unsafe)
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _refusal(f"nested more than {MAX_DEPTH} levels deep", event)
        if documents > 1:
            raise _refusal("a second document in one file", event)


def _construct(node: yaml.Node | None) -> Any:
    match node:
        case None:
            return None
        case yaml.MappingNode():
            found: dict[Hashable, Any] = {}
            for key_node, value_node in node.value:
                key = key_node.value
                if not isinstance(key_node, yaml.ScalarNode):
                    raise _refusal("a key must be a word", key_node)
                if key in found:
                    raise _refusal(f"the key '{clean(key)}' occurs twice", key_node)
                found[key] = _construct(value_node)
            return found
        case yaml.SequenceNode():
            return [_construct(item) for item in node.value]
        case yaml.ScalarNode():
            return _scalar(node)
        case _:
            raise _refusal("not a mapping, a list or a value", node)


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text: str = node.value
    if node.style is not None:  # in quotes, or a block
        return text
    if NULL.fullmatch(text):
        return None
    if BOOL.fullmatch(text):
        return text.lower() == "true"
    if CONFUSING.fullmatch(text):
        raise _refusal(f"'{clean(text)}' is read differently by different readers, or is not finite: write a plain decimal", node)
    if INTEGER.fullmatch(text) and len(text) <= 18:
        return int(text)
    if FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise _refusal(f"'{clean(text)}' is not a finite number", node)
        return number
    return text


def _refusal(
    problem: str, at: yaml.Node | yaml.Event, kind: type[yaml.MarkedYAMLError] = yaml.MarkedYAMLError
) -> yaml.MarkedYAMLError:
    mark: Any = at.start_mark
    return kind(problem=problem, problem_mark=mark)


def _where(mark: Any) -> str:
    """Line, column and the text of that line."""
    if mark is None:
        return ""
    line = mark.buffer[: mark.pointer].rpartition("\n")[2] + mark.buffer[mark.pointer :].partition("\n")[0]
    shown = clean(line.rstrip("\r\0").strip(), SNIPPET)
    return f" (line {mark.line + 1}, column {mark.column + 1})" + (f": {shown}" if shown else "")
