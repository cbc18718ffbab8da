"""Which probes of this audit are finished already, and what did they find?

A part is found by the hash of everything that decides it: the checkpoint's bytes and how they were read, the data, the probe
set, the seed, the environment, the probe with its version and options. So continuing is looking up, and nothing stale is ever
found. The columns that a probe read lie beside it under the hash of their content, once however many probes read them. A part
that was damaged or edited does not fit its digest; it is reported and measured again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sharpaudit.card import Outcome, codec
from sharpaudit.errors import CardError, clean
from sharpaudit.store.files import write
from sharpaudit.store.runs import Columns, pack, unpack

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

    def find(self, probe: str, version: int, options: Mapping[str, Any]) -> tuple[Outcome, Columns] | None:
        """The outcome of a finished probe and the columns it read, or None when it has to run."""
        path = self._path(probe, version, options)
        if not self._reuse or not path.exists():
            return None
        try:
            document = codec.loads(path.read_bytes(), source=path.name)
            if document.pop("digest", None) != _digest(document):
                raise ValueError("its digest does not fit its content")
            columns: dict[str, Mapping[str, Any]] = {}
            for view, digest in document["columns"].items():
                columns |= self._read(view, digest)
            return Outcome.model_validate(document["outcome"]), columns
        except (OSError, CardError, ValidationError, ValueError, RecursionError) as error:
            log.warning("%s is measured again: what is stored of it is damaged (%s)", probe, clean(str(error)))
            return None

    def keep(self, outcome: Outcome, columns: Columns) -> None:
        """Store a finished probe; the columns first, because the outcome's presence says that all of it is there."""
        digests = {view: self._write(view, named) for view, named in columns.items()}
        document = {"outcome": outcome.model_dump(mode="json"), "columns": digests}
        path = self._path(outcome.probe, outcome.version, outcome.options)
        write(path, codec.dumps({**document, "digest": _digest(document)}))

    def _path(self, probe: str, version: int, options: Mapping[str, Any]) -> Path:
        key = _digest({"audit": self._identity, "probe": probe, "version": version, "options": options})
        return self._folder / f"{probe}-{key[:16]}.json"

    def _columns(self, view: str, digest: str) -> Path:
        return self._folder / f"{view.replace('/', '-')}-{digest[:16]}.safetensors"

    def _write(self, view: str, named: Mapping[str, Any]) -> str:
        digest = _columns_digest(named)
        try:
            self._read(view, digest)
        except (OSError, ValueError):
            write(self._columns(view, digest), pack({view: named}, {}))
        return digest

    def _read(self, view: str, digest: str) -> Columns:
        path = self._columns(view, digest)
        columns, _ = unpack(path.read_bytes())
        if list(columns) != [view] or _columns_digest(columns[view]) != digest:
            raise ValueError(f"{path.name} does not fit its digest")
        return columns


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _columns_digest(named: Mapping[str, Any]) -> str:
    state = hashlib.sha256()
    for name in sorted(named):
        values = named[name]
        state.update(f"{name} {values.dtype} {values.shape}".encode())
        state.update(values.tobytes())
    return state.hexdigest()
