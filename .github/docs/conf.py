"""How the site is built: `nox -s docs`. Pages under `reference/` are written by `reference.py` from the package itself."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

import sharpaudit

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

project = "sharpaudit"
author = "the sharpaudit maintainers"
copyright = author
release = sharpaudit.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # links of the README that are relative to the repository
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
default_role = "code"
html_theme = "furo"
html_title = f"sharpaudit {release}"
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Write the reference pages before Sphinx looks for sources."""
    import reference

    reference.write(HERE / "reference")
