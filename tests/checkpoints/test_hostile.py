"""Nothing in the hostile corpus runs, allocates or lasts; each file ends in its refusal."""

import codecs
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sharpaudit.checkpoints import load, zoo
from sharpaudit.errors import SharpauditError
from tests.checkpoints.hostile import CODE, CORPUS

FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "subprocess",
    "socket",
    "exec",
    "compile",
    "pickle",
    "ctypes",
)
"""Beginnings of audit events that no file may cause."""

_watching: list[list[str]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and (event.startswith(FORBIDDEN) or (event == "open" and str(arguments[1]) not in ("r", "rb", "None"))):
        _watching[-1].append(f"{event} {arguments!r:.100}")


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[str]]:
    """The forbidden events while the block runs."""
    events: list[str] = []
    _watching.append(events)
    try:
        yield events
    finally:
        _watching.pop()


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import everything that loading imports, so that only the file can cause an import afterwards."""
    import torch

    for codec in ("raw_unicode_escape", "utf_8_sig", "latin_1"):
        codecs.lookup(codec)
    path = tmp_path_factory.mktemp("warm") / "weights.pth"
    torch.save(zoo.build("digits_cnn").state_dict(), path)
    load(path)


def test_the_hook_sees_what_it_must(tmp_path: Path) -> None:
    with watched() as events:
        (tmp_path / "x").write_text("x")
    assert events


@pytest.mark.parametrize("name", CORPUS)
def test_is_refused_and_runs_nothing(name: str, tmp_path: Path) -> None:
    case = CORPUS[name]
    canary = tmp_path / "canary"
    path = tmp_path / case.name
    path.write_bytes(case.data(canary))
    modules = set(sys.modules)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with watched() as events, pytest.raises(SharpauditError) as caught:
        load(path)
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 512 * 1024
    assert not events
    assert not canary.exists()
    assert set(sys.modules) == modules
    assert (caught.value.exit_code, case.says in str(caught.value)) == (case.exit_code, True), str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", CODE)
def test_allow_inert_still_runs_nothing(name: str, tmp_path: Path) -> None:
    case = CODE[name]
    canary = tmp_path / "canary"
    path = tmp_path / case.name
    path.write_bytes(case.data(canary))
    with watched() as events, pytest.raises(SharpauditError) as caught:
        load(path, allow_inert=True)
    assert not events
    assert not canary.exists()
    assert "--allow-inert" not in str(caught.value)
