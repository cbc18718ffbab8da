"""Exports: what another program reads back is what the card holds."""

import csv as reader
import re
from io import StringIO
from posixpath import normpath

import pytest
import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

from sharpaudit.card import Card, Measured
from sharpaudit.report.export import COLUMNS, csv, mlflow, model_card
from tests.report import cards


def rows(text: str) -> list[dict[str, str]]:
    return list(reader.DictReader(StringIO(text)))


def test_csv_has_every_measurement_with_full_precision(full: Card) -> None:
    found = {row["name"]: row for row in rows(csv([full]))}
    assert list(found) == [m.name for m in full.measurements]
    for m in full.measurements:
        row = found[m.name]
        assert row["status"] == m.status
        if isinstance(m, Measured):
            assert float(row["value"]) == m.value
            assert (row["low"], row["high"]) == ((repr(m.ci.low), repr(m.ci.high)) if m.ci else ("", ""))
            assert int(row["n"]) == m.n
        else:
            assert row["value"] == ""
            assert row["reason"] == m.reason


def test_csv_of_several_cards_has_one_header() -> None:
    text = csv(cards.fleet(3))
    assert text.count("sha256") == 1
    assert len(rows(text)) == 3 * len(cards.full().measurements)


def test_no_cell_is_a_formula_and_no_line_a_command(hostile: Card) -> None:
    text = csv([hostile])
    for row in reader.reader(StringIO(text)):
        assert len(row) == len(COLUMNS)
        for cell in row:
            assert cell.isprintable() or cell == ""
            assert not cell.startswith(("=", "+", "@", "\t", "\r"))
            assert not cell.startswith("-") or re.fullmatch(r"-[\d.e+-]+", cell)
    assert not any(line.startswith("::") or "##[" in line for line in text.split("\n"))


def test_model_card_has_a_valid_model_index(full: Card) -> None:
    _, front, body = model_card(full).split("---\n", 2)
    metadata = yaml.safe_load(front)
    name, results = model_index_to_eval_results(metadata["model-index"])
    assert name == "resnet20-cifar10"
    by_type = {result.metric_type: result for result in results}
    assert by_type["accuracy"].metric_value == 0.915
    assert (by_type["accuracy"].metric_args or {})["n"] == 1000
    assert by_type["calibration.ece"].metric_value == 0.0391
    assert {"flatness.fisher_rao", "corruption.accuracy"} <= by_type.keys()
    assert all(result.task_type == "image-classification" for result in results)
    assert body.strip().startswith("sharpaudit: `resnet20-cifar10.safetensors`")


def test_model_card_keeps_foreign_text_in_its_place(hostile: Card) -> None:
    front = model_card(hostile).split("---\n", 2)[1]
    metadata = yaml.safe_load(front)
    assert metadata.keys() == {"tags", "model-index"}
    assert set(metadata["model-index"][0]) == {"name", "results"}


MLFLOW_NAME = re.compile(r"[\w./ -]{1,250}", re.ASCII)
"""What MLflow takes as the name of a metric or parameter (mlflow.utils.validation)."""


def test_mlflow_takes_every_number(full: Card) -> None:
    document = mlflow(full)
    assert set(document) == {"metrics", "params", "tags"}
    for m in full.measurements:
        if isinstance(m, Measured):
            assert document["metrics"][m.name] == m.value
            assert document["metrics"].get(f"{m.name}.low") == (m.ci.low if m.ci else None)
        else:
            assert m.name not in document["metrics"]
    assert document["params"]["data"] == full.data.name and document["tags"]["sharpaudit.checkpoint"] == full.subject.file


@pytest.mark.parametrize("payload", ["::error::x", "a\nb", "x" * 1000, "\x1b[31m", "../../etc", "/", "a//b/", "naïve"])
def test_mlflow_refuses_no_name_of_ours(payload: str) -> None:
    document = mlflow(cards.hostile(payload))
    for part in document.values():
        assert all(MLFLOW_NAME.fullmatch(name) and normpath(name) == name and name[0] not in "./" for name in part)
    assert all(isinstance(value, float | int) for value in document["metrics"].values())
    assert all(text.isprintable() and len(text) <= 500 for part in ("params", "tags") for text in document[part].values())


@pytest.mark.parametrize("payload", ["=1+1", "+1", "-1", "@x"])
def test_formulas_are_quoted(payload: str) -> None:
    assert rows(csv([cards.hostile(payload)]))[0]["file"] == f"'{payload}"
