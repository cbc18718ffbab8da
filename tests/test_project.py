"""What the project says of itself outside the package: workflows, guides and the documentation site."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SESSIONS = set(re.findall(r"@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text()))


@pytest.fixture(scope="module")
def site() -> str:
    """The generated pages of the site, as one text."""
    spec = importlib.util.spec_from_file_location("reference", GITHUB / "docs" / "reference.py")
    assert spec and spec.loader
    reference: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    return "\n".join(reference.pages().values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_sessions_that_exist(path: Path) -> None:
    text = path.read_text()
    matrix = {
        name
        for job in yaml.safe_load(text)["jobs"].values()
        for name in job.get("strategy", {}).get("matrix", {}).get("session", [])
    }
    named = set(re.findall(r"nox -s (\w+)", text)) | matrix
    assert named <= SESSIONS and "nox" in text


@pytest.mark.parametrize("guide", ["CONTRIBUTING.md", "SECURITY.md"])
def test_guides_name_files_and_sessions_that_exist(guide: str) -> None:
    text = (GITHUB / guide).read_text()
    assert set(re.findall(r"nox -s (\w+)", text)) <= SESSIONS
    for name in re.findall(r"`([\w./]+(?:\.py|/))`", text.replace("NAME", "spectrum")):
        places = [ROOT, ROOT / "sharpaudit", ROOT / "sharpaudit" / "checkpoints"]
        assert any((place / name).exists() for place in places), f"{guide} names {name}"


def test_every_name_in_the_readme_is_on_the_site(site: str) -> None:
    readme = (ROOT / "README.md").read_text()
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", readme))
    measurements = set(re.findall(r"\b(?:clean|calibration|corruption|sharpness|flatness|estimate)\.[a-z_]+\b", readme))
    fenced = "".join(re.findall(r"```sh\n(.*?)```", readme, re.S))
    commands = {f"sharpaudit {name}" for name in re.findall(r"\bsharpaudit ([a-z]+)", fenced)}
    assert options and measurements and commands
    assert [name for name in sorted(options | measurements | commands) if name not in site] == []
