"""The project's chores. `nox` alone runs what CI runs: lint, types and tests, in one environment."""

import random
import re
import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["check"]

GENERATOR = "imagecorruptions==1.1.2"
"""The public corruption generator: compared with, and needed for nothing else."""


ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""For tests that run side by side, one process a core."""


@nox.session
def check(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run(
        "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, Path(".github/workflows").glob("*.yml"))
    )
    session.run("mypy")
    session.run("pytest", "-n", "auto", *session.posargs, env=ONE_THREAD)


@nox.session
def slow(session: nox.Session) -> None:
    session.install("-e", ".[dev]", GENERATOR)
    fresh = {"SHARPAUDIT_TEST_SEED": str(random.randrange(10**9))}
    session.run("pytest", "-m", "slow", "-s", *session.posargs, env=fresh)


@nox.session
def fuzz(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/checkpoints/test_fuzz.py", *session.posargs, env={"SHARPAUDIT_FUZZ": "100000"})


@nox.session
def demo(session: nox.Session) -> None:
    session.install("-e", ".")
    session.run("sharpaudit", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    session.install("-e", ".[dev]", GENERATOR)
    session.install("--no-deps", "hessian-eigenthings", "pyhessian")  # compared with, and needed for nothing else
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, in `.github/docs/build`; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-q", ".github/docs", ".github/docs/build", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """The default tests, and the lines that none of them reaches."""
    session.install("-e", ".[dev]", "pytest-cov")
    session.run("pytest", "--cov=sharpaudit", "--cov-branch", "--cov-report=term-missing:skip-covered", *session.posargs)


@nox.session
def oldest(session: nox.Session) -> None:
    """The default tests on the oldest versions of the dependencies that we say are enough."""
    dependencies = tomllib.loads(Path("pyproject.toml").read_text())["project"]["dependencies"]
    session.install("-e", ".[dev]", *(re.sub(">=", "==", each) for each in dependencies))
    session.run("pytest", "-n", "auto", *session.posargs, env=ONE_THREAD)


@nox.session
def gpu(session: nox.Session) -> None:
    """On a machine with a GPU: the tests that need one, then the benchmark. Elsewhere the benchmark in miniature."""
    session.install("-e", ".[dev]", GENERATOR)
    session.install("--no-deps", "hessian-eigenthings", "pyhessian")  # compared with, and needed for nothing else
    session.run("pytest", "-m", "gpu")
    session.run("python", "-W", "ignore", "-m", "tests.benchmarks.device", *session.posargs)
