"""How does a matplotlib figure become markup that a strict page can hold?

The page forbids inline styles and everything remote, is read on light and on dark paper, and must come out the same twice. So
styles become attributes, the ink becomes ``currentColor``, text stays text in the page's own font, and dates and metadata go.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""Drawn in the colour of the surrounding text."""

BLUE = "#0072b2"
"""Drawn in the page's own blue, a lighter one on dark paper."""

ORANGE, VERMILION, SKY, GREY, PAPER = "#f0b445", "#d9692b", "#56b4e9", "#8a929b", "#f4f1ea"
"""With the blue distinguishable under every common colour blindness (after Okabe and Ito 2008), on white as on near-black."""

SETTINGS = {
    "svg.fonttype": "none",
    "font.size": 9.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.titlesize": 9.0,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "path.simplify": False,
}

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
BOTTOM = 0.45
"""Inches for the numbers and the name of the horizontal axis."""

PIXELS = 120
"""Of an inch on the page: text of all drawings comes out as large as the page's own, however wide they are."""

PAGE = {INK: "currentColor", BLUE: f"var(--blue, {BLUE})"}
"""Colours that the page decides."""

GEOMETRY = frozenset(("d", "x", "y", "transform"))
KEPT = {
    *("viewBox", "x1", "y1", "x2", "y2", "width", "height", "id", "clip-path", "text-anchor", "font-size", "font-weight"),
    *("fill", "fill-opacity", "stroke", "stroke-opacity", "stroke-width", "stroke-dasharray", "stroke-dashoffset", "opacity"),
}
"""Attributes that draw; no others survive."""


def drawing(
    width: float, height: float, paint: Callable[[Figure], None], *, label: str, salt: str, left: float = 0.55, top: float = 0.1
) -> str:
    """What `paint` puts on a figure of that many inches, as an ``<svg>`` element.

    Args:
        width: of the figure, in inches at the page's text size.
        height: likewise.
        paint: draws on the figure it is given.
        label: read to who cannot see the figure.
        salt: keeps the ids of several figures on one page apart.
        left: inches for what stands left of the axes.
        top: inches for what stands above them.
    """
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {**SETTINGS, "svg.hashsalt": salt}
    buffer = BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        figure = Figure(figsize=(width, height))
        figure.subplots_adjust(left=left / width, right=1 - 0.1 / width, bottom=BOTTOM / height, top=1 - top / height)
        paint(figure)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _markup(ElementTree.fromstring(buffer.getvalue()), label, round(width * PIXELS))


def _matplotlib() -> ModuleType:
    """matplotlib, imported in such a way that it neither reads nor writes a file of the user's.

    It would keep a list of the machine's fonts under the home folder, and take settings from there. Text stays text here, so its
    own fonts, which are measured for the layout, are enough; the drawings are the same on every machine.
    """
    if "matplotlib" not in sys.modules:
        before = {name: os.environ.get(name) for name in ("MPLCONFIGDIR", "MPL_IGNORE_SYSTEM_FONTS")}
        with TemporaryDirectory(prefix="sharpaudit-") as folder:
            os.environ |= {"MPLCONFIGDIR": folder, "MPL_IGNORE_SYSTEM_FONTS": "1"}
            import_module("matplotlib.font_manager")
        for name, value in before.items():
            os.environ.pop(name)
            os.environ |= {} if value is None else {name: value}
    return import_module("matplotlib")


def _markup(root: ElementTree.Element, label: str, pixels: int) -> str:
    used = {name for element in root.iter() for name in _references(element)}
    for parent in root.iter():
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        _strip(element, used)
    root.attrib |= {"role": "img", "aria-label": label, "fill": "currentColor", "stroke-linejoin": "round"}
    del root.attrib["height"]
    root.set("width", str(pixels))
    ElementTree.register_namespace("", SVG)
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode"))


def _references(element: ElementTree.Element) -> list[str]:
    values = " ".join(element.attrib.values())
    return re.findall(r"url\(#([\w-]+)\)", values) + re.findall(r"(?:^| )#([\w-]+)", element.get(f"{{{XLINK}}}href", ""))


def _strip(element: ElementTree.Element, used: set[str]) -> None:
    """Keep the attributes that draw; turn styles into attributes and the ink into the text's colour."""
    style = dict(part.strip().split(": ", 1) for part in element.get("style", "").split(";") if ": " in part)
    if font := re.search(r"(?:(bold|\d00) )?([\d.]+)px", style.pop("font", "")):
        style |= {"font-size": font[2]} | ({"font-weight": font[1]} if font[1] else {})
    href = element.get(f"{{{XLINK}}}href")
    attributes = {**element.attrib, **style}
    element.attrib.clear()
    for name, value in attributes.items():
        if name in GEOMETRY:
            element.set(name, _rounded(value))
        elif name in KEPT and (name != "id" or value in used):
            element.set(name, PAGE.get(value, value))
    if href:
        element.set("href", href)


def _rounded(geometry: str) -> str:
    """Coordinates to a hundredth of a point: finer than any printer."""
    return re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), " ".join(geometry.split()))
