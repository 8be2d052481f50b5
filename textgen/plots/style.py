"""The common style of all pictures, readable in black and white, and saving them atomically.

Needs matplotlib (extra `plot`).
"""

from __future__ import annotations

import importlib.util
import io
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.system.atomic import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# One per cell, in the order in which the cells are given; distinguishable without colour.
CELL_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "black", "marker": "o"},
    {"color": "0.45", "marker": "s"},
    {"color": "0.6", "marker": "^"},
)


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """A figure of the default size with one empty pair of axes, labelled and styled."""
    # The object interface instead of pyplot, which has global state and chooses a backend.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    return figure, in_style(figure.add_subplot(), x_label, y_label)


def in_style(axes: Axes, x_label: str, y_label: str) -> Axes:
    """Label the axes and give them a pale grid and no frame at the top and right; returns the same axes."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def drawable(text: str, family: str = "sans-serif") -> str:
    """The text with a box in place of every character that the font has no glyph for."""
    glyphs = _glyphs(family)
    return "".join(char if ord(char) in glyphs and char.isprintable() else "□" for char in text)


@lru_cache
def _glyphs(family: str) -> frozenset[int]:
    """The code points that a font has glyphs for."""
    from matplotlib import font_manager

    font = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return frozenset(font_manager.get_font(font).get_charmap())


def save(figure: Figure, path: Path) -> None:
    """Save a figure atomically as PNG, SVG or PDF, by the suffix of the path. Raises OSError."""
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:])
    write_file(path, image.getvalue())
