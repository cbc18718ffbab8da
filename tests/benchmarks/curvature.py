"""What do Hessian products cost beside the public libraries? python -m tests.benchmarks.curvature

Ours and the peers' run in one process and in turn on the real ResNet-20, on the same images. A round times each once; printed are
medians over the rounds, in units of one forward pass, and the ratio to ours. Libraries that are not installed are left out.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sharpaudit.curvature.ggn_trace import ggn_trace
from sharpaudit.curvature.objective import Objective
from tests.cases import Case, real_resnet20

ROUNDS = 5
EXAMPLES = 64

Product = Callable[[], object]


def peers(c: Case, v: Tensor) -> dict[str, Product]:
    """The public libraries' Hessian products with `v`, as they come."""
    found: dict[str, Product] = {"double backward, graph built each time": lambda: rebuilt(c, v)}
    try:
        from curvlinops import HessianLinearOperator

        operator = HessianLinearOperator(c.module, nn.CrossEntropyLoss(), list(c.module.parameters()), [(c.inputs, c.labels)])
        found["curvlinops"] = lambda: operator @ v
    except ImportError:
        print("curvlinops is not installed")
    return found


def rebuilt(c: Case, v: Tensor) -> Tensor:
    """What loops over a loader do: PyHessian with a loader, hessian-eigenthings."""
    parameters = list(c.module.parameters())
    loss = nn.functional.cross_entropy(c.module(c.inputs), c.labels)
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    product = torch.autograd.grad(torch.cat([g.flatten() for g in gradient]) @ v, parameters)
    return torch.cat([p.flatten() for p in product])


def seconds(work: Product) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    c = real_resnet20(EXAMPLES)
    objective = Objective(*c, batch_size=EXAMPLES)
    v = torch.randn(objective.num_parameters, generator=torch.Generator().manual_seed(0))
    rows: dict[str, Product] = {"forward": objective.loss, "sharpaudit": lambda: objective.hvp(v), **peers(c, v)}
    rows["sharpaudit, Gauss-Newton product"] = lambda: objective.ggn_product(v)
    rows["sharpaudit, exact Gauss-Newton trace"] = lambda: ggn_trace(objective)
    times: dict[str, list[float]] = {name: [] for name in rows}
    for work in rows.values():
        work()
    for _ in range(ROUNDS):
        for name, work in rows.items():
            times[name].append(seconds(work))
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"ResNet-20, {EXAMPLES} images, {torch.get_num_threads()} threads, float32")
    print(f"{'Hessian product by':42} {'forwards':>9} {'x ours':>7}")
    for name, value in median.items():
        print(f"{name:42} {value / median['forward']:9.1f} {value / median['sharpaudit']:7.2f}")


if __name__ == "__main__":
    main()
