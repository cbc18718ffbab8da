"""What would an audit send through the network, and how long would it take? Printed by ``measure --dry-run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sharpaudit.cli.values import time_in_words

if TYPE_CHECKING:
    from sharpaudit.request import Request

LONG = 600.0
"""Seconds after which one is told of something shorter."""


def print_plan(request: Request, folder: Path, *, as_json: bool) -> None:
    """Print every step of the audit with its passes and seconds, and what memory it takes at the least."""
    from dataclasses import asdict

    from sharpaudit import audit
    from sharpaudit.audit import Cost
    from sharpaudit.card import codec
    from sharpaudit.device import peak_memory_mib
    from sharpaudit.plan import PRESETS
    from sharpaudit.probes import Passes
    from sharpaudit.setup_check import least_forward

    prepared = audit.prepare(request)
    costs = audit.plan_costs(prepared, folder)
    if request.setup_check:
        views, check = costs[0], Passes(forward=least_forward(prepared.test))
        costs = [Cost("set-up check, least", check, check.forward * views.seconds / views.passes.forward), *costs]
    seconds, memory = sum(cost.seconds for cost in costs), peak_memory_mib(prepared.settings.device)
    if as_json:
        rows = [{**asdict(cost), "passes": asdict(cost.passes)} for cost in costs]
        print(codec.dumps({"plan": rows, "seconds": seconds, "memory_mib": memory}), end="")
        return
    print(f"{'probe':<20}{'forward':>12}{'backward':>12}{'hvp':>12}{'ggn':>12}{'seconds':>10}")
    for cost in costs:
        took = "stored" if cost.stored else f"{cost.seconds:,.1f}"
        counts = (cost.passes.forward, cost.passes.backward, cost.passes.hvp, cost.passes.ggn)
        print(f"{cost.probe:<20}{''.join(f'{count:>12,}' for count in counts)}{took:>10}")
    print(f"{'':<20}{'examples through the model':>48}{seconds:>10,.1f}")
    told = f"{seconds:,.0f} s" + (f" ({time_in_words(seconds)})" if seconds >= 99.5 else "")
    print(f"About {told}, timed on a few images, and at least {memory:,.0f} MiB of memory.")
    if seconds > LONG and not {step.probe.name for step in prepared.steps} <= set(PRESETS["quick"]):
        print("Shorter: --probes quick.")
