"""Very many runs: the page stays one that opens, memory that of their numbers, and nothing is left out without a word."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sharpaudit import store
from sharpaudit.card import Measured
from sharpaudit.comparison import compare_many
from sharpaudit.errors import CardError
from sharpaudit.metrics import agreement
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.report.comparison import html, markdown, terminal
from sharpaudit.stats import mcnemar
from tests.comparison.test_pairs import audited, trained
from tests.seed import SEED

MIB = 2**20


@pytest.fixture(scope="module")
def base() -> store.Run:
    """A small measured run."""
    return audited(trained(0), ["accuracy", "calibration", "fisher_rao", "relative_flatness", "slices"])


def like(base: store.Run, number: int) -> store.Run:
    """The run of another model on the same images: other answers, and numbers that follow from them or were drawn."""
    rng = np.random.default_rng([SEED, number])
    clean = Predictions.from_columns(base.columns["clean"])
    assert clean.logits is not None
    answers = Predictions.from_logits(clean.logits + rng.normal(size=clean.logits.shape) * rng.uniform(0.1, 4), clean.labels)

    def changed(m: Measured) -> Measured:
        if m.name == "clean.accuracy":
            return m.model_copy(update={"value": float(answers.correct.mean()), "ci": None, "reason": "made up"})
        value = m.value * float(np.exp(rng.normal()))
        return m.model_copy(update={"value": value, "ci": None, "reason": "made up"}) if m.name.startswith("flat") else m

    subject = {"file": f"recipe{number % 8}-seed{number}.safetensors", "sha256": f"{number:064x}"}
    card = base.card.model_copy(
        update={
            "subject": base.card.subject.model_copy(update=subject),
            "measurements": [changed(m) if isinstance(m, Measured) else m for m in base.card.measurements],
        }
    )
    return store.Run.sealed(card, {"clean": answers.columns()})


def recipes(files: object) -> dict[str, str]:
    assert isinstance(files, list)
    return {file: file.partition("-")[0] for file in files}


def test_runs_are_taken_one_by_one_and_every_number_is_theirs(base: store.Run) -> None:
    kept: list[weakref.ref[np.ndarray]] = []

    def stream() -> Iterator[store.Run]:
        for number in range(60):
            assert sum(columns() is not None for columns in kept) <= 1, "only the last one is held"
            run = like(base, number)
            kept.append(weakref.ref(run.columns["clean"]["nll"]))
            yield run
            del run

    found = compare_many(stream(), recipes)
    assert found.fleet is not None and len(kept) == 60
    runs = [like(base, number) for number in range(60)]
    clean = [Predictions.from_columns(run.columns["clean"]) for run in runs]
    assert found.fleet.matrices_of == list(range(60))
    rng = np.random.default_rng(SEED)
    for i, j in rng.integers(60, size=(40, 2)):
        rate = float(agreement.disagrees(clean[i], clean[j]).mean())
        kappa = float(agreement.error_consistency(agreement.consistency_columns(clean[i], clean[j]).mean(axis=0)))
        assert found.fleet.disagreement is not None and found.fleet.disagreement[i][j] == pytest.approx(rate, abs=1e-12)
        assert found.fleet.error_consistency is not None
        assert found.fleet.error_consistency[i][j] == pytest.approx(kappa, abs=1e-9)
    shares = [row.values["clean.accuracy"] for row in found.fleet.leaderboard]
    assert shares == sorted(shares, reverse=True) and sorted(shares) == sorted(float(p.correct.mean()) for p in clean)
    best = next(i for i, model in enumerate(found.models) if model.label == found.fleet.leaderboard[0].label)
    last = next(i for i, model in enumerate(found.models) if model.label == found.fleet.leaderboard[-1].label)
    flips = [int(f(clean[best], clean[last]).sum()) for f in (agreement.negative_flips, agreement.positive_flips)]
    raw = mcnemar(*flips)
    assert raw <= (found.fleet.leaderboard[-1].p_against_first or 0.0) <= 59 * raw + 1e-12
    assert {row.n for row in found.fleet.associations} == {60} and any(row.within is not None for row in found.fleet.associations)


def test_what_is_left_out_is_said(base: store.Run) -> None:
    found = compare_many((like(base, number) for number in range(210)), recipes)
    assert found.fleet is not None
    page = html(found)
    assert len(page.encode()) < 2 * MIB and page.count("<svg") == 2
    for text in (page, " ".join(markdown(found).split()), " ".join(terminal(found).split())):
        assert "The first 100 of 210; comparison.json (--json) holds all." in text.replace("\\", "")
        assert "The 30 most accurate of 210; comparison.json (--json) holds 200." in text.replace("\\", "")
    assert len(found.fleet.leaderboard) == 210
    best = {row.label for row in found.fleet.leaderboard[:200]}
    assert {found.models[place].label for place in found.fleet.matrices_of} == best
    assert found.fleet.disagreement is not None and [len(row) for row in found.fleet.disagreement] == [200] * 200
    assert any(sentence.startswith("Of the 200 most accurate, ") for sentence in found.reading)
    assert len(found.reading) < 20 and all(len(sentence) < 600 for sentence in found.reading)


def test_a_run_that_does_not_belong_is_named_among_many(base: store.Run) -> None:
    runs = [like(base, number) for number in range(9)]
    other = [store.Run(run.card.model_copy(update={"seed": 7}), run.columns) for run in runs]
    with pytest.raises(
        CardError, match=r"compared with recipe0-seed0.*recipe1-seed1.safetensors: seed: 0 against 7; .*; and 3 more"
    ):
        compare_many([runs[0], *other[1:]], recipes)
    clean = runs[5].columns["clean"]
    strange = store.Run(runs[5].card, {"clean": {**clean, "labels": clean["labels"][::-1]}})
    with pytest.raises(CardError, match=r"do not fit together: recipe5-seed5.safetensors saw other examples"):
        compare_many([*runs[:5], strange], recipes)


@pytest.mark.slow
def test_a_thousand_runs_are_compared_in_bounded_memory(base: store.Run, tmp_path: Path) -> None:
    paths = [tmp_path / f"run{number:04}" for number in range(1000)]
    for number, path in enumerate(paths):
        store.save_run(path, like(base, number))
    code = (
        "import resource, sys; from sharpaudit.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    arguments = ["compare", *map(str, paths), "--conditions", "(.+)-seed", "-o", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    peak = int(re.findall(r"\d+", done.stderr)[-1]) / 1024
    page = (tmp_path / "out" / "comparison.html").stat().st_size / MIB
    print(f"1,000 runs: {peak:.0f} MiB, page {page:.2f} MiB")
    assert peak < 1500 and page < 2
    document = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(document["models"]) == len(document["fleet"]["leaderboard"]) == 1000
