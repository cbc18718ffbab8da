"""What does curvature cost beside the public libraries? python -m tests.benchmarks.curvature [tiny] [busy] [SECTION ...]

Ours and the peers' run in one process and in turn, on the same images: one Hessian product on three networks, the trace alone,
perturbed losses, and the passes that probes of predictions cause; then a whole workload, each in a process of its own for its
peak of memory. ``tiny`` is a rehearsal that keeps nothing. ``busy`` is for a machine that does other things too, where threads
that wait for each other decide the clock: one thread, and processor time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from sharpaudit import probes
from sharpaudit.checkpoints import zoo
from sharpaudit.curvature.gauss_newton.ggn_trace import ggn_trace
from sharpaudit.curvature.krylov.hessian import hessian_spectrum
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.perturbation import random_sharpness
from sharpaudit.execute import run
from sharpaudit.plan import plan
from sharpaudit.workbench import Need
from tests.benches import bench
from tests.benchmarks.peers import peers
from tests.benchmarks.timing import Work, core, in_turn, keep, peak, resident, table, wall
from tests.cases import Case, real_resnet20


def clock() -> Callable[[Work], float]:
    """By the clock where threads share the work, else processor time."""
    return wall if torch.get_num_threads() > 1 else core


def network(name: str, n: int) -> Case:
    """The zoo's network with random weights and images; statistics of BatchNorm from those images."""
    torch.manual_seed(0)
    module = zoo.build(name).train()
    images = torch.randn(n, *zoo.ENTRIES[name].input_size)
    with torch.no_grad():
        module(images)
    return Case(module.eval(), images, torch.randint(0, 10, (n,)))


def products(name: str, c: Case, rounds: int) -> dict[str, float]:
    """Seconds of one Hessian product by each."""
    objective = Objective(*c, batch_size=len(c.labels))
    v = torch.randn(objective.num_parameters, generator=torch.Generator().manual_seed(0))
    rows: dict[str, Callable[[], object]] = {"forward": objective.loss, "sharpaudit": lambda: objective.hvp(v)}
    rows |= {peer.name: (lambda p=peer: p.product(v)) for peer in peers(c)}  # type: ignore[misc]  # mypy infers no default's type
    rows["sharpaudit, Gauss-Newton product"] = lambda: objective.ggn_product(v)
    found = in_turn(rows, rounds, clock())
    table(f"One Hessian product: {name}, {len(c.labels)} images, {torch.get_num_threads()} threads, float32", found)
    return found


def ours(c: Case) -> dict[str, float]:
    """λ_max to 1e-3, the trace, a density of 10 starts and 32 steps."""
    objective = Objective(*c, batch_size=len(c.labels))
    trace = ggn_trace(objective)
    seen = hessian_spectrum(
        objective, top=1, bottom=0, tolerance=1e-3, max_iterations=100, starts=10, max_steps=32, sums_tolerance=1e-9, seed=0
    )
    return {"lambda_max": seen.extremes.top[0].value, "trace": trace.value}


def one_workload(name: str, n: int, threads: int) -> dict[str, float]:
    """What the library called `name` found on `n` images, with its processor seconds and the growth of memory.

    To be run in a process of its own: the peak of a process never falls.
    """
    torch.set_num_threads(threads)
    c = real_resnet20(n)
    before = resident()  # of building a library's operator, which may keep a graph already, too
    work = (lambda: ours(c)) if name == "sharpaudit" else next(peer.workload for peer in peers(c) if peer.name == name)
    assert work is not None
    found: dict[str, float] = {}
    seconds = core(lambda: found.update(work()))
    return found | {"core_seconds": seconds, "peak_mib": peak() - before}


def workload(n: int) -> dict[str, dict[str, float]]:
    """λ_max to 1e-3, the trace, a density of 10 starts × 32 steps: what each found, in what time and memory."""
    names = ["sharpaudit", *(peer.name for peer in peers(real_resnet20(2)) if peer.workload)]
    found = {}
    for name in names:
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            found[name] = fresh.submit(one_workload, name, n, torch.get_num_threads()).result()
    title = f"W1: λ_max, trace, density 10 × 32: ResNet-20, {n} images"
    table(title, {name: row["core_seconds"] for name, row in found.items()}, unit="core-s")
    table(f"{title}: growth of memory (goal: 200)", {name: row["peak_mib"] for name, row in found.items()}, unit="MiB")
    truth = found["sharpaudit"]
    for name, values in found.items():
        top, trace = (f"{values[key]:.5g} ({abs(values[key] / truth[key] - 1):.1e} off)" for key in ("lambda_max", "trace"))
        print(f"{name:44} λ_max {top}, trace {trace}", flush=True)
    return found


def trace_alone(c: Case, rounds: int) -> dict[str, float]:
    """The exact trace in units of Hessian products."""
    objective = Objective(*c, batch_size=len(c.labels))
    v = torch.randn(objective.num_parameters)
    found = in_turn({"product": lambda: objective.hvp(v), "trace": lambda: ggn_trace(objective)}, rounds, core)
    print(f"\nThe exact trace costs {found['trace'] / found['product']:.1f} Hessian products (goal: at most 5)", flush=True)
    return found


def perturbed(c: Case, rounds: int, draws: int = 8) -> dict[str, float]:
    """Random sharpness of T draws in units of T forward passes."""
    objective = Objective(*c, batch_size=len(c.labels))
    measure = lambda: random_sharpness(objective, radius=0.005, draws=draws, seed=0)  # noqa: E731  # one of two rows
    found = in_turn({"forward": objective.loss, "draws": measure}, rounds, core)
    share = found["draws"] / (draws + 2) / found["forward"]
    print(
        f"\nA perturbed loss costs {share:.2f} forward passes (goal: at most 1.1; two unperturbed ones belong to the measure)",
        flush=True,
    )
    return found | {"forwards_each": share}


def passes() -> dict[str, int]:
    """Images that all probes of predictions send through the network together."""
    on = bench(train=False)
    chosen = [name for name in probes.names() if probes.find(name).needs <= {Need.PREDICTIONS, Need.RESAMPLES, Need.TRAIN}]
    for step in plan(",".join(chosen)):
        run(step, on)
    spent = on.passes["forward"] / len(on.predictions)
    print(f"\n{', '.join(chosen)}: {spent:.2f} passes over the data together (goal: 1)", flush=True)
    return {"images": len(on.predictions), "forward": on.passes["forward"]}


def main(*arguments: str) -> None:
    """Print every row, and keep it unless this is a rehearsal."""
    chosen = arguments or sys.argv[1:]
    tiny, busy = "tiny" in chosen, "busy" in chosen
    torch.set_num_threads(1 if busy else 2)
    n, rounds = (8, 1) if tiny else (64, 5)
    results: dict[str, Any] = {"images": n, "rounds": rounds}
    sections: dict[str, Callable[[], Any]] = {
        "product_resnet20": lambda: products("ResNet-20, trained", real_resnet20(n), rounds),
        "product_vit": lambda: products("vit_small", network("vit_small", n // 2), 3),
        "product_resnet18": lambda: products("resnet18", network("resnet18", n // 4), 3),
        "trace": lambda: trace_alone(real_resnet20(n), 3),
        "perturbed": lambda: perturbed(real_resnet20(n), 3),
        "passes": passes,
        "workload": lambda: workload(2 if tiny else 16),
    }
    wanted = [key for key in sections if key in chosen] or list(sections)
    for key in wanted:
        results[key] = sections[key]()
        if not tiny:
            keep("curvature-busy" if busy else "curvature", results)


if __name__ == "__main__":
    main()
