"""Networks of any make from the command line: what froze them is said, and what cannot be measured is not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sharpaudit import store
from tests.cli.conftest import Command, Result

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(64, 6), nn.Linear(6, 10)
        self.body.requires_grad_(False)
        self.register_buffer("phases", torch.polar(torch.ones(4), torch.ones(4)))

    def forward(self, x):
        x = self.body(x.flatten(1))
        x = torch.fft.irfft(torch.fft.rfft(x) * self.phases, n=6)
        return self.head(x.tanh())


class Mixed(Net):
    def forward(self, x):
        z = super().forward(x)
        return z - z.mean(0)


class Headless(Net):
    def __init__(self):
        super().__init__()
        self.head.requires_grad_(False)


def headless():
    return Headless()


def net():
    return Net()


def mixed():
    return Mixed()
"""


@pytest.fixture
def measure(run: Command, tmp_path: Path) -> Command:
    """Audits a network of `SOURCE`, by name, on the digits."""
    scope: dict[str, type[torch.nn.Module]] = {}
    exec(SOURCE, scope)
    torch.manual_seed(0)
    torch.save(scope["Net"]().state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.py").write_text(SOURCE)

    def command(name: str, *arguments: str | Path) -> Result:
        fed = ("--mean", "0", "--std", "1", "--input-size", "1,8,8", "--data", "digits", "--limit", "60")
        return run("measure", "net.pt", "--arch", f"net.py:{name}", "--allow-code", *fed, "-o", name, *arguments)

    return command


def test_the_card_says_whether_frozen_parameters_count(measure: Command, tmp_path: Path) -> None:
    """Of 472 parameters 390 are frozen; the spectrum has as many eigenvalues as parameters that count."""
    for arguments, counted, words in (
        ((), 460, "460, 390 of them frozen and, in curvature and perturbations, counted like the others"),
        (("--trainable-only",), 70, "460, 390 of them frozen and, in curvature and perturbations, held constant"),
    ):
        done = measure("net", "--probes", "spectrum", "--set", "spectrum.soft_rank_starts=2", "--force", *arguments)
        assert done.code == 0, done.err
        assert words in " ".join(done.out.split())
        card = store.load_run(tmp_path / "net").card
        rank = card.measured("sharpness.soft_rank")
        assert rank is not None and rank.options["parameters"] == counted
        assert card.subject.num_frozen == 390
        assert card.probe_set is not None and card.probe_set.trainable_only == bool(arguments)


def test_a_frozen_last_layer_has_no_flatness_of_its_own(measure: Command, tmp_path: Path) -> None:
    assert measure("headless", "--probes", "relative_flatness", "--trainable-only").code == 0
    found = store.load_run(tmp_path / "headless").card.find("flatness.relative_trace")
    assert found is not None and found.status == "skipped" and "the last layer is frozen" in found.reason


def test_what_failed_makes_the_exit_code_6_and_the_last_line_says_so(measure: Command) -> None:
    for arguments in ((), ("--json",)):
        done = measure("mixed", "--probes", "accuracy,fisher_rao,relative_flatness", *arguments)
        assert done.code == 6
        *_, reason, last = done.err.splitlines()
        assert reason.startswith("not measured: fisher_rao: the network cannot be measured: an image's logits depend on")
        assert last == "incomplete: fisher_rao; exit code 6"
