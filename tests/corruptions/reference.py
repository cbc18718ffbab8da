"""The public generator, imagecorruptions 1.1.2, made to run on today's libraries and with the constants of any table.

As shipped it does not import (pkg_resources, scipy.ndimage.interpolation) and three functions fail (numpy.float_, multichannel);
its constants are ImageNet-C's only. Both are mended from outside, so that its own lines compute what it is compared for.
"""

import importlib
import inspect
import re
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from sharpaudit.corruptions import Table
from sharpaudit.corruptions.severities import CONSTANTS


def generator(table: Table) -> Callable[[np.ndarray, str, int], np.ndarray]:
    """Image (h, w, 3), name, severity -> corrupted uint8 image, by the package's functions with the constants of `table`."""
    module = _package()
    functions = {name: _with_constants(module, name, table) for name in CONSTANTS}

    def corrupted(image: np.ndarray, name: str, severity: int) -> np.ndarray:
        return np.asarray(functions[name](Image.fromarray(image), severity)).astype(np.uint8)

    return corrupted


def _package() -> types.ModuleType:
    for needed in ("cv2", "skimage", "imagecorruptions"):
        if not any((Path(folder) / needed).exists() for folder in sys.path):
            pytest.skip(f"the reference generator needs {needed}, which is not installed (pip install imagecorruptions==1.1.2)")
    resources, interpolation = types.ModuleType("pkg_resources"), types.ModuleType("scipy.ndimage.interpolation")
    vars(resources)["resource_filename"] = lambda name, path: str(Path(sys.modules[name].__file__ or "").parent / path)
    vars(interpolation)["map_coordinates"] = scipy.ndimage.map_coordinates
    sys.modules |= {"pkg_resources": resources, "scipy.ndimage.interpolation": interpolation}
    vars(np)["float_"] = np.float64
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("imagecorruptions.corruptions")
        gaussian = importlib.import_module("skimage.filters").gaussian

    def with_old_name(image: np.ndarray, sigma: Any, multichannel: bool = False, **options: Any) -> Any:
        return gaussian(image, sigma, channel_axis=-1 if multichannel else None, **options)

    vars(module)["gaussian"] = with_old_name
    return module


def _with_constants(module: types.ModuleType, name: str, table: Table) -> Callable[..., Any]:
    """The package's function `name`; its list of constants replaced unless ImageNet-C's are asked for."""
    if table == 224 or name == "elastic_transform":
        return vars(module)[name]  # type: ignore[no-any-return]  # a foreign function
    rows: list[Any] = [row[0] if len(row) == 1 else row for row in CONSTANTS[name][table]]
    if name == "zoom_blur":
        rows = [1 + step * np.arange(count) for step, count in CONSTANTS[name][table]]
    own = inspect.getsource(vars(module)[name])
    source, replaced = re.subn(r"c = \[.*?\]\s*\[\s*severity - 1\]", "c = ROWS[severity - 1]", own, flags=re.DOTALL)
    assert replaced == 1
    scope = {**vars(module), "ROWS": rows}
    exec(source, scope)
    return scope[name]  # type: ignore[no-any-return]  # a foreign function
