"""`sharpaudit convert`: the weights of any checkpoint as a safetensors file, with a manifest of what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sharpaudit.cli.app import Json, app, output
from sharpaudit.cli.parameters import with_parameters
from sharpaudit.errors import clean
from sharpaudit.request import Limits


@app.command()
@with_parameters(Limits)
def convert(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help=".safetensors, .pt, .pth, .th, .bin or a folder.")],
    out: Annotated[Path, output("X.safetensors", "The file to write; its manifest goes beside it.")],
    settings: Mapping[str, Any],
    weights: Annotated[
        str,
        typer.Option(
            "--weights", metavar="WHICH", help="Which weights of a training checkpoint: auto, ema, raw, a key or a PREFIX."
        ),
    ] = "auto",
    allow_inert: Annotated[
        bool, typer.Option("--allow-inert", help="Read the tensors of a file that also holds code; the code is not run.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    json: Json = False,
) -> None:
    """Write the weights of a checkpoint as safetensors.

    A manifest beside the file says what was changed or left out.
    """
    from sharpaudit.card import codec
    from sharpaudit.checkpoints import conversion

    limits = Limits(**settings)
    manifest = conversion.convert(checkpoint, out, weights=weights, allow_inert=allow_inert, overwrite=force, limits=limits)
    if json:
        print(codec.dumps(manifest), end="")
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in manifest["dtypes"].items())
    print(f"{clean(str(out))}: {manifest['num_tensors']:,} tensors ({kinds}), sha256 {manifest['target']['sha256']}")
    rows = [
        ("steps", manifest["steps"]),
        ("dropped", manifest["dropped"]),
        ("not run", manifest["code"]),
        ("warnings", manifest["warnings"]),
    ]
    for label, values in rows:
        for value in values:
            print(f"  {label:<10}{value}")
