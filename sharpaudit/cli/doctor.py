"""`sharpaudit doctor`: what this machine has for an audit, and what is broken."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

from sharpaudit.cli.app import Json, app, search_path
from sharpaudit.cli.config import unknown_variables
from sharpaudit.errors import ExitCode, SharpauditError, clean

if TYPE_CHECKING:
    from torch import Tensor

IMPORTED = ("torch", "torchvision", "timm", "numpy", "scipy", "matplotlib")
"""What an audit cannot do without and what is known to break: compiled, or depending on what is compiled."""

LEAST_FREE = 2**28
"""Bytes of disk below which a run folder may not fit."""

TRIED, EXAMPLES = "resnet20", 16
"""What a device is tried on."""

TOLERANCE = 1e-3
"""How far the numbers of two devices may lie apart: float32 leaves 1e-6 to 1e-5 of them."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    value: str
    problem: str | None = None
    """What is broken about it, and what to do."""


@app.command()
def doctor(json: Json = False) -> int:
    """Print versions, devices, memory, disk and data sets.

    The exit code is 5 when something is broken.
    """
    from sharpaudit.card import codec

    found = [*_packages(), *_extras(), *folders()]
    if not any(finding.problem for finding in found):  # the rest imports what would not be there
        found += [*_torch(), *_machine(), *_data(), *_plugins()]
    found += _variables()
    problems = [finding for finding in found if finding.problem]
    if json:
        print(codec.dumps({"findings": [asdict(finding) for finding in found], "broken": [p.name for p in problems]}), end="")
    else:
        for finding in found:
            print(f"{finding.name:<22}{finding.value}".rstrip())
            if finding.problem:
                print(f"{'':<20}! {finding.problem}")
        print(f"\n{len(problems)} broken" if problems else "\nNothing is broken.")
    return ExitCode.ENVIRONMENT if problems else ExitCode.DONE


def _packages() -> Iterator[Finding]:
    """Ourselves, Python, and every package that we require, against the version that we require."""
    yield Finding("sharpaudit", metadata.version("sharpaudit"))
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name, least, extra in requirements():
        if extra is None:
            yield _package(name, least)


def _package(name: str, least: str) -> Finding:
    came = installed(name)
    problem = None
    if came is None:
        problem = f"not installed: pip install '{name}>={least}'"
    elif _numbers(came) < _numbers(least):
        problem = f"{least} or newer is needed: pip install -U '{name}>={least}'"
    elif name in IMPORTED:
        try:
            import_module(name)
        except Exception as error:  # a broken installation fails in any way it likes, and that is what was asked for
            problem = f"cannot be imported: {clean(f'{type(error).__name__}: {error}', 300)}"
    return Finding(name, came or "-", problem)


def _extras() -> Iterator[Finding]:
    """What `pip install sharpaudit[EXTRA]` would add."""
    lacking: dict[str, list[str]] = {}
    for name, _, extra in requirements():
        if extra is not None:
            lacking.setdefault(extra, []).extend([] if installed(name) else [name])
    for extra, names in sorted(lacking.items()):
        yield Finding(f"extra [{extra}]", f"not installed: {', '.join(names)}" if names else "installed")


def _torch() -> Iterator[Finding]:
    """The devices, each with what it can do."""
    import torch

    from sharpaudit.device import devices

    found = devices()
    for name in found:
        yield from device(name)
    if found == ["cpu"]:
        yield Finding(
            "cuda", f"none; torch was built {'for CUDA ' + torch.version.cuda if torch.version.cuda else 'without CUDA'}"
        )
    yield Finding("threads", f"{torch.get_num_threads()} of {os.cpu_count()} processors")


def device(name: str) -> Iterator[Finding]:
    """A device, the probes it can run, and how long one Hessian product takes on it, whose numbers are held against the CPU's."""
    import torch

    from sharpaudit import probes
    from sharpaudit.device import described, with_float64
    from sharpaudit.workbench import Need

    text = platform.processor() or platform.machine() if name == "cpu" else described(name)
    if name.startswith("cuda"):
        text += f", {torch.cuda.get_device_properties(name).total_memory / 2**30:.0f} GiB"
    try:
        seconds, *found = _tried(name)
        off = max(float((one - other).norm() / other.norm()) for one, other in zip(found, _tried("cpu")[1:], strict=True))
        problem = f"computes wrongly: {off:.1%} off the CPU" if off > TOLERANCE else None
    except (RuntimeError, SharpauditError) as error:
        problem = f"cannot compute: {clean(str(error), 300)}"
    yield Finding(name, clean(text), problem)
    if problem is None:
        every = [probes.find(each) for each in probes.names()]
        exact = with_float64(torch.device(name)) == torch.device(name)
        aside = [] if exact else [each.name for each in every if {Need.OBJECTIVE, Need.CORRUPTED} & each.needs]
        yield Finding(f"{name} probes", f"all {len(every)}" + (f"; on the CPU: {', '.join(aside)}" if aside else ""))
        yield Finding(f"{name} product", f"{1000 * seconds:.0f} ms for a Hessian product of {TRIED}, {EXAMPLES} images")


def _tried(name: str) -> tuple[float, Tensor, Tensor]:
    """Seconds of a Hessian product on the device called `name`, the product and logits, as an audit gets them in float32."""
    import torch

    from sharpaudit.checkpoints import zoo
    from sharpaudit.curvature.objective import Objective
    from sharpaudit.device import compute_settings, wait, with_float64

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, images = zoo.build(TRIED).eval(), torch.randn(EXAMPLES, *zoo.ENTRIES[TRIED].input_size)
    with compute_settings(torch.get_num_threads()):
        with torch.no_grad():
            logits = module.to(name)(images.to(name)).cpu()
        exact = with_float64(torch.device(name))
        labels = torch.arange(EXAMPLES, device=exact) % logits.shape[1]
        objective = Objective(module.to(exact), images.to(exact), labels, batch_size=EXAMPLES)
        v = torch.ones_like(objective.parameters)
        objective.hvp(v)
        wait()
        started = time.perf_counter()
        product = objective.hvp(v)
        wait()
        return time.perf_counter() - started, product.cpu(), logits


def _machine() -> Iterator[Finding]:
    from sharpaudit.checkpoints import memory

    free = memory.available()
    yield Finding("memory", "unknown" if free is None else f"{free / 2**30:.1f} GiB available")


def folders() -> Iterator[Finding]:
    """The places that are written to: run folders here, crash files in the temporary folder."""
    for name, place in (("current folder", os.getcwd), ("temporary folder", tempfile.gettempdir)):
        try:
            folder = Path(place())
            with tempfile.TemporaryFile(dir=folder):
                pass
            free = shutil.disk_usage(folder).free
        except OSError as error:
            yield Finding(name, "-", f"cannot be written: {error.strerror}")
            continue
        problem = f"less than {LEAST_FREE // 2**20} MiB free" if free < LEAST_FREE else None
        yield Finding(name, f"{clean(str(folder), 500)}, {free / 2**30:.1f} GiB free", problem)


def _data() -> Iterator[Finding]:
    from sharpaudit.data.catalogue import listing

    sets = list(listing(search_path()))
    for entry in sets:
        if entry.found:
            yield Finding(f"data {entry.name}", f"{entry.num_images:,} images, {entry.detail}")
    absent = [entry.name for entry in sets if not entry.found]
    if absent:
        yield Finding("data not found", ", ".join(absent))


def _plugins() -> Iterator[Finding]:
    """By name; to ask them anything would run them."""
    from sharpaudit.probes import plugins

    for name, package in plugins().items():
        yield Finding(f"plug-in {clean(name)}", package)


def _variables() -> Iterator[Finding]:
    """The data search path, and variables that nobody reads."""
    for folder in search_path():
        problem = None if folder.is_dir() else "not a folder: correct SHARPAUDIT_DATA"
        yield Finding("data searched in", clean(str(folder), 500), problem)
    for complaint in unknown_variables():
        yield Finding("environment", "", complaint)


def requirements() -> Iterator[tuple[str, str, str | None]]:
    """Name, least version and extra of each package that our metadata asks for."""
    for line in metadata.requires("sharpaudit") or ():
        found = re.match(r"([A-Za-z0-9._-]+)(?:\[.*?\])?\s*(?:\(?>=\s*([0-9.]+))?", line)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        if found:
            yield found[1], found[2] or "0", extra[1] if extra else None


def installed(name: str) -> str | None:
    """The version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
