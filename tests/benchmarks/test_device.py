"""The benchmark of a GPU runs to its end on any machine, says that it had none, and notices what is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from sharpaudit.curvature.objective import Objective
from tests.benchmarks import device
from tests.benchmarks.timing import RESULTS


def test_corruptions_and_an_audit_in_miniature(capsys: pytest.CaptureFixture[str]) -> None:
    before = kept()
    device.main("tiny", "corruptions_32", "audit_resnet20")
    out = capsys.readouterr().out
    assert "motion_blur" in out and "of a bare loop" in out and "12 images" in out
    assert out.endswith("Every number is right.\n")
    assert kept() == before, "a rehearsal keeps nothing"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the peers
def test_all_of_it_in_miniature(capsys: pytest.CaptureFixture[str]) -> None:
    device.main("tiny")
    out = capsys.readouterr().out
    assert out.count("One Hessian product") == 4 and out.endswith("Every number is right.\n")


@pytest.mark.filterwarnings("ignore")  # of the peers
def test_wrong_numbers_end_in_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = Objective.hvp
    monkeypatch.setattr(device, "peers", lambda c: iter(()))
    monkeypatch.setattr(Objective, "hvp", lambda self, v: 1.01 * right(self, v))
    with pytest.raises(SystemExit, match=r"1 wrong: resnet20: our product is 1\.0e-02 off"):
        device.main("tiny", "product_resnet20")
    assert "gradient " in capsys.readouterr().out, "it goes on to the end"


def test_the_share_of_time_in_which_a_device_was_busy() -> None:
    with device.Busy(lambda: False) as always:
        time.sleep(0.05)
    with device.Busy(lambda: True) as never:
        time.sleep(0.05)
    assert (always.share, never.share) == (1.0, 0.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    device.main("corruptions_32")
    assert capsys.readouterr().out.startswith("no GPU: a rehearsal on the CPU, whose times mean nothing\n")


def kept() -> dict[Path, float]:
    return {path: path.stat().st_mtime for path in RESULTS.iterdir()}
