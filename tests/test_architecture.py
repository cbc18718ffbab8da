"""The storeys of the house: a module imports its package-mates and strictly lower storeys, lazy imports included."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sharpaudit

PACKAGE = Path(sharpaudit.__file__).parent

STOREYS = [
    {"errors"},
    {"files", "flags", "strict_json"},
    {"card", "strict_yaml", "signatures"},
    {"stats", "ascent", "device", "transfer", "request"},
    {"metrics", "curvature", "corruptions", "attacks", "store"},
    {"checkpoints", "data", "comparison", "gate"},
    {"workbench", "disambiguation", "setup_check", "report"},
    {"probes"},
    {"plan"},
    {"execute", "prepare"},
    {"cost"},
    {"audit", "study"},
    {"api"},
    {"cli"},
]
STOREY_OF = {name: level for level, names in enumerate(STOREYS) for name in names}
INSIDE = {
    "card": """
        schema
        codec reading
        comparable invariance
        measures
        circumstances outcome patterns prose
        measurement
    """,
    "checkpoints": """
        identification inspection
        structure
        model plain
        functions
        weights
        fitting
        fingerprint
        conversion matching
        contents effort state_dict
        architectures candidates torch_legacy torch_zip
        folder numpy_pickle torch_pickle
        pickle_reader safetensors_header source statements
        pickle_machine
        building classifier limits memory meta plain_data preprocessing signature strict_json tensors zoo
    """,
    "checkpoints/plain": """
        known
        inference
        given search
        verdict
        neighbours suggestions
        normalisations
        styles trial
        build geometry
        chain description running stationarity
    """,
    "cli": """
        demo
        compare doctor gate
        config convert inspect measure subjects
        data dry_run layers parameters probes running schema show sign
        app configuration guides progress streams usage values
    """,
    "curvature": """
        gauss_newton perturbations
        fisher_rao krylov linearity
        objective reparametrisation
        gradient network shards
        draws estimates relative_flatness threads
    """,
    "data": """
        catalogue
        paired
        synthetic
        imagenet published
        cifar
        idx npz user_code
        arrays classes corrupted folder inputs
        image_files
        files geometry images
    """,
    "metrics": """
        verification
        disagreement recomputation tables
        sources estimates
        accuracy agreement calibration terms
        corruption measured predictions
    """,
    "probes": """
        average_case information keskar slices
        accuracy calibration corruption first_order fisher_rao pac_bayes perturbation relative_flatness
        reparametrisation spectrum worst_case
    """,
    "report": """
        ci comparison export
        html markdown terminal
        overview
        outline
        document figures fleet_figures
        grids marks provenance
        svg tables wording
    """,
}
"""The storeys inside every package of more than ten files, the highest first; rooms stand for what is in them."""

WITHOUT_TORCH = ["card", "signatures", "stats", "metrics", "store", "gate", "comparison", "report", "api", "cli"]


def imports(path: Path) -> set[str]:
    """The top-level sharpaudit modules that the file at `path` imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] if node.module != "sharpaudit" else [f"sharpaudit.{a.name}" for a in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("sharpaudit.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downward(path: Path) -> None:
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if here in ("__init__", "__main__"):
        return
    for there in imports(path) - {here, "__version__"}:
        assert STOREY_OF[there] < STOREY_OF[here], f"{here} (storey {STOREY_OF[here]}) imports {there} ({STOREY_OF[there]})"


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_judging_needs_no_torch(name: str) -> None:
    if not (PACKAGE / name).exists() and not (PACKAGE / f"{name}.py").exists():
        pytest.skip(f"{name} is not built yet")
    code = f"import sys; sys.modules['torch'] = None; import sharpaudit.{name}"
    subprocess.run([sys.executable, "-c", code], check=True)


def rooms(package: Path) -> dict[str, list[Path]]:
    """The files and packages directly inside `package`, each with its files."""
    files = {path.stem: [path] for path in package.glob("*.py") if path.stem != "__init__"}
    return files | {path.parent.name: sorted(path.parent.rglob("*.py")) for path in package.glob("*/__init__.py")}


def inside(package: Path, path: Path) -> set[str]:
    """What is directly inside `package` and imported by the file at `path`, anywhere in it."""
    dotted = ".".join(package.relative_to(PACKAGE.parent).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {name.removeprefix(f"{dotted}.").split(".")[0] for name in names if name.startswith(f"{dotted}.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_is_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300, "split it by reason to change, or find what is superfluous in it"


def test_a_command_is_read_in_one_go() -> None:
    found = [n for n in ast.walk(ast.parse((PACKAGE / "cli" / "measure.py").read_text())) if isinstance(n, ast.FunctionDef)]
    assert found and all((node.end_lineno or 0) - node.lineno < 40 for node in found)


LARGE = [path for path in PACKAGE.rglob("*") if path.is_dir() and (path / "__init__.py").exists() and len(rooms(path)) > 10]


@pytest.mark.parametrize("package", sorted(LARGE), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_large_package_has_storeys_too(package: Path) -> None:
    storeys = [line.split() for line in INSIDE[str(package.relative_to(PACKAGE))].split("\n") if line.strip()]
    height = {name: -level for level, names in enumerate(storeys) for name in names}
    members = rooms(package)
    assert height.keys() == members.keys() and sum(map(len, storeys)) == len(members)
    for here, paths in members.items():
        for there in set().union(*(inside(package, path) for path in paths)) & members.keys() - {here}:
            assert height[there] < height[here], f"{package.name}: {here} imports {there}"
