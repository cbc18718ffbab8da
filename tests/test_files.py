"""What is not a regular file is never opened or waited for, and no more is read than was stated and allowed."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sharpaudit import files
from sharpaudit.errors import UnsafeInput


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # the whole path may be longer than a socket's name can be


SPECIAL: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "socket": listening,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_only_regular_files_are_opened(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SPECIAL[kind](tmp_path / "x")
    for path in (tmp_path / "x", Path("x")):
        with pytest.raises(UnsafeInput, match="not a regular file"):
            files.read(path, most=100)


def test_a_file_that_is_replaced_while_it_is_opened_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"regular")
    regular, opened = os.stat, os.open

    def replaced(*given: int | Path) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", replaced)
    with pytest.raises(UnsafeInput, match="not a regular file"):
        files.read(path, most=100)
    assert stat.S_ISFIFO(regular(path).st_mode)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (".", "Is a directory"),
        ("none", "No such file"),
        ("x/below", "Not a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("a\0b", "not the name of a file"),
        ("a\ud800b", "not the name of a file"),
        ("a" * 300, "File name too long"),
        ("x", "5 bytes are more than the 4 it may have"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_the_system(name: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError) as caught:
        files.read(tmp_path / name, most=4)
    assert says in str(caught.value.strerror)


def test_a_size_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"hello")
    assert files.read(path, most=5) == b"hello"
    with files.open_regular(path) as file:
        path.write_bytes(b"hello, and more than was stated")
        assert files.read_whole(file, most=100) == path.read_bytes()
    with files.open_regular(path) as file:
        file.read(1)  # less is left than the file states
        with pytest.raises(OSError, match="changed while being read"):
            files.read_whole(file, most=100)
    status = Path("/proc/self/status")
    if status.exists():  # states 0 bytes and has a thousand
        with pytest.raises(OSError, match="changed while being read"):
            files.read(status, most=10**6)
