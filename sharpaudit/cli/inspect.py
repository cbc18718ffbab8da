"""`sharpaudit inspect`: what is in a checkpoint, told without building a network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpaudit.cli.app import Json, app
from sharpaudit.cli.parameters import with_parameters
from sharpaudit.errors import ExitCode, clean
from sharpaudit.request import Limits

if TYPE_CHECKING:
    from sharpaudit.checkpoints.inspection import Inspection
    from sharpaudit.checkpoints.statements import Statements

SHOWN = 20
"""Tensors and metadata entries that are printed; ``--json`` holds them all."""


@app.command()
@with_parameters(Limits)
def inspect(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help=".safetensors, .pt, .pth, .th, .bin or a folder.")],
    settings: Mapping[str, Any],
    weights: Annotated[
        str,
        typer.Option(
            "--weights", metavar="WHICH", help="Which weights of a training checkpoint: auto, ema, raw, a key or a PREFIX."
        ),
    ] = "auto",
    json: Json = False,
) -> int:
    """Describe a checkpoint without loading or running it.

    Shows its format, tensors, wrappers and code, and the networks that fit.
    """
    from sharpaudit.card import codec
    from sharpaudit.checkpoints import inspection

    found = inspection.inspect(checkpoint, weights=weights, limits=Limits(**settings))
    if json:
        print(codec.dumps(_document(found)), end="")
    else:
        print(_text(found))
    if found.refusal is None:
        return ExitCode.DONE
    print(found.refusal, file=sys.stderr)
    return found.refusal.exit_code


def _document(found: Inspection) -> dict[str, Any]:
    stated = found.stated
    return {
        "schema": "sharpaudit.inspection/1.0",
        "file": found.file,
        "link_to": found.link_to,
        "format": found.format,
        "size_bytes": found.size_bytes,
        "sha256": found.sha256,
        "num_tensors": len(found.weights),
        "num_elements": found.num_elements,
        "dtypes": {kind: {"tensors": tensors, "elements": elements} for kind, (tensors, elements) in found.dtypes.items()},
        "tensors": [{"name": t.name, "dtype": t.dtype, "shape": list(t.shape)} for t in found.weights],
        "choices": [{"key": c.key, "tensors": c.tensors, "elements": c.elements, "average": c.average} for c in found.choices],
        "steps": found.steps,
        "dropped": found.dropped,
        "warnings": found.warnings,
        "metadata": found.metadata,
        "stated": {
            "architecture": stated.architecture and clean(stated.architecture),
            "num_classes": stated.num_classes,
            "classes": [clean(name) for name in stated.classes] if stated.classes else None,
            "preprocessing": {clean(key): clean(str(value)) for key, value in stated.preprocessing.items()},
            "origin": stated.origin,
        },
        "globals": found.globals,
        "code": found.code,
        "networks": found.networks,
        "plain": found.plain,
        "error": found.refusal.as_json()["error"] if found.refusal else None,
    }


def _text(found: Inspection) -> str:
    """A block of labelled lines, then the first tensors."""
    link = f" (a link to {found.link_to})" if found.link_to else ""
    lines = [f"{found.file}{link}", f"{found.format} · {found.size_bytes:,} bytes · sha256 {found.sha256}", ""]
    kinds = ", ".join(f"{tensors:,} {kind} ({elements:,} numbers)" for kind, (tensors, elements) in found.dtypes.items())
    rows = [
        ("tensors", [f"{len(found.weights):,}: {kinds}"] if kinds else [str(len(found.weights))]),
        ("choices", _choices(found)),
        ("steps", found.steps),
        ("dropped", [", ".join(found.dropped)] if found.dropped else []),
        ("pickle names", [", ".join(found.globals)] if found.globals else []),
        ("code", [f"{name}: would be run by pickle; was not" for name in found.code]),
        ("states", _statements(found.stated)),
        ("metadata", _cut([f"{key}: {text}" for key, text in found.metadata.items()])),
        ("networks", _cut(found.networks) or ["none known by these names and shapes"]),
        ("plain", _cut(found.plain)),
        ("warnings", found.warnings),
    ]
    for label, values in rows:
        lines += [f"{'' if index else label:<14}{value}" for index, value in enumerate(values)]
    width = max((len(tensor.name) for tensor in found.weights[:SHOWN]), default=0)
    listed = [f"  {t.name:<{width}}  {t.dtype:<9} {'×'.join(map(str, t.shape)) or 'scalar'}" for t in found.weights]
    return "\n".join([*lines, "", *_cut(listed)]).rstrip()


def _choices(found: Inspection) -> list[str]:
    """The dictionaries that ``--weights`` could take, where there are several."""
    if len(found.choices) < 2:
        return []
    return [
        f"{choice.key or '(top level)'}: {choice.tensors:,} tensors{', averaged' if choice.average else ''}"
        f"{' (auto takes this one)' if choice is found.choices[0] else ''}"
        for choice in found.choices
    ]


def _statements(stated: Statements) -> list[str]:
    classes = ", ".join(clean(name, 30) for name in (stated.classes or ())[:5])
    more = ", …" if stated.classes and len(stated.classes) > 5 else ""
    said = {
        "architecture": stated.architecture and clean(stated.architecture),
        "classes": f"{stated.num_classes or len(stated.classes or ())} {f'({classes}{more})' if classes else ''}".strip(),
        **{clean(key): clean(str(value)) for key, value in stated.preprocessing.items()},
    }
    if not stated.num_classes and not stated.classes:
        del said["classes"]
    return [f"{key} {value} ({stated.origin})" for key, value in said.items() if value]


def _cut(lines: list[str]) -> list[str]:
    rest = len(lines) - SHOWN
    return [*lines[:SHOWN], f"… and {rest:,} more (--json lists all)"] if rest > 0 else lines
