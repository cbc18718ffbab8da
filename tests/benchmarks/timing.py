"""How are ours and the peers' timed, so that a busy machine does not decide? In one process, in turn, medians; kept as JSON."""

from __future__ import annotations

import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"

Work = Callable[[], object]


def wall(work: Work) -> float:
    """Seconds by the clock of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def core(work: Work) -> float:
    """Processor seconds of all threads of one call: what a busy machine distorts least."""
    start = time.process_time()
    work()
    return time.process_time() - start


def resident() -> float:
    """Memory of this process now, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def peak() -> float:
    """The most memory this process ever had, in MiB (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def in_turn(rows: Mapping[str, Work], rounds: int, clock: Callable[[Work], float] = wall) -> dict[str, float]:
    """The median time of each, one call of each a round, after one call that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in rows}
    for work in rows.values():
        work()
    for _ in range(rounds):
        for name, work in rows.items():
            times[name].append(clock(work))
    return {name: statistics.median(values) for name, values in times.items()}


def table(title: str, times: Mapping[str, float], *, ours: str = "sharpaudit", unit: str = "s") -> None:
    """Print each time and how many times ours it is."""
    print(f"\n{title}\n{'':44} {unit:>9} {'x ours':>7}")
    for name, value in times.items():
        print(f"{name:44} {value:9.3f} {value / times[ours]:7.2f}", flush=True)


def keep(name: str, results: Mapping[str, Any]) -> None:
    """Add what was measured to what is kept, with what it depends on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    circumstances = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    text = json.dumps({**before, **circumstances, **results}, indent=1, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")
