"""The project's chores. `nox` alone runs what CI runs: lint, types and tests, in one environment."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["check"]

GENERATOR = "imagecorruptions==1.1.2"
"""The public corruption generator: compared with, and needed for nothing else."""


@nox.session
def check(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    session.install("-e", ".[dev]", GENERATOR)
    session.run("pytest", "-m", "slow", "-s", *session.posargs)


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
