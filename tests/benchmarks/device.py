"""What does a machine with a GPU do in the time of a gradient? python -m tests.benchmarks.device [tiny] [SECTION ...]

Ours and the peers' in one process and in turn, on the first CUDA device: Hessian products with their peak of memory, corruptions,
predictions beside a bare loop over the same network, and whole audits with the share of time the device was busy. It fails on
numbers that are wrong, never on slow ones. Without a GPU, or with ``tiny``, the same lines run in miniature: the numbers are
checked, the times mean nothing and nothing is kept.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.autograd import grad
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from sharpaudit import audit
from sharpaudit.checkpoints import zoo
from sharpaudit.corruptions import NAMES, Table, corrupt
from sharpaudit.curvature.network.differentiable import twice_differentiable
from sharpaudit.curvature.objective import Objective
from sharpaudit.data import to_input
from sharpaudit.device import available_device, compute_settings, described, is_out_of_memory, wait
from sharpaudit.plan import plan
from sharpaudit.request import BenchSettings, PreprocessingOverrides
from tests.benchmarks.corruptions import core_milliseconds
from tests.benchmarks.peers import peers
from tests.benchmarks.timing import Work, in_turn, keep, wall
from tests.cases import Case
from tests.corruptions.images import photographs
from tests.corruptions.reference import generator

TOLERANCE = 1e-3
"""Largest relative difference of our Hessian products in float32 from their definition: rounding leaves 1e-5. A peer's is
printed: forward mode is off by 1e-3 through a LayerNorm."""

CORRUPTED: tuple[tuple[Table, int], ...] = ((32, 1024), (64, 1024), (224, 128))
"""Sides of the images that are corrupted, and how many at once."""

WRONG: list[str] = []
"""What came out wrong so far."""


def require(right: bool, words: str) -> None:
    """Say what is wrong, and go on to the end all the same."""
    if not right:
        WRONG.append(words)
        print(f"WRONG: {words}", flush=True)


def until_done(work: Work) -> float:
    """Seconds by the clock until the device has done `work`."""

    def done() -> None:
        work()
        wait()

    return wall(done)


def network(name: str, n: int, size: int, device: str) -> Case:
    """A network of the zoo, or timm's of that name, with random weights and images; BatchNorm has seen those images."""
    torch.manual_seed(0)
    module = zoo.build(name) if name in zoo.ENTRIES else timm.create_model(name, num_classes=1000)
    images = torch.randn(n, 3, size, size, device=device)
    with torch.no_grad():
        module.train().to(device)(images[:64])
    return Case(module.eval(), images, torch.arange(n, device=device) % 10)


def by_definition(c: Case, v: Tensor) -> Tensor:
    """Hv as torch's documentation would have it: the gradient of gᵀv, all images at once."""
    parameters = list(c.module.parameters())
    with twice_differentiable():
        loss = functional.cross_entropy(c.module(c.inputs), c.labels)
        gradient = grad(loss, parameters, create_graph=True)
        pieces = [piece.view_as(p) for piece, p in zip(torch.split(v, [p.numel() for p in parameters]), parameters, strict=True)]
        return torch.cat([part.flatten() for part in grad(gradient, parameters, pieces)])


def flat(product: Any) -> Tensor:
    """A peer's product, which may be one tensor or one a parameter, with a number beside it."""
    return torch.cat([part.flatten() for part in tree_leaves(product) if isinstance(part, Tensor)])


def products(name: str, n: int, size: int, rounds: int, device: str) -> dict[str, dict[str, float]]:
    """Gradients that one Hessian product takes by each, and the MiB that it takes at most, kept graphs included."""
    c = network(name, n, size, device)
    v = torch.randn(sum(p.numel() for p in c.module.parameters()), generator=torch.Generator().manual_seed(0)).to(device)
    truth = by_definition(c, v)
    rows: dict[str, Work] = {}
    memory: dict[str, float] = {}
    apart: dict[str, float] = {"gradient": 0.0}

    def tried(label: str, build: Callable[[], Callable[[], Any]]) -> None:
        """Takes the contender up, unless it has no room."""
        before = allocated(device)
        try:
            product = build()
            off = float((flat(product()) - truth).norm() / truth.norm())
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            print(f"left out: {label} runs out of memory")
            return
        memory[label] = peak(device) - before
        apart[label] = off
        rows[label] = product

    def gradient() -> Any:
        return grad(functional.cross_entropy(c.module(c.inputs), c.labels), list(c.module.parameters()))

    before = allocated(device)
    gradient()
    memory["gradient"], rows["gradient"] = peak(device) - before, gradient

    def ours() -> Callable[[], Tensor]:
        objective = Objective(*c, batch_size=n)
        return lambda: objective.hvp(v)

    tried("sharpaudit", ours)
    for peer in peers(c):
        tried(peer.name, lambda peer=peer: lambda: peer.product(v))  # type: ignore[misc]  # mypy infers no default's type
    require(
        "sharpaudit" in rows and apart["sharpaudit"] <= TOLERANCE, f"{name}: our product is {apart.get('sharpaudit', 1):.1e} off"
    )
    seconds = in_turn(rows, rounds, until_done)
    found = {
        label: {"seconds": each, "gradients": each / seconds["gradient"], "peak_mib": memory[label], "off": apart[label]}
        for label, each in seconds.items()
    }
    print(f"\nOne Hessian product: {name}, {n} images of {size} pixels")
    print(f"{'':44} {'ms':>9} {'gradients':>9} {'peak MiB':>9} {'off by':>9}")
    for label, row in found.items():
        print(
            f"{label:44} {1000 * row['seconds']:9.2f} {row['gradients']:9.2f} {row['peak_mib']:9.0f} {row['off']:9.1e}",
            flush=True,
        )
    return found


def allocated(device: str) -> float:
    """MiB that are in use, from which on the peak is measured anew."""
    if device == "cpu":
        return 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device) / 2**20


def peak(device: str) -> float:
    """The most MiB that were in use since."""
    return 0.0 if device == "cpu" else torch.cuda.max_memory_allocated(device) / 2**20


def corrupting(size: Table, count: int, device: str) -> dict[str, float]:
    """Images a second of each corruption at severity 3; some are compared with the CPU's byte for byte."""
    images, indices = photographs(count, size), torch.arange(count)
    there = images.to(device)
    found = {}
    for name in NAMES:
        few = slice(min(count, 3))
        made = corrupt(there[few], name, 3, indices=indices[few]).cpu()
        require(made.equal(corrupt(images[few], name, 3, indices=indices[few])), f"{name} at {size} differs from the CPU's bytes")
        work = lambda name=name: corrupt(there, name, 3, indices=indices)  # noqa: E731  # a row's work
        found[name] = count / in_turn({name: work}, 2, until_done)[name]
    print(f"\nCorruptions at {size} pixels, batches of {count}: images/s")
    for name, rate in found.items():
        print(f"{name:44} {rate:9,.0f}", flush=True)
    found["all"] = len(NAMES) / sum(1 / rate for rate in found.values())
    print(f"{'all':44} {found['all']:9,.0f}")
    try:
        reference = generator(size)
    except pytest.skip.Exception as missing:
        print(f"left out: {missing}")
        return found
    image = images[0].numpy()
    theirs = sum(core_milliseconds(lambda name=name: reference(image, name, 3)) for name in NAMES)  # type: ignore[misc]
    found["x imagecorruptions"] = found["all"] * theirs / 1000 / len(NAMES)
    print(f"{'times imagecorruptions on one core':44} {found['x imagecorruptions']:9,.1f}  (goal: 200)")
    return found


def prepared(name: str, n: int, steps: int, folder: Path, device: str, **settings: Any) -> audit.Prepared:
    """An audit of a network that has learned a little, on `n` images of ten classes that can be told apart."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, n)
    images = ((photographs(n, 32).numpy().astype(np.int64) + photographs(10, 32, seed=1).numpy()[labels]) // 2).astype(np.uint8)
    labels = np.where(rng.random(n) < 0.1, rng.integers(0, 10, n), labels)
    np.savez(folder / "images.npz", images=images, labels=labels)
    torch.manual_seed(0)
    module = zoo.build(name).to(device).train()
    descent = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    for rows in rng.integers(0, n, (steps, 128)):
        batch = torch.from_numpy(images[rows]).to(device).permute(0, 3, 1, 2) / 127.5 - 1
        descent.zero_grad()
        functional.cross_entropy(module(batch), torch.from_numpy(labels[rows]).to(device)).backward()  # type: ignore[no-untyped-call]
        descent.step()
    save_file({key: value.cpu().contiguous() for key, value in module.state_dict().items()}, folder / f"{name}.safetensors")
    request = audit.Request(
        checkpoint=folder / f"{name}.safetensors",
        architecture=f"zoo:{name}",
        data=f"npz:{folder / 'images.npz'}",
        preprocessing=PreprocessingOverrides(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        bench=BenchSettings(device=device, **settings),
    )
    return audit.prepare(request)


def predicting(ready: audit.Prepared, rounds: int) -> dict[str, float]:
    """Images a second of the workbench's predictions, and of a bare loop over the same network."""
    module, preprocessing, n = ready.model.module, ready.model.subject.preprocessing, len(ready.test)
    images = torch.from_numpy(ready.test.images[:])
    on = ready.bench()
    answers: list[Tensor] = []

    @torch.inference_mode()
    def bare() -> None:
        batches = torch.split(images, on.batch_size)
        logits = [module(to_input(batch.to(ready.settings.device), preprocessing)) for batch in batches]
        answers[:] = [torch.cat(logits).argmax(1).cpu()]

    seconds = in_turn({"bare loop": bare, "sharpaudit": lambda: ready.bench().predictions}, rounds, until_done)
    agreed = (answers[0].numpy() == on.predictions.prediction).mean()
    require(agreed >= 0.999, f"{agreed:.2%} of the predictions are those of a bare loop")
    share = seconds["bare loop"] / seconds["sharpaudit"]
    rate = n / seconds["sharpaudit"]
    print(f"\nPredictions on {n:,} images: {rate:,.0f} images/s, {share:.2f} of a bare loop over the same network (goal: 0.95)")
    return {"images_per_second": rate, "of_bare_loop": share}


class Busy:
    """The share of time in which the device had work, of looks at its queue every millisecond while the context lasts."""

    def __init__(self, idle: Callable[[], bool]) -> None:
        self._idle = idle
        self._over = threading.Event()
        self._looks: list[bool] = []
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.001):
            self._looks.append(self._idle())

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where nothing was seen."""
        return 1 - sum(self._looks) / len(self._looks) if self._looks else None


def auditing(ready: audit.Prepared) -> dict[str, Any]:
    """Seconds of a whole audit, the share of them in which the device was busy, and the peak of memory."""
    device = ready.settings.device
    before = allocated(device)
    queue = torch.cuda.default_stream(device) if device != "cpu" else None
    with Busy(queue.query if queue else lambda: True) as busy:
        start = time.perf_counter()
        card = audit.run(ready).card
        seconds = time.perf_counter() - start
    failed = {name: probe.reason for name, probe in card.probes.items() if probe.status == "failed"}
    require(not failed, f"probes failed: {failed}")
    accuracy = card.measured("clean.accuracy")
    on = ready.bench().predictions
    require(accuracy is not None and accuracy.value == on.correct.mean(), "accuracy on the card is not that of the predictions")
    share = None if queue is None else busy.share
    words = "no GPU to watch" if share is None else f"device busy {share:.0%} (goal: 80%)"
    print(f"\n{ready.model.subject.architecture}, {', '.join(card.probes)}, {len(ready.test):,} images: {seconds:.1f} s, {words}")
    return {"seconds": seconds, "busy": share, "peak_mib": peak(device) - before}


def main(*arguments: str) -> None:
    """Print every table; keep them if there is a GPU; fail if a number is wrong."""
    chosen = arguments or tuple(sys.argv[1:])
    device = available_device("auto")
    tiny = device == "cpu" or "tiny" in chosen
    print("no GPU: a rehearsal on the CPU, whose times mean nothing" if device == "cpu" else described(device), flush=True)
    WRONG.clear()
    results: dict[str, Any] = {"device": described(device), "cuda": torch.version.cuda}
    rounds = 1 if tiny else 10

    def whole(name: str) -> dict[str, Any]:
        few = {"probe_examples": 4, "batch_size": 8} if tiny else {}
        with tempfile.TemporaryDirectory() as folder:
            ready = prepared(name, 12 if tiny else 10_000, 1 if tiny else 200, Path(folder), device, **few)
            ready = replace(ready, steps=plan("accuracy,fisher_rao" if tiny else "standard", {}))
            return {"predictions": predicting(ready, rounds), "audit": auditing(ready)}

    sections: dict[str, Callable[[], Any]] = {}
    for name, n, size in (("resnet20", 512, 32), ("resnet18", 512, 32), ("vit_small", 128, 32), ("resnet50", 64, 224)):
        sections[f"product_{name}"] = partial(products, name, 2 if tiny else n, 32 if tiny else size, rounds, device)
    for table, n in CORRUPTED:
        sections[f"corruptions_{table}"] = partial(corrupting, table, 2 if tiny else n, device)
    for name in ("resnet20", "resnet18"):
        sections[f"audit_{name}"] = partial(whole, name)
    wanted = [key for key in sections if key in chosen] or list(sections)
    with compute_settings(1 if tiny else torch.get_num_threads()):  # threads that wait for each other cost more than they bring
        for key in wanted:
            results[key] = sections[key]()
            if not tiny:
                keep(f"device-{re.sub(r'[^a-z0-9]+', '-', described(device).lower())}", results)
    if WRONG:
        sys.exit(f"{len(WRONG)} wrong: " + "; ".join(WRONG))
    print("\nEvery number is right.")


if __name__ == "__main__":
    main()
