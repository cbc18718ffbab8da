"""The whole comparison: what two models, and five, are said to be; what is refused; byte stability; the real checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sharpaudit.card import Card, Scalar, Table, codec
from sharpaudit.card.invariance import COLUMNS, TABLE
from sharpaudit.card.measures import in_words
from sharpaudit.comparison import Comparison, compare
from sharpaudit.errors import CardError, ExitCode
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.sources import source
from tests.comparison.cases import Audit, audit, measured

FISHER, LAMBDA = "flatness.fisher_rao", "sharpness.lambda_max"
REAL = Path(__file__).parents[3] / "shared" / "real"


def comparison(*audits: Audit, conditions: dict[str, str] | None = None) -> Comparison:
    return compare([a.card for a in audits], [a.views for a in audits], conditions=conditions)


def said(found: Comparison) -> str:
    return "\n".join(found.reading)


def test_two_models_side_by_side() -> None:
    a, b = audit(1, 1.5, flatness={"flatness.fisher_rao": 3.0}), audit(2, 3.0, flatness={"flatness.fisher_rao": 4.0})
    found = comparison(a, b)
    assert found.pair is not None and found.fleet is None
    first, second = a.views["clean"], b.views["clean"]
    shares = {m.name: m.value for m in found.pair.disagreement}
    assert shares["disagreement.rate"] == np.mean(first.prediction != second.prediction)
    assert shares["disagreement.negative_flips"] == np.mean(first.correct & ~second.correct)
    assert {view.view for view in found.pair.views} == set(a.views)
    assert "disagreement.rate/corruption" in shares
    words = {(q.flatness, q.safety): q.quadrant for q in found.pair.quadrants}
    assert words["flatness.fisher_rao", "clean.accuracy"] == "sharper and safer"
    assert "B is sharper and safer by Fisher-Rao norm, against " in said(found)
    assert "by itself it is neither good nor bad" in said(found)


def test_a_second_reading_of_a_measure_is_no_second_vote() -> None:
    values = {"flatness.fisher_rao": 3.0, "flatness.fisher_rao_paper": 3.0, "sharpness.trace": 2.0, "sharpness.trace_ggn": 2.0}
    found = comparison(audit(1, flatness=values), audit(2, flatness={name: 2 * value for name, value in values.items()}))
    assert "Of 2 flatness measures" in said(found)


def test_a_checkpoint_compared_with_itself_is_said_to_be_the_same() -> None:  # C60
    found = comparison(audit(1), audit(1))
    assert found.reading[0].startswith("A and B are the same checkpoint")
    assert found.pair is not None
    assert {row.difference for row in found.pair.differences} == {0.0}
    assert not comparison(audit(1), audit(2)).reading[0].startswith("A and B are the same checkpoint")


def test_the_other_quadrants() -> None:
    strong, weak = {"flatness.fisher_rao": 4.0}, {"flatness.fisher_rao": 3.0}
    cases = [
        (audit(1, 3.0, flatness=weak), audit(2, 1.5, flatness=strong), "sharper and less safe"),
        (audit(1, 1.5, flatness=strong), audit(2, 3.0, flatness=weak), "flatter and safer"),
        (audit(1, 3.0, flatness=strong), audit(2, 1.5, flatness=weak), "flatter and less safe"),
        (audit(1, 3.0, flatness=weak), audit(1, 3.0, flatness=strong), "undecided"),
    ]
    for a, b, word in cases:
        found = comparison(a, b)
        assert found.pair is not None
        assert {q.quadrant for q in found.pair.quadrants if q.safety == "clean.accuracy"} == {word}
    assert "No flatness measure and safety metric differ clearly enough" in said(found)


def test_raw_scales_are_cautioned_about() -> None:
    a, b = audit(1), audit(2)
    text = said(comparison(a, b))
    assert "leaves Fisher-Rao norm alone" in text
    assert "It moves Largest curvature λ max: raw scales cannot be compared across reparametrisations" in text
    assert "architectures differ" not in text
    other = b.card.model_copy(update={"subject": b.card.subject.model_copy(update={"architecture": "zoo:\x1b[31mwide"})})
    text = said(comparison(a, Audit(other, b.views)))
    assert "The architectures differ (zoo:small, zoo:\\x1b[31mwide)" in text and "\x1b" not in text


def test_what_was_tried_on_both_networks_goes_before_theory() -> None:
    def tried(seed: int, fisher: str, lambda_max: str) -> Audit:
        rows: list[list[Scalar]] = [
            [name, 1.0, 1.0, 1.0, 1.0, verdict, ""] for name, verdict in [(FISHER, fisher), (LAMBDA, lambda_max)]
        ]
        return audit(seed, tables={TABLE: Table(columns=list(COLUMNS), rows=rows)})

    for a, b, invariant in [
        (("invariant", "not invariant"), ("invariant", "not invariant"), {FISHER}),
        (("invariant", "invariant"), ("invariant", "not invariant"), {FISHER}),
        (("not invariant", "invariant"), ("invariant", "invariant for whole layers"), {LAMBDA}),
        (("not tested", "not tested"), ("invariant", "invariant"), {FISHER}),
    ]:
        found = comparison(tried(1, *a), tried(2, *b))
        assert found.pair is not None
        assert {q.flatness for q in found.pair.quadrants if q.invariant} == invariant
    text = said(comparison(tried(1, "invariant", "not invariant"), tried(2, "invariant", "not invariant")))
    assert f"with no change to their logits, left {in_words(FISHER)} alone" in text
    assert f"It moved {in_words(LAMBDA)}: raw scales cannot be compared" in text
    half = comparison(tried(1, "not invariant", "invariant"), audit(2))
    assert half.pair is not None and {row.rescaling for row in half.pair.differences} == {None}
    assert f"leaves {in_words(FISHER)} alone" in said(half)


def test_class_names_cannot_speak_to_the_terminal() -> None:
    hostile = ["\x1b[31mcat", "d\nog", "eel", "fox"]
    names = [f"clean.accuracy/class/{label}" for label in hostile]
    cards, views = [], []
    for each in (audit(1, 3.0), audit(2, 1.0)):
        found = [(name, source(name, each.views, hostile)) for name in names]
        measurements = [measured(name, behind.value, direction="higher") for name, behind in found if behind]
        data = each.card.data.model_copy(update={"classes": hostile})
        cards.append(each.card.model_copy(update={"data": data, "measurements": measurements}))
        views.append(each.views)
    text = "".join(compare(cards, views).reading)
    assert text.isprintable() and "B is worse in Accuracy, class \\x1b[31mcat; Accuracy, class d\\nog" in text


def test_examples_that_changed_most() -> None:
    a, b = audit(1), audit(2)
    found = comparison(a, b)
    assert found.pair is not None
    change = b.views["clean"].nll - a.views["clean"].nll
    assert [c.index for c in found.pair.changed] == list(np.argsort(-np.abs(change))[:10])
    top = found.pair.changed[0]
    assert top.nll_change == pytest.approx(change[top.index]) and top.label in a.card.data.classes
    itself = comparison(a, a).pair
    assert itself is not None and itself.changed == []


def test_cards_alone_can_be_compared() -> None:
    a, b = audit(1), audit(2)
    found = compare([a.card, b.card], [{}, {}])
    assert found.pair is not None
    assert found.pair.mcnemar_p is None and found.pair.disagreement == [] and found.pair.changed == []
    assert {row.name for row in found.pair.differences} == {m.name for m in a.card.measurements}


def test_incomparable_cards_are_refused_field_by_field() -> None:
    a, b = audit(1), audit(2)
    data = b.card.data.model_copy(update={"index_hash": "sha256:other", "n": 199})
    probes = {**b.card.probes, "spectrum": b.card.probes["spectrum"].model_copy(update={"version": 2})}
    other = b.card.model_copy(update={"data": data, "seed": 7, "probes": probes})
    with pytest.raises(CardError) as refused:
        compare([a.card, other], [a.views, b.views])
    assert refused.value.exit_code == ExitCode.INPUT
    for line in (
        "cannot be compared with model1.th",
        "model2.th: data.n: 200 against 199",
        "data.index_hash: sha256:data against sha256:other",
        "seed: 0 against 7",
        "probes.spectrum.version: 1 against 2",
    ):
        assert line in refused.value.message
    assert refused.value.hint == "measure all of them on the same data with the same seed and version"
    with pytest.raises(CardError, match="needs at least two cards, got 1"):
        compare([a.card], [a.views])


def test_a_copy_of_the_data_under_another_name_is_the_same_data() -> None:
    a, b = audit(1), audit(2)
    renamed = b.card.model_copy(update={"data": b.card.data.model_copy(update={"name": "copy"})})
    assert compare([a.card, renamed], [a.views, b.views]).pair is not None


def test_predictions_of_other_examples_are_refused() -> None:
    a, b = audit(1), audit(2, n=150)
    card = b.card.model_copy(update={"data": a.card.data})
    with pytest.raises(CardError, match=r"stored predictions do not fit together: model2.th saw other examples"):
        compare([a.card, card], [a.views, b.views])


def test_models_of_one_name_are_told_apart() -> None:
    a, b = audit(1), audit(2)
    renamed = b.card.model_copy(update={"subject": b.card.subject.model_copy(update={"file": "model1.th"})})
    assert [m.label for m in compare([a.card, renamed], [{}, {}]).models] == ["model1.th (00000000)" + f" #{i}" for i in (1, 2)]
    hashed = renamed.model_copy(update={"subject": renamed.subject.model_copy(update={"sha256": "ff" * 32})})
    assert [m.label for m in compare([a.card, hashed], [{}, {}]).models] == ["model1.th (00000000)", "model1.th (ffffffff)"]


def test_the_document_is_byte_stable_and_reads_back() -> None:
    a, b = audit(1), audit(2)
    texts = [codec.dumps(comparison(a, b).model_dump(mode="json")) for _ in range(2)]
    assert texts[0] == texts[1]
    document = json.loads(texts[0])
    assert document["schema"] == "sharpaudit.comparison/1.0"
    assert Comparison.model_validate(document) == comparison(a, b)


def test_five_models() -> None:
    audits = [audit(i, 1.0 + 0.5 * i, flatness={"flatness.fisher_rao": 1.0 + i}) for i in range(5)]
    found = comparison(*audits)
    assert found.pair is None and found.fleet is not None
    rates, kappas = np.array(found.fleet.disagreement), np.array(found.fleet.error_consistency)
    assert np.array_equal(rates, rates.T) and np.array_equal(np.diag(rates), np.zeros(5))
    assert np.array_equal(np.diag(kappas), np.ones(5)) and rates[0, 4] > rates[3, 4]
    board = found.fleet.leaderboard
    accuracies = [row.values["clean.accuracy"] for row in board]
    assert accuracies == sorted(accuracies, reverse=True) and board[0].p_against_first is None
    assert board[-1].p_against_first is not None and board[-1].p_against_first < 1e-6
    tau = next(row for row in found.fleet.associations if row.safety == "clean.nll")
    assert tau.kendall == pytest.approx(-1) and tau.kendall_p == pytest.approx(2 / 120)
    assert tau.within is None and tau.reason == "no correlation within conditions: the conditions are not known"
    assert tau.p_adjusted is not None and tau.p_adjusted >= 2 / 120
    assert "may reverse within a training recipe: no correlation within conditions: the conditions are not known" in said(found)


@pytest.mark.parametrize(
    ("count", "words"), [(2, "How often they disagree is not known"), (3, "Which of them agree is not known")]
)
def test_runs_without_predictions_say_so(count: int, words: str) -> None:
    audits = [audit(i, 1.0 + i) for i in range(count)]
    assert words in said(compare([a.card for a in audits], [{} for _ in audits]))
    assert words not in said(comparison(*audits))


def test_four_models_get_no_correlation() -> None:
    found = comparison(*(audit(i, 1.0 + i) for i in range(4)))
    assert found.fleet is not None
    assert {row.kendall for row in found.fleet.associations} == {None}
    assert {row.reason for row in found.fleet.associations} == {"4 models; a rank correlation needs at least 5"}
    assert "No rank correlation of flatness with safety: 4 models" in said(found)


def test_simpsons_paradox_is_called_by_its_name() -> None:
    # within a recipe the sharper model is the more accurate one; the recipe with the sharper minima is the less accurate one
    audits = [audit(i, 2.2 + 0.4 * i, flatness={"flatness.fisher_rao": 10.0 + i}) for i in range(3)]
    audits += [audit(10 + i, 0.4 + 0.4 * i, flatness={"flatness.fisher_rao": 20.0 + i}) for i in range(3)]
    conditions = {f"model{i}.th": "plain" for i in range(3)} | {f"model{10 + i}.th": "sam" for i in range(3)}
    found = comparison(*audits, conditions=conditions)
    assert found.fleet is not None
    row = next(row for row in found.fleet.associations if row.safety == "clean.nll")
    assert row.kendall is not None and row.within is not None and row.kendall > 0 > row.within and row.simpson
    assert "Simpson's paradox or chance: in " in said(found) and "in none do both intervals exclude 0" in said(found)


def test_simpsons_paradox_is_certain_where_both_correlations_are() -> None:
    # six recipes, sharper and worse from one to the next; within each but the first two models the sharper is the better
    ranks = [(recipe, i) for recipe in range(6) for i in range(4)]
    audits = [
        audit(4 * r + i, 0.5 + 0.5 * r - 0.1 * (i if (r, i) != (0, 0) else 1.5), flatness={"flatness.fisher_rao": 10.0 * r + i})
        for r, i in ranks
    ]
    found = comparison(*audits, conditions={f"model{4 * r + i}.th": f"recipe {r}" for r, i in ranks})
    assert "Simpson's paradox: in " in said(found) and "both intervals exclude 0, and the pooled number" in said(found)


def test_a_measure_that_does_not_vary_is_said_so() -> None:
    found = comparison(*(audit(i, 1.0 + i, flatness={"sharpness.trace": 2.0}) for i in range(5)))
    assert found.fleet is not None
    assert {row.reason for row in found.fleet.associations} == {"sharpness.trace is the same for all 5 models"}


def real_predictions(file: str) -> Predictions:
    import torch

    from sharpaudit.checkpoints import load

    model = load(REAL / "ckpt" / file, architecture="zoo:resnet20")
    with np.load(REAL / "data" / "cifar10_test1000_lossless.npz") as data:
        images, labels = torch.tensor(data["images"]), data["labels"]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        logits = model.module(((images / 255 - mean) / std).permute(0, 3, 1, 2))
    return Predictions.from_logits(logits.numpy(), labels)


@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="the real checkpoints are not beside the repository")
def test_real_checkpoints_disagree_as_published() -> None:
    files = ["akamaster_resnet20-12fca82f.th", "zhengjiakun_resnet20_model.th", "chelcacs_resnet20_undertrained.th"]
    first, *others = [real_predictions(file) for file in files]

    def card(predictions: Predictions) -> Card:
        base = audit(0).card
        classes = [str(k) for k in range(10)]
        return base.model_copy(update={"data": base.data.model_copy(update={"n": 1000, "classes": classes}), "measurements": []})

    for other, disagreements, right in zip(others, (90, 387), (910, 615), strict=True):
        found = compare([card(first), card(other)], [{"clean": first}, {"clean": other}])
        assert found.pair is not None
        (view,) = found.pair.views
        assert view.disagreements == disagreements
        assert view.positive_flips - view.negative_flips == right - 915
