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
    {"checkpoints", "data", "compare", "gate"},
    {"workbench", "decision", "setup_check", "report"},
    {"probes"},
    {"plan"},
    {"execute", "preparation"},
    {"cost"},
    {"audit", "study"},
    {"api"},
    {"cli"},
]
STOREY_OF = {name: level for level, names in enumerate(STOREYS) for name in names}
WITHOUT_TORCH = ["card", "signatures", "stats", "metrics", "store", "gate", "compare", "report", "api", "cli"]


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
