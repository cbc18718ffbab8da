"""Which of the names that a pickle mentions are plain data, and which are code?"""

from __future__ import annotations

import sys

INSTANCE_MAKERS = {"copyreg._reconstructor", "copyreg.__newobj__", "functools.partial"}
"""Functions that pickle calls to make an object of the class in their first argument."""

_BUILTINS = (
    *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int"),
    *("list", "object", "range", "set", "slice", "str", "tuple", "type"),
)
_MULTIARRAY = ("scalar", "_reconstruct")
_TYPING = ("Any", "Dict", "List", "Optional", "Sequence", "Tuple", "Union")

PLAIN = {
    *(f"builtins.{name}" for name in _BUILTINS),
    *(f"collections.{name}" for name in ("Counter", "OrderedDict", "UserDict", "defaultdict", "deque")),
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *(f"{module}.multiarray.{name}" for module in ("numpy.core", "numpy._core") for name in _MULTIARRAY),
    *(f"numpy.{name}" for name in ("core.numeric._frombuffer", "_core.numeric._frombuffer", "dtype", "ndarray")),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")),
    *(f"pathlib._local.{name}" for name in ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")),
    *(f"typing.{name}" for name in _TYPING),
    *INSTANCE_MAKERS,
    "_codecs.encode",
    "argparse.Namespace",
    "decimal.Decimal",
    "fractions.Fraction",
    "torch.Size",
    "torch.device",
    "torch.serialization._get_layout",
    "types.SimpleNamespace",
    "uuid.UUID",
}
"""Names whose objects are plain data: dropped and listed, called or not.

Exact names, because a dotted name reaches further than its beginning says: ``pathlib.Path.write_text`` writes.
"""


def is_code(name: str, *, called: bool) -> bool:
    """Whether a global cannot be part of plain data.

    Names of the standard library that are not plain data are code wherever they stand; other names only when called.
    """
    module = name.partition(".")[0]
    return name not in PLAIN and (called or module in sys.stdlib_module_names)
