"""Which probes of this audit are finished already, and what did they find?

A part is found by the hash of everything that decides it: the checkpoint's bytes and how they were read, the data, the probe
set, the seed, the environment, the probe with its version and options. So continuing is looking up, and nothing stale is ever
found. The columns that a probe read lie beside it, or beside the first that read them, and are held to their hash. A part that
was damaged or edited does not fit its digest; it is reported and measured again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sharpaudit import files
from sharpaudit.card import Outcome, codec
from sharpaudit.errors import CardError, clean
from sharpaudit.store.files import write
from sharpaudit.store.runs import MAX_COLUMN_BYTES, Columns, digest_of_view, pack, unpack

log = logging.getLogger(__name__)

FOLDER = "parts"


class Parts:
    """The finished probes of one audit, kept in a run folder.

    Args:
        run: the run folder.
        identity: everything but the probe that decides a finding, as JSON types.
        reuse: False finds nothing, so that everything is measured again.
    """

    def __init__(self, run: Path, identity: Mapping[str, Any], *, reuse: bool = True) -> None:
        self._folder = run / FOLDER
        self._identity = _digest(identity)
        self._reuse = reuse
        self._stored: dict[tuple[str, str], str] = {}
        self._kept: list[Path] = []

    def find(self, probe: str, version: int, options: Mapping[str, Any]) -> tuple[Outcome, Columns] | None:
        """The outcome of a finished probe and the columns it read, or None when it has to run."""
        path = self._path(probe, version, options)
        if not self._reuse or not path.exists():
            return None
        try:
            document = codec.loads(files.read(path, most=codec.MAX_BYTES), source=path.name)
            if document.pop("digest", None) != _digest(document):
                raise ValueError("its digest does not fit its content")
            found = Outcome.model_validate(document["outcome"]), self._read(document["columns"])
        except (OSError, CardError, ValidationError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s: stored result is corrupt, measuring again (%s)", probe, clean(str(error)))
            return None
        self._stored |= {(view, digest): file for view, (file, digest) in document["columns"].items()}
        return found

    def keep(self, outcome: Outcome, columns: Columns) -> None:
        """Store a finished probe; the columns first, because the outcome's presence says that all of it is there."""
        path = self._path(outcome.probe, outcome.version, outcome.options)
        arrays = path.with_suffix(".safetensors")
        self._kept += [path, arrays]
        keys = {view: (view, digest_of_view(named)) for view, named in columns.items()}
        new = {view: named for view, named in columns.items() if keys[view] not in self._stored}
        if new:
            write(arrays, pack(new))
            self._stored |= {keys[view]: arrays.name for view in new}
        places = {view: [self._stored[key], key[1]] for view, key in keys.items()}
        document = {"outcome": outcome.model_dump(mode="json"), "columns": places}
        write(path, codec.dumps({**document, "digest": _digest(document)}))

    def forget(self) -> None:
        """Remove what this audit has stored, because it turned out not to be about what it says."""
        for path in self._kept:
            path.unlink(missing_ok=True)

    def _path(self, probe: str, version: int, options: Mapping[str, Any]) -> Path:
        key = _digest({"audit": self._identity, "probe": probe, "version": version, "options": options})
        return self._folder / f"{probe}-{key[:16]}.json"

    def _read(self, places: Mapping[str, tuple[str, str]]) -> Columns:
        """The columns at `places`, view → (file, digest), each held to its digest."""
        held = {name: unpack(files.read(self._folder / Path(name).name, most=MAX_COLUMN_BYTES))[0] for name, _ in places.values()}
        columns = {view: held[name].get(view, {}) for view, (name, _) in places.items()}
        for view, (name, digest) in places.items():
            if digest_of_view(columns[view]) != digest:
                raise ValueError(f"{clean(name)} does not hold the columns of {clean(view)}")
        return columns


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, allow_nan=False).encode()).hexdigest()
