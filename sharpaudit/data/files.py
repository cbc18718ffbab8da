"""Is this path a plain file we may read, and where is it? Checks made before any byte of a foreign file is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

from sharpaudit import files
from sharpaudit.errors import DataError, UnsafeInput, clean, closest
from sharpaudit.request import Reading


def open_regular(path: Path) -> BufferedReader:
    """The file at `path`, opened once, or the reason why it cannot be.

    Raises:
        DataError: missing, a folder, unreadable, empty.
        UnsafeInput: a FIFO, device or socket; it is never waited for.
    """
    try:
        file = files.open_regular(path)
    except FileNotFoundError as error:
        raise missing(path) from error
    except IsADirectoryError as error:
        raise DataError(f"expected a file, got the folder '{clean(path.name)}'", hint="imagefolder:PATH reads folders") from error
    except OSError as error:
        raise DataError(f"cannot read '{clean(path.name)}': {error.strerror}", hint="check its permissions") from error
    if not file.peek(1):
        file.close()
        raise DataError(f"'{clean(path.name)}' has 0 bytes", hint="fetch it again")
    return file


def read_text(path: Path, *, most: int) -> str:
    """The text of a small file; what is not UTF-8 in it is replaced. Errors are those of `read`."""
    return read(path, most=most).decode("utf-8", "replace")


def read(path: Path, *, most: int) -> bytes:
    """The bytes of a small file.

    Raises:
        DataError: as `open_regular`, or more than `most` bytes.
        UnsafeInput: as `open_regular`.
    """
    try:
        with open_regular(path) as file:
            return files.read_whole(file, most=most)
    except OSError as error:
        raise DataError(f"cannot read '{clean(path.name)}': {error.strerror}", hint="is this the right file?") from error


def named_path(text: str) -> Path:
    """The path a user typed, once the system can look it up; whether it is there is for the reader to say.

    Raises:
        DataError: a name no file system takes: too long, or with a NUL.
    """
    path = Path(text)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return path
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read '{clean(text)}': {clean(str(error))}", hint="check the path") from error
    return path


def check_link(entry: Path, root: Path, reading: Reading) -> None:
    """Refuse a link that leaves `root`, unless that was allowed, or leads nowhere.

    Raises:
        UnsafeInput: the link leaves the folder or loops.
    """
    if not entry.is_symlink():
        return
    try:
        entry.stat()
    except FileNotFoundError:
        return  # dangling: refused as missing when it is opened
    except OSError as error:
        raise UnsafeInput(
            f"the link '{clean(entry.name)}' cannot be followed: {error.strerror}", hint="remove the link"
        ) from error
    if not reading.follow_links and not entry.resolve().is_relative_to(root.resolve()):
        raise UnsafeInput(f"the link '{clean(entry.name)}' leaves the folder that was named", hint="--follow-links allows it")


def missing(path: Path) -> DataError:
    """The error for a path that is not there, with the nearest names beside it."""
    beside = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    near = ", ".join(clean(name) for name in closest(path.name, beside) or beside[:5])
    return DataError(f"'{clean(str(path))}' does not exist", hint=f"nearest: {near}" if near else "check the folder's name")


def find(names: Sequence[str], folders: Sequence[Path]) -> Path | None:
    """The first file or folder called one of `names` (glob patterns) in `folders`, in the order of both."""
    for folder in folders:
        for name in names:
            for path in sorted(folder.glob(name)):
                return path
    return None


def searched(name: str, folders: Sequence[Path]) -> str:
    """What to do about the set `name`, which is in none of `folders`: the hint of an error."""
    if folders:
        return f"searched: {', '.join(clean(str(folder)) for folder in folders)}; name another folder as {name}:FOLDER"
    return f"set SHARPAUDIT_DATA to the folder that holds it, or name that folder as {name}:FOLDER"


class Allowance:
    """How much may still be made of packed bytes: so many times what they weigh, and a bounded rest (`max_unpacked_bytes`).

    Deflate packs a thousand zeros into a byte, and a picture of one colour weighs next to nothing, so that a limit on what comes
    out alone lets a small file ask for all of it. Honest data of that kind are small, or the user says that they are honest.
    """

    def __init__(self, reading: Reading, *, times: int, rest: float = 1.0) -> None:
        self._times, self._left = times, int(reading.max_unpacked_bytes * rest)

    def weigh(self, packed: int) -> None:
        """Count `packed` bytes that are there."""
        self._left += self._times * packed

    def take(self, num_bytes: int, what: str) -> None:
        """Count bytes that are about to be made, before they are.

        Raises:
            UnsafeInput: more than is left.
        """
        if num_bytes > self._left:
            raise UnsafeInput(
                f"{what} would unpack to {num_bytes:,} bytes, at most {max(self._left, 0):,} are allowed for what it weighs",
                hint="store it unpacked, or raise --max-unpacked-bytes if you trust it",
            )
        self._left -= num_bytes


def within_budget(num_bytes: int, reading: Reading, what: str) -> None:
    """Refuse to allocate more than the budget.

    Raises:
        UnsafeInput: `num_bytes` is over ``reading.max_bytes``.
    """
    if num_bytes > reading.max_bytes:
        raise UnsafeInput(
            f"{what} declares {num_bytes:,} bytes, the limit is {reading.max_bytes:,}", hint="raise --max-bytes if you trust it"
        )
