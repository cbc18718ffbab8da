"""Which images does a Python file of the user's make? Run only with permission, and the card says so."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from sharpaudit.data.arrays import image_set
from sharpaudit.data.files import read
from sharpaudit.data.images import ImageSet
from sharpaudit.errors import DataError, UnsafeInput, clean
from sharpaudit.request import Reading

MAX_BYTES = 1 << 20


def is_code(spec: str) -> bool:
    """Whether `spec` is ``file.py`` or ``file.py:factory``."""
    return spec.endswith(".py") or spec.rpartition(":")[0].endswith(".py")


def open_made(spec: str, *, reading: Reading) -> ImageSet:
    """The set that a factory of a Python file makes: it returns images and labels, and the names of the classes if it likes.

    Raises:
        UnsafeInput: running code was not allowed.
        DataError: no such file or factory, it failed, or what it returned is no labelled images.
    """
    name, _, factory = spec.rpartition(":") if not spec.endswith(".py") else (spec, "", "")
    path = Path(name)
    if not reading.allow_code:
        raise UnsafeInput(f"'{clean(path.name)}' is code", hint="--allow-code runs it, and the card says so", path=name)
    text = read(path, most=MAX_BYTES)
    if not factory.isidentifier():
        raise DataError("which function of the file makes the images?", hint=f"{clean(path.name)}:FUNCTION", path=name)
    made = _made(path, factory)
    if not isinstance(made, tuple) or len(made) not in (2, 3):
        raise DataError(f"{factory} returned {type(made).__name__}, expected images and labels", path=name)
    images, labels, *names = made
    try:
        classes = tuple(clean(str(each)) for each in names[0]) if names else None
        arrays = np.asarray(images), np.asarray(labels)
    except (TypeError, ValueError) as error:
        raise DataError(f"{factory} returned no arrays: {clean(str(error))}", path=name) from error
    notes = (f"made by {clean(path.name)} (sha256 {hashlib.sha256(text).hexdigest()})",)
    return image_set(
        f"{clean(path.name)}:{factory}", *arrays, classes, reading=reading, notes=notes, origin=factory, ran_user_code=True
    )


def _made(path: Path, factory: str) -> Any:
    spec = importlib.util.spec_from_file_location("_sharpaudit_data", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return getattr(module, factory)()
    except (Exception, SystemExit) as error:  # a script that ends by itself must not end the audit
        raise DataError(f"{factory} failed: {type(error).__name__}: {clean(str(error))}", path=str(path)) from error
