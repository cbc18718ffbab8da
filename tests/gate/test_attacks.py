"""Attacks on the gate with a release that is bad: edited cards, tricks of YAML, and folders that are not what they seem.

Whoever attacks knows the formats and can compute every digest, but leaves the predictions as the network made them. The oracle is
the truth: the numbers of the honest audit lie beyond the limit, so no attack may end in 0.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sharpaudit
from sharpaudit import store
from sharpaudit.card import Measured
from sharpaudit.errors import CardError, ExitCode, SharpauditError
from sharpaudit.gate import judge, judge_run
from sharpaudit.gate.policy import parse
from sharpaudit.gate.starter import starting_policy
from sharpaudit.metrics.verification import DRAWN
from tests.cli.conftest import DEMO
from tests.gate.test_edits import sealed
from tests.seed import AGAIN, SEED

TODAY = date(2026, 6, 1)
FAR = 0.03
"""How far beyond the truth a limit lies, beside a fifth of the number."""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a network whose weights were spoiled."""
    folder = tmp_path_factory.mktemp("bad")
    source, rng = DEMO / "baseline-seed0.safetensors", np.random.default_rng(0)
    spoiled = {name: v + rng.normal(scale=0.25, size=v.shape).astype(v.dtype) for name, v in sorted(load_file(source).items())}
    save_file(spoiled, folder / "net.safetensors")
    cells = {"corruption": {"cells": ("fog/5", "contrast/3")}, "calibration": {"floor_draws": 50}}
    probes = "accuracy,calibration,corruption"
    found = sharpaudit.measure(  # a check of the set-up would flag it, and then nothing passes
        folder / "net.safetensors", "digits", probes=probes, options=cells, limit=120, setup_check=False
    )
    store.save_run(folder, found)
    return folder


Attack = Callable[[Any, Any, random.Random], None]
"""Changes a card; the measurement that is judged; where to draw from."""


def failing(card: Any, chance: random.Random, first: Attack) -> tuple[str, str]:
    """A measurement of the card with a better direction, and a policy whose limit its true number does not meet."""
    usual = [m for m in card["measurements"] if m["status"] == "measured" and m["direction"] != "none"]
    if first is another_version and chance.random() < 0.7:  # what is drawn may differ there
        usual = [m for m in usual if m["name"] in DRAWN]
    while True:
        m = chance.choice(usual)
        far = FAR + abs(m["value"]) / 5
        limit = m["value"] + far if m["direction"] == "higher" else m["value"] - far
        test = chance.choice(["point", "bound"]) if m["ci"] else "point"
        rule = f"metric: '{m['name']}', {'min' if m['direction'] == 'higher' else 'max'}: {limit:.6f}, test: {test}"
        try:
            text = f"schema: sharpaudit.policy/1\nrequire_predictions: true\nrules: [{{{rule}}}]\n"
            parse(text.encode(), source="policy")
        except SharpauditError:  # no number is so good
            continue
        return m["name"], text


def good_value(m: Any) -> float:
    return 1.0 if m["direction"] == "higher" else 0.0


def a_better_value(card: Any, m: Any, chance: random.Random) -> None:
    m["value"] = chance.choice([good_value(m), m["value"] + (0.2 if m["direction"] == "higher" else -0.2), 1e308, -1e308])
    if m["ci"] and chance.random() < 0.7:
        m["ci"] |= {"low": m["value"] - 1e-3, "high": m["value"] + 1e-3}


def a_better_interval(card: Any, m: Any, chance: random.Random) -> None:
    if m["ci"]:
        m["ci"] |= {"low": m["value"], "high": m["value"]}
        m["ci"]["level"] = chance.choice([0.95, 0.5, 1 - 2**-53, 2**-1000, 1.0, 0.9999999])


def another_version(card: Any, m: Any, chance: random.Random) -> None:
    card["environment"]["versions"] |= {chance.choice(["numpy", "sharpaudit"]): "0.0.1"}
    m["value"] += (1 if m["direction"] == "higher" else -1) * chance.choice([0.25, 0.2, 0.1])
    if m["ci"]:
        m["ci"] |= {"low": m["value"] - 0.01, "high": m["value"] + 0.01}


def other_options(card: Any, m: Any, chance: random.Random) -> None:
    m["options"] |= {chance.choice(["bins", "smallest_bin", "smallest_class", "floor_draws"]): chance.choice([1, 2, 10**9, -1])}
    a_better_value(card, m, chance)


def another_name(card: Any, m: Any, chance: random.Random) -> None:
    card["measurements"].append(copy.deepcopy(m))
    m["name"] += chance.choice([" ", "x", "\u200b", "/fog/1", "."])
    a_better_value(card, card["measurements"][-1], chance)


def twice(card: Any, m: Any, chance: random.Random) -> None:
    card["measurements"].insert(chance.randrange(2) * len(card["measurements"]), copy.deepcopy(m))
    a_better_value(card, card["measurements"][0], chance)


def another_probe(card: Any, m: Any, chance: random.Random) -> None:
    card["probes"]["other"] = {"status": "measured", "version": 1, "options": {}, "distribution": None, "reason": None}
    m |= {"probe": "other", "version": 1}
    a_better_value(card, m, chance)


def a_newer_schema(card: Any, m: Any, chance: random.Random) -> None:
    card["schema"] = chance.choice(
        ["sharpaudit.card/1.2", "sharpaudit.card/1.9999", "sharpaudit.card/1.0", "sharpaudit.card/2.0"]
    )
    a_better_value(card, m, chance)


def another_direction(card: Any, m: Any, chance: random.Random) -> None:
    m |= {"direction": {"higher": "lower", "lower": "higher"}[m["direction"]], "unit": "1"}
    a_better_value(card, m, chance)


def a_huge_number(card: Any, m: Any, chance: random.Random) -> None:
    m[chance.choice(["n", "iterations"])] = chance.choice([10**400, 2**63, 2**53 + 1])
    a_better_interval(card, m, chance)


def not_measured(card: Any, m: Any, chance: random.Random) -> None:
    kept = {"name": m["name"], "reason": "x", "probe": m["probe"], "version": m["version"]}
    m.clear()
    m |= kept | {"status": chance.choice(["skipped", "failed"])}


def not_run(card: Any, m: Any, chance: random.Random) -> None:
    if ran := card["probes"].get(m["probe"]):  # an earlier attack may have taken it away
        ran["status"] = chance.choice(["skipped", "failed"])
    if chance.random() < 0.5:
        card["probes"].pop(m["probe"], None)
    a_better_value(card, m, chance)


def no_predictions(card: Any, m: Any, chance: random.Random) -> None:
    card["predictions"] = None
    a_better_value(card, m, chance)


ATTACKS: list[Attack] = [
    a_better_value, a_better_interval, another_version, other_options, another_name, twice, another_probe, a_newer_schema,
    another_direction, a_huge_number, not_measured, not_run, no_predictions,
]  # fmt: skip


def end_of(run: Path, policy: str) -> ExitCode:
    try:
        return judge_run(store.load_run(run), parse(policy.encode(), source="policy"), today=TODAY).exit_code
    except SharpauditError as error:
        return error.exit_code


def attacked(bad: Path, folder: Path, attacks: list[Attack], chance: random.Random) -> tuple[ExitCode, str]:
    """How the gate ends on the run after one or two attacks of the list, the first for certain."""
    honest = json.loads((bad / store.REPORT).read_text())
    name, policy = failing(honest, chance, attacks[0])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bad, folder)
    assert end_of(folder, policy) is not ExitCode.DONE, policy
    card = copy.deepcopy(honest)
    for attack in attacks[: chance.randint(1, 2)]:
        target = next((m for m in card["measurements"] if m["name"] == name and m["status"] == "measured"), None)
        if target is not None:
            attack(card, target, chance)
    (folder / store.REPORT).write_text(sealed(card))
    for lost in (store.COLUMNS,) * (chance.random() < 0.2):
        (folder / lost).unlink()
    return end_of(folder, policy), f"{policy} {[attack.__name__ for attack in attacks]} {AGAIN}"


@pytest.mark.parametrize("first", ATTACKS, ids=lambda attack: attack.__name__)
def test_no_edited_card_lets_a_bad_release_pass(first: Attack, bad: Path, tmp_path: Path) -> None:
    chance = random.Random(f"{first.__name__} {SEED}")
    for _ in range(8):
        code, how = attacked(bad, tmp_path / "run", [first, chance.choice(ATTACKS)], chance)
        assert code in (ExitCode.GATE_FAILED, ExitCode.INPUT, ExitCode.INCONCLUSIVE), how


@pytest.mark.slow
def test_no_edited_card_of_many_lets_a_bad_release_pass(bad: Path, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    for _ in range(3000):
        code, how = attacked(bad, tmp_path / "run", chance.choices(ATTACKS, k=2), chance)
        assert code in (ExitCode.GATE_FAILED, ExitCode.INPUT, ExitCode.INCONCLUSIVE), how


NUMBERS = [
    "0.9", ".9", "9e-1", "+0.9", "0.90", '"0.9"', "'0.9'", "0_9", "0.9_0", "0,9", "90%", "0.9f", "1:30", "0:54", ".inf", "-.inf",
    ".nan", "nan", "NaN", "inf", "1e400", "-1e400", "1e-400", "0o11", "011", "0x1", "0b1", "٠.٩", "０.９", "0．9", "−0.1", "-0.0",
    "~", "null", "yes", "true", "on", "!!float 0.9", "!!str 0.9", "&a 0.9", "*a", "<<:", "[0.9]", "{0.9: 1}", "9e99999999999",
    "00.9", "0.9.0", "1e+", "0.9e", "9E-1", "-.9", "1/2", "9٫0", "0.9\u200b", "\u00a00.9", "|0.9", ">-0.9", "?0.9", "@0.9",
]  # fmt: skip
PLACES = (
    "- {metric: clean.accuracy, min: X}", "- {metric: clean.accuracy, min: X, test: bound}",
    "- metric: clean.accuracy\n  min: 0.999\n  min: X", "- {metric: clean.accuracy, min: 0.999, severity: X}",
    "- {metric: clean.accuracy, min: 0.999, max: X}", "- {<<: {min: X}, metric: clean.accuracy, min: 0.999}",
    "- {metric: clean.accuracy, min: 0.999}\ndefaults: {confidence: X}",
    "- {metric: clean.accuracy, min: 0.999}\ndefaults: {on_missing: X, on_inconclusive: X}",
    "- {metric: clean.accuracy, min: 0.999}\nwaivers: [{rule: clean.accuracy, reason: X, owner: o, expires: 2026-05-31}]",
    "- {metric: clean.accuracy, min: 0.999}\nwaivers: [{rule: clean.accuracy, reason: r, owner: o, expires: X}]",
    "- {metric: clean.accuracy, min: 0.999}\n---\nX", "- {metric: clean.accuracy, min: 0.999}\nrules: X",
    "- {metric: clean.accuracy/class/X, min: 0.9}", "- {metric: corruption.accuracy/X/5, min: 0.999}",
    "- {metric: X, min: 0.999}", "- {metric: clean.accurаcy, min: X}", "- {metric: corruption.accuracy/*/7, min: X}",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_no_trick_of_yaml_lets_a_bad_release_pass(place: str, bad: Path) -> None:
    run = store.load_run(bad)
    truth = run.card.measured("clean.accuracy")
    assert isinstance(truth, Measured) and truth.ci is not None and truth.ci.low > 0.1 and truth.ci.high < 0.85
    decided = []
    for number in NUMBERS:
        text = f"schema: sharpaudit.policy/1\nrules:\n{place.replace('X', number)}\n"
        try:
            code = judge(run.card, parse(text.encode(), source="policy"), today=TODAY).exit_code
        except SharpauditError as error:
            code = error.exit_code
        assert code in (1, 2, 4, 6), (place, number)
        decided.append(code)
    assert place != PLACES[0] or {1, 2, 4} == set(decided), "numbers are told from what looks like them"


def test_no_folder_lets_a_bad_release_pass(bad: Path, tmp_path: Path) -> None:
    """What lies where the card and the predictions should be."""
    policy = "schema: sharpaudit.policy/1\nrules: [{metric: clean.accuracy, min: 0.99}]\n"
    (tmp_path / "link").symlink_to(bad)
    assert end_of(tmp_path / "link", policy) is ExitCode.GATE_FAILED
    makers: list[Callable[[Path], object]] = [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")]
    for name in (store.REPORT, store.COLUMNS):
        for number, make in enumerate(makers):
            folder = tmp_path / f"{name} {number}"
            shutil.copytree(bad, folder)
            (folder / name).unlink()
            make(folder / name)
            assert end_of(folder, policy) is ExitCode.INPUT, (name, number)


def test_a_policy_is_about_its_images_and_may_ask_for_predictions(bad: Path, tmp_path: Path) -> None:
    run = store.load_run(bad)
    rules = "rules: [{metric: clean.accuracy, min: 0.1}]\nschema: sharpaudit.policy/1\n"

    def code(text: str, folder: Path = bad, baseline: Path | None = None) -> int:
        policy, other = parse((rules + text).encode(), source="policy"), store.load_run(baseline) if baseline else None
        return judge_run(store.load_run(folder), policy, today=TODAY, baseline=other).exit_code

    assert code(f"data: '{run.card.data.index_hash}'") == code("require_predictions: true") == 0
    with pytest.raises(CardError, match="was measured on other images than the policy is about"):
        code(f"data: '{'0' * 64}'")
    shutil.copytree(bad, tmp_path / "run")
    (tmp_path / "run" / store.COLUMNS).unlink()
    assert [code(f"require_predictions: {each}", tmp_path / "run") for each in ("false", "true")] == [0, 6]
    assert [code(f"require_predictions: {each}", bad, tmp_path / "run") for each in ("false", "true")] == [0, 6]
    text = starting_policy(run.card, compare=False)
    assert f'data: "{run.card.data.index_hash}"' in text and "require_predictions: true" in text
    assert judge_run(run, parse(text.encode(), source="init"), today=TODAY).exit_code == 0
