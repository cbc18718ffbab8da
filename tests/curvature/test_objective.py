"""The objective against dense matrices of the whole batch, on ragged batches."""

import copy
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sharpaudit.checkpoints import zoo
from sharpaudit.curvature.network.differentiable import twice_differentiable
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.shards import bytes_held
from sharpaudit.device import Sizes
from sharpaudit.errors import ArchitectureError, DataError
from tests import oracles
from tests.cases import ARCHITECTURES, Case, case, real_resnet20

SMOOTH_ORACLE = sorted(set(ARCHITECTURES) - {"mlp-hardsigmoid"})
"""torch cannot differentiate hardsigmoid twice, so it has its own test."""


def objective(c: Case, batch_size: int = 3, within: Sizes | None = None) -> Objective:
    return Objective(c.module, c.inputs, c.labels, batch_size=batch_size, within=within)


def direction(o: Objective, seed: int = 5) -> torch.Tensor:
    return torch.randn(o.num_parameters, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(o.dtype)


@pytest.mark.parametrize("name", SMOOTH_ORACLE)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_products_equal_dense_matrices_on_ragged_batches(name: str, dtype: torch.dtype, tolerance: float) -> None:
    exact = case(name)
    o = objective(case(name, dtype=dtype))
    v = direction(o).double()
    hessian, ggn = oracles.dense_hessian(*exact), oracles.dense_ggn(exact.module, exact.inputs)
    jacobian = oracles.dense_jacobian(exact.module, exact.inputs)
    w = torch.randn(7, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    pulled = torch.einsum("ik,ikp->p", w, jacobian)
    for found, truth in [
        (o.hvp(v), hessian @ v),
        (o.ggn_product(v), ggn @ v),
        (o.logit_jvp(v), jacobian @ v),
        (o.logit_vjp(w), pulled),
    ]:
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), truth, rtol=0, atol=tolerance * max(1.0, truth.abs().max().item()))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradient_is_the_derivative_of_the_loss(name: str) -> None:
    o = objective(case(name))
    v = direction(o)
    rise = []
    for h in (1e-6, -1e-6):
        with o.perturbed(h * v):
            rise.append(o.loss())
    assert torch.dot(o.gradient(), v).item() == pytest.approx((rise[0] - rise[1]) / 2e-6, rel=1e-6, abs=1e-9)


def test_hardsigmoid_has_the_second_derivative_of_its_definition() -> None:
    c = case("mlp-hardsigmoid")
    plain = nn.Sequential(*[Clamped() if isinstance(layer, nn.Hardsigmoid) else layer for layer in c.module.children()])
    v = direction(objective(c))
    torch.testing.assert_close(objective(c).hvp(v), oracles.dense_hessian(plain, c.inputs, c.labels) @ v, rtol=1e-6, atol=1e-7)


class Clamped(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x / 6 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_batch_size_changes_nothing(batch_size: int) -> None:
    c = case("conv-bn")
    o, whole = objective(c, batch_size), objective(c, 7)
    v = direction(o)
    assert o.loss() == pytest.approx(whole.loss(), rel=1e-12)
    for found, truth in [(o.hvp(v), whole.hvp(v)), (o.gradient(), whole.gradient()), (o.logit_jvp(v), whole.logit_jvp(v))]:
        torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-12)


def test_losses_are_the_cross_entropy_of_each_example() -> None:
    c = case("conv")
    losses = objective(c).losses()
    assert losses.dtype == torch.float64
    torch.testing.assert_close(losses, nn.functional.cross_entropy(c.module(c.inputs), c.labels, reduction="none"))


def test_a_graph_that_does_not_fit_is_built_again_and_gives_the_same() -> None:
    c = case("conv", n=40)
    o, starved = objective(c, 8), objective(c, 8, Sizes(32, 20_000))
    v = direction(o)
    torch.testing.assert_close(starved.hvp(v), o.hvp(v))
    before, fixed = starved.passes["forward"], o.passes["forward"]
    starved.hvp(v), o.hvp(v)
    assert o.passes["forward"] == fixed, "kept graphs need no forward pass"
    assert 0 < starved.passes["forward"] - before < 40, "some graphs fit, some do not"
    o.shards.release()
    torch.testing.assert_close(o.hvp(v), starved.hvp(v))


def test_the_memory_of_all_graphs_is_foretold_from_small_ones() -> None:
    c = case("conv-bn", n=40)
    o = objective(c, batch_size=40)
    assert o.shards.size == 32
    built = [bytes_held(partial(o._build, 0, size), o.theta) for size in (32, 8)]
    assert o.shards.memory == pytest.approx(sum(built), rel=0.02)
    fixed = o.shards.memory - o.shards.cost.per_example * 40
    assert fixed > 0.02 * o.shards.memory, "the folded weights are in every graph, however many its examples"


def test_passes_count_examples() -> None:
    o = objective(case("linear"))
    o.hvp(direction(o))
    before = dict(o.passes)
    o.losses(), o.gradient(), o.hvp(direction(o)), o.logit_jvp(direction(o)), o.ggn_product(direction(o))
    spent = {kind: count - before.get(kind, 0) for kind, count in o.passes.items()}
    assert spent == {"forward": 7, "backward": 0, "hvp": 7, "ggn": 7, "jvp": 7}  # the gradient comes from the kept graph


def test_perturbed_moves_and_comes_back_bit_for_bit() -> None:
    c = case("conv-bn")
    o = objective(c)
    start, loss, v = o.parameters, o.loss(), direction(o)
    product = o.hvp(v)
    moved = copy.deepcopy(c.module)
    nn.utils.vector_to_parameters(start + v, moved.parameters())
    truth = oracles.dense_hessian(moved, c.inputs, c.labels) @ v
    with pytest.raises(RuntimeError, match="stop"), o.perturbed(v):
        torch.testing.assert_close(o.parameters, start + v)
        torch.testing.assert_close(o.hvp(v), truth)
        with o.perturbed(-v):
            assert o.loss() == pytest.approx(loss)
        raise RuntimeError("stop")
    assert torch.equal(o.parameters, start)
    assert o.loss() == loss
    assert torch.equal(o.hvp(v), product)


def test_perturbed_buffers_are_read_inside_only() -> None:
    c = case("conv-bn")
    o = objective(c)
    loss, zero = o.loss(), torch.zeros(o.num_parameters)
    with o.perturbed(zero, {"1.running_mean": c.module[1].running_mean + 1}):  # type: ignore[index]  # a Sequential
        assert o.loss() != loss
    assert o.loss() == loss


def test_the_module_and_the_world_stay_as_they_were() -> None:
    c = case("conv-bn")
    for p in c.module.parameters():
        p.grad = torch.ones_like(p)
        p.requires_grad_(False)
    before = copy.deepcopy(c.module.state_dict())
    images, state = c.inputs.clone(), torch.get_rng_state()
    o = objective(c)
    v = direction(o)
    o.loss(), o.gradient(), o.hvp(v), o.ggn_product(v), o.logit_jvp(v)
    with o.perturbed(v):
        o.gradient()
    assert all(torch.equal(value, c.module.state_dict()[name]) for name, value in before.items())
    assert all(
        p.grad is not None and torch.equal(p.grad, torch.ones_like(p)) and not p.requires_grad for p in c.module.parameters()
    )
    assert torch.equal(images, c.inputs) and torch.equal(state, torch.get_rng_state()) and not c.module.training


def test_softmax_regression_has_the_closed_form_hessian() -> None:
    """Oracle O1: H = (1/n) Σ (diag p − ppᵀ) ⊗ xxᵀ, whatever the labels."""
    x = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7]], dtype=torch.float64)
    module = nn.Linear(2, 3, bias=False).double()
    p = module(x).softmax(1).detach()
    truth = sum(
        torch.kron(torch.diag(q) - torch.outer(q, q), torch.outer(row, row)) for q, row in zip(p, x, strict=True)
    ) / len(x)  # fmt: skip
    for labels in ([0, 1, 2], [2, 2, 0]):
        o = Objective(module, x, torch.tensor(labels), batch_size=2)
        found = torch.stack([o.hvp(row) for row in torch.eye(6, dtype=torch.float64)])
        torch.testing.assert_close(found, truth)
        trace = ((1 - p.square().sum(1)) * x.square().sum(1)).mean()
        torch.testing.assert_close(found.trace(), trace)


@pytest.mark.parametrize("name", ["conv-bn", "unused"])
def test_losses_and_gradient_come_from_one_pass(name: str) -> None:
    o = objective(case(name))
    o.loss(), o.gradient()  # whatever is measured once has been
    before = dict(o.passes)
    losses, gradient = o.losses_and_gradient()
    assert {kind: o.passes[kind] - before[kind] for kind in o.passes} == {"forward": 7, "backward": 7}
    torch.testing.assert_close(losses, o.losses())
    assert torch.equal(gradient, o.gradient())


def test_a_variant_is_the_loss_of_some_examples_and_of_other_logits() -> None:
    c = case("conv-bn")
    o = objective(c)
    v = direction(o)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = c.module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 3 * self.inner(x)  # type: ignore[no-any-return]  # modules are called untyped

    truth = Objective(Scaled().eval(), c.inputs[1::2], c.labels[1::2], batch_size=2)
    product = o.hvp(v)  # graphs of all examples are kept now
    with o.perturbed(v):
        part = o.variant(slice(1, None, 2), lambda logits: 3 * logits)
        with truth.perturbed(v):
            torch.testing.assert_close(part.losses(), truth.losses())
            torch.testing.assert_close(part.gradient(), truth.gradient())
            torch.testing.assert_close(part.hvp(v), truth.hvp(v))
    some = Objective(c.module, c.inputs[:4], c.labels[:4], batch_size=3)
    torch.testing.assert_close(o.variant(slice(4)).gradient(), some.gradient())
    before = o.passes["forward"]
    assert o.variant(slice(0, 2)).losses().shape == (2,)
    assert o.passes["forward"] == before + 2
    assert torch.equal(o.hvp(v), product)


def test_saturated_logits_give_a_finite_loss_and_curvature() -> None:
    c = case("linear", dtype=torch.float32)
    with torch.no_grad():
        c.module[1].weight.mul_(1e4)  # type: ignore[index]  # a Sequential
    o = objective(c)
    assert math.isfinite(o.loss()) and o.hvp(direction(o)).isfinite().all()


def test_refusals() -> None:
    c = case("linear")
    with pytest.raises(ArchitectureError, match="expected all parameters in float32 or all in float64, got float16"):
        Objective(copy.deepcopy(c.module).half(), c.inputs, c.labels, batch_size=3)
    with pytest.raises(DataError, match="expected one label for each of at least one image, got 6 for 7"):
        Objective(c.module, c.inputs, c.labels[:6], batch_size=3)
    with pytest.raises(DataError, match="expected labels from 0 to 2, got 0 to 3"):
        Objective(c.module, c.inputs, torch.tensor([0, 1, 2, 3, 0, 0, 0]), batch_size=3)
    with pytest.raises(ArchitectureError, match="it has no parameters"):
        Objective(nn.Flatten(), c.inputs, c.labels, batch_size=3)
    with pytest.raises(ArchitectureError, match="it has no trainable parameters - count frozen ones too"):
        Objective(copy.deepcopy(c.module).requires_grad_(False), c.inputs, c.labels, batch_size=3, trainable_only=True)
    idle = nn.Flatten()
    idle.register_parameter("idle", nn.Parameter(torch.ones(2)))
    with pytest.raises(ArchitectureError, match="its logits depend on none of the parameters"):
        Objective(idle, c.inputs, c.labels, batch_size=3)
    with pytest.raises(ValueError, match="expected a vector of 51 entries, got shape"):
        objective(c).hvp(torch.zeros(50))


class Misled(torch.autograd.Function):
    """A product whose derivatives do not know that the one in its second factor depends on the first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        product: Tensor = x * y
        return product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        return gradients[0] * y, gradients[0] * x.detach()


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.gain, self.head = nn.Linear(16, 5), nn.Parameter(torch.rand(5)), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(Misled.apply(self.body(x.flatten(1)), self.gain))  # type: ignore[no-any-return]  # modules are called untyped


def test_an_operation_without_its_second_derivative_is_noticed() -> None:
    """H is then no symmetric matrix; G needs first derivatives alone, and is still right."""
    c = case("linear")
    module = Scaled().double()
    o = Objective(module, c.inputs, c.labels, batch_size=3)
    with pytest.raises(ArchitectureError, match=r"the network has no Hessian: uᵀHv and vᵀHu differ by [\d.e-]+ of their scale"):
        o.hvp(direction(o))
    found = o.ggn_product(direction(o))
    exact = oracles.stated_ggn(module, c.inputs, [*module.parameters()]) @ direction(o)
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize("margin", [5, 30, 33, 35, 40])
def test_a_network_that_is_sure_has_a_hessian(margin: float) -> None:
    """Where p rounds to 1 the Hessian is mostly rounding, which is no reason to refuse the network."""
    module = nn.Linear(8, 10, dtype=torch.float64).eval()
    with torch.no_grad():
        module.weight.copy_(margin * torch.eye(10, 8))
        module.bias.zero_()
    noise = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(19))
    o = Objective(module, torch.eye(6, 8) + 0.1 * noise, torch.arange(6), batch_size=6)
    assert o.hvp(direction(o)).isfinite().all()


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.filterwarnings("ignore:`torch.jit.script:FutureWarning")  # curvlinops
def test_agrees_with_curvlinops_on_a_real_resnet20() -> None:
    from curvlinops import GGNLinearOperator, HessianLinearOperator

    c = real_resnet20(512)
    o = objective(c, 64)
    v = direction(o)
    exact = copy.deepcopy(c.module).double()  # in float32 its own rounding is 9e-6 of the product, ours 4e-6
    batches = list(zip(torch.split(c.inputs.double(), 100), torch.split(c.labels, 100), strict=True))
    for found, operator in [(o.hvp(v), HessianLinearOperator), (o.ggn_product(v), GGNLinearOperator)]:
        truth = operator(exact, nn.CrossEntropyLoss(), list(exact.parameters()), batches) @ v.double()
        assert (found - truth).norm() <= 1e-5 * truth.norm()


class PlainLayerNorm(TorchFunctionMode):
    """LayerNorm by its definition: nested forward mode is wrong through torch's (2.14), by 0.1% of a product here."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not nn.functional.layer_norm:
            return func(*args, **(kwargs or {}))
        given = dict(zip(("x", "shape", "weight", "bias", "eps"), args, strict=False)) | (kwargs or {})
        x, over = given["x"], tuple(range(-len(given["shape"]), 0))
        unit = (x - x.mean(over, keepdim=True)) * (x.var(over, correction=0, keepdim=True) + given["eps"]).rsqrt()
        return unit * given["weight"] + given["bias"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zoo:vit_small", "timm:convnext_atto", "timm:mobilenetv3_small_050"])
@pytest.mark.filterwarnings("ignore:`torch.jit.script:FutureWarning")  # curvlinops
def test_agrees_with_curvlinops_on_a_transformer_a_convnext_and_a_mobile_network(name: str) -> None:
    """Both in float64. Theirs needs plain attention, LayerNorm and hardsigmoid, which are lent to it."""
    from curvlinops import GGNLinearOperator, HessianLinearOperator

    source, _, short = name.partition(":")
    torch.manual_seed(0)
    module = zoo.build(short) if source == "zoo" else timm.create_model(short, num_classes=10)
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 1:
                p.add_(0.05 * torch.randn(p.shape))
    module = module.double().eval()
    images, labels = torch.randn(7, 3, 32, 32).double(), torch.randint(0, 10, (7,))
    o = Objective(module, images, labels, batch_size=3)
    v = direction(o)
    batches = list(zip(torch.split(images, 4), torch.split(labels, 4), strict=True))
    with twice_differentiable(), PlainLayerNorm():
        for found, operator in [(o.hvp(v), HessianLinearOperator), (o.ggn_product(v), GGNLinearOperator)]:
            truth = operator(module, nn.CrossEntropyLoss(), list(module.parameters()), batches) @ v
            assert (found - truth).norm() <= 1e-5 * truth.norm()


def test_parts_of_the_examples_in_several_places_sum_to_the_whole() -> None:
    """As in a group of processes: each has its own examples, and sums are added up in the order of the places."""
    c, cuts, lock = case("conv-bn", n=37), (slice(0, 20), slice(20, 25), slice(25, 37)), threading.Barrier(3)
    parts: list[Tensor] = [torch.empty(0)] * 3

    def place(rank: int) -> list[Tensor]:
        def reduce(part: Tensor) -> Tensor:
            parts[rank] = part
            lock.wait(20)
            found = parts[0] + parts[1] + parts[2]
            lock.wait(20)
            return found

        here = Objective(copy.deepcopy(c.module), c.inputs[cuts[rank]], c.labels[cuts[rank]], batch_size=8, reduce=reduce)
        assert here.total == 37
        v = direction(here)
        return [torch.tensor(here.loss()), here.gradient(), here.hvp(v), here.ggn_product(v)]

    o = objective(c)
    whole = [torch.tensor(o.loss()), o.gradient(), o.hvp(direction(o)), o.ggn_product(direction(o))]
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(place, range(3)):
            for ours, theirs in zip(found, whole, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
