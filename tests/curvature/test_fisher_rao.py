"""The Fisher-Rao norm: definition, closed form, where they agree and where they do not."""

import pytest
import torch
from torch import nn

from sharpaudit.curvature.fisher_rao import fisher_rao, fisher_rao_paper, num_layers
from sharpaudit.curvature.objective import Objective
from tests.cases import Case, case, mlp


def network(*, bias: bool) -> Case:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = mlp(nn.ReLU, bias=bias).double()
    return case("mlp-relu")._replace(module=module)


def norms(c: Case) -> tuple[float, float]:
    o = Objective(*c, batch_size=3)
    return fisher_rao(o).value, fisher_rao_paper(o.logits(), o.labels, num_layers(c.module)).value


def test_it_is_the_root_mean_square_of_theta_times_the_gradient_of_each_example() -> None:
    c = case("attention")
    squares = []
    for image, label in zip(c.inputs, c.labels, strict=True):
        loss = nn.functional.cross_entropy(c.module(image[None]), label[None])
        gradients = torch.autograd.grad(loss, list(c.module.parameters()))
        squares.append(sum((g * p).sum().item() for g, p in zip(gradients, c.module.parameters(), strict=True)) ** 2)
    found = fisher_rao(Objective(*c, batch_size=3))
    assert found.squares.tolist() == pytest.approx(squares)
    assert found.value == pytest.approx((sum(squares) / 7) ** 0.5)


def test_closed_form_is_exact_without_biases_but_for_the_papers_factor() -> None:
    """Three layers: the definition has the factor 3, the paper's code 4."""
    definition, paper = norms(network(bias=False))
    assert paper == pytest.approx(definition * 4 / 3, rel=1e-12)


def test_closed_form_fails_with_biases() -> None:
    definition, paper = norms(network(bias=True))
    assert abs(paper * 3 / 4 - definition) > 0.1 * definition


def test_rescaling_a_relu_layer_changes_nothing() -> None:
    c = network(bias=False)
    before = norms(c)
    with torch.no_grad():
        c.module[1].weight.mul_(5)  # type: ignore[index]  # a Sequential
        c.module[3].weight.div_(5)  # type: ignore[index]  # a Sequential
    assert norms(c) == pytest.approx(before, rel=1e-12)


def test_a_shift_of_the_logits_changes_nothing() -> None:
    logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1])
    shifted = fisher_rao_paper(logits.double() + 7, labels, 3).value
    assert shifted == pytest.approx(fisher_rao_paper(logits.double(), labels, 3).value, rel=1e-12)


def test_layers_on_shortcuts_count() -> None:
    assert num_layers(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Linear(1, 1), nn.Embedding(2, 2))) == 3
