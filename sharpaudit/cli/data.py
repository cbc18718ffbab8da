"""`sharpaudit data`: which data sets there are, whether one is whole, and corrupted versions of a user's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sharpaudit.cli.app import Json, app, output, search_path
from sharpaudit.cli.progress import progress_bar
from sharpaudit.errors import DataError, UsageError, clean

if TYPE_CHECKING:
    from sharpaudit.data.catalogue import Description, Verified


class NameOrCommand(TyperGroup):
    """Takes what is no command of its own for the name of a data set, and nothing at all for the whole list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put ``show`` before a name."""
        if not ({"--help"} & set(args[:1])) and (not args or args[0] not in self.commands):
            args = ["show", *args]
        return super().parse_args(ctx, args)


data_sets = typer.Typer(
    cls=NameOrCommand,
    subcommand_metavar="[NAME [--verify]] | COMMAND [ARGS]...",
    help="""List data sets, look at one, or corrupt your own.

    Without a NAME, lists the sets that are found by name and where they are searched. NAME is what --data takes: the set is
    described; with --verify every image of it is read and checked.""",
)
app.add_typer(data_sets, name="data")

DataSet = Annotated[str, typer.Option("--data", metavar="D", help="Images: digits, npz:PATH, imagefolder:PATH, cifar10, …")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Random seed.", min=0, max=2**63 - 1)]


@data_sets.command(hidden=True)
def show(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A data set, as for --data.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every image and check what can be checked.")] = False,
    json: Json = False,
) -> None:
    """List the data sets and where they are searched, or describe one; with --verify read it whole."""
    if name is None:
        if verify:
            raise UsageError("--verify needs the name of a data set", hint="sharpaudit data NAME --verify")
        _list(as_json=json)
    elif verify:
        _verify(name, as_json=json)
    else:
        _describe(name, as_json=json)


@data_sets.command("make-c")
def make_c(
    data: DataSet,
    out: Annotated[Path, output("FOLDER", "A new folder for the arrays.")],
    severities: Annotated[
        str, typer.Option("--severities", metavar="1,2,…", help="Which of the severities 1 to 5.")
    ] = "1,2,3,4,5",
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Use only the first N images.", min=1)] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Write every image under every corruption, like CIFAR-10-C.

    The result is called synthetic-c and read with --data synthetic-c:FOLDER.
    """
    from sharpaudit.card import codec
    from sharpaudit.data import open_images
    from sharpaudit.data.synthetic import LABEL, write_synthetic

    levels = tuple(int(part) if part in ("1", "2", "3", "4", "5") else 0 for part in severities.split(","))
    if 0 in levels:
        raise UsageError(f"--severities: expected some of 1 to 5 separated by commas, got '{clean(severities)}'")
    images = open_images(data, limit=limit, search=search_path()).without_alpha()
    with progress_bar("make-c") as report:
        made = write_synthetic(images, out, severities=levels, seed=seed, on_progress=lambda done: report("corrupting", done))
    if json:
        print(codec.dumps(made.model_dump(mode="json")), end="")
        return
    rows = made.data.n * len(made.severities)
    print(f"{len(made.corruptions)} corruptions of {made.data.n:,} images of {images.name}, {rows:,} rows each, in {out}")
    print(f"read with: --data {LABEL}:{out}")


@data_sets.command("contact-sheet")
def contact_sheet(
    data: DataSet,
    out: Annotated[Path, output("FILE.png", "The picture.")],
    index: Annotated[int, typer.Option("--index", metavar="N", help="Which image of the set.", min=0)] = 0,
    seed: Seed = 0,
) -> None:
    """Draw one image under all corruptions at five severities."""
    import torch

    from sharpaudit import store
    from sharpaudit.corruptions import sheet
    from sharpaudit.data import open_images

    store.check_file(out)
    images = open_images(data, search=search_path()).without_alpha()
    if index >= len(images):
        raise UsageError(f"--index: expected 0 to {len(images) - 1}, got {index}")
    picture = sheet.contact_sheet(torch.tensor(images.images[index : index + 1])[0], index, seed=seed)
    drawn = BytesIO()
    picture.save(drawn, format="PNG")
    store.write(out, drawn.getvalue())
    print(out)


def _list(*, as_json: bool) -> None:
    from sharpaudit.card import codec
    from sharpaudit.data import NAMES
    from sharpaudit.data.catalogue import listing
    from sharpaudit.data.synthetic import LABEL

    folders = search_path()
    entries = list(listing(folders))
    if as_json:
        document = {"searched": [str(folder) for folder in folders], "data_sets": [asdict(entry) for entry in entries]}
        print(codec.dumps(document), end="")
        return
    for entry in entries:
        found = f"{entry.num_images:>9,}  {'×'.join(map(str, entry.shape)):<12}" if entry.found else f"{'-':>9}  {'':<12}"
        print(f"{entry.name:<18}{found}{clean(entry.detail, 200)}")
    forms = [name for name in NAMES if ":" in name]
    print(f"also: {'  '.join(forms)}  NAME:PATH  NAME:train  {LABEL}:PATH (made by `data make-c`)")
    searched = os.pathsep.join(clean(str(folder), 200) for folder in folders)
    print(f"searched: {searched or 'nowhere but in the package: set SHARPAUDIT_DATA to folders of data sets'}")


def _describe(name: str, *, as_json: bool) -> None:
    from sharpaudit.card import codec
    from sharpaudit.data.catalogue import cells_in_words, describe

    found = describe(name, search=search_path())
    if as_json:
        print(codec.dumps(_document(found)), end="")
        return
    for split, record in found.splits.items():
        shape = "×".join(map(str, found.shape))
        print(f"{split:<14}{clean(record.name)}: {record.n:,} images of {shape} in {len(record.classes)} classes")
        print(f"{'index hash':<14}{record.index_hash}")
        for label, lines in (("warning", record.warnings), ("note", record.notes)):
            for line in lines:
                print(f"{label:<14}{clean(line, 300)}")
    print(f"{'per class':<14}{found.per_class[0]:,} to {found.per_class[1]:,} test images")
    if found.stored is not None:
        source = found.stored.record()
        print(f"{'corruptions':<14}{source.label}, {source.version or 'published files'}: {cells_in_words(found.stored)}")
        print(f"{'fingerprint':<14}{source.fingerprint}")
        for note in source.notes:
            print(f"{'note':<14}{clean(note, 300)}")


def _document(found: Description) -> dict[str, Any]:
    return {
        "splits": {split: record.model_dump(mode="json") for split, record in found.splits.items()},
        "shape": list(found.shape),
        "per_class": list(found.per_class),
        "corruptions": None
        if found.stored is None
        else {
            **found.stored.record().model_dump(mode="json"),
            "cells": [f"{corruption}/{severity}" for corruption, severity in found.stored.cells],
        },
    }


def _verify(name: str, *, as_json: bool) -> None:
    """Print what was read.

    Raises:
        DataError: something is wrong or missing; the message lists it.
    """
    from sharpaudit.card import codec
    from sharpaudit.data.catalogue import verify

    with progress_bar(clean(name)) as report:
        found = list(verify(name, search=search_path(), on_progress=lambda done: report("verifying", done)))
    wrong = [each for each in found if each.problem]
    if not (as_json and wrong):
        print(codec.dumps({"verified": [asdict(each) for each in found]}) if as_json else _lines(found), end="")
    if wrong:
        shown = "; ".join(f"{each.name}: {each.problem}" for each in wrong[:5])
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        counted = f"{len(wrong)} of {_parts(len(found))}"
        raise DataError(f"something is wrong in {counted}: {shown}{more}", path=clean(name), hint="fetch or make it again")
    print(f"{_parts(len(found))} read, nothing wrong found", file=sys.stderr)


def _parts(count: int) -> str:
    return "1 part" if count == 1 else f"{count} parts"


def _lines(found: Iterable[Verified]) -> str:
    lines = []
    for each in found:
        images = "" if each.num_images is None else f"{each.num_images:,}"
        distance = "" if each.distance is None else f"{each.distance:.1f}"
        lines.append(
            f"{clean(each.name):<26}{images:>9}{distance:>8}  {each.sha256 or '-':<64}  {clean(each.problem or 'ok', 200)}"
        )
    return "".join(line + "\n" for line in [f"{'part':<26}{'images':>9}{'from clean':>12}  SHA-256", *lines])
