"""The one style of all pictures, which reads in black and white, and how they are written.

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


# One a cell, in the order that they are given in; told apart without colour.
CELL_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "black", "marker": "o"},
    {"color": "0.45", "marker": "s"},
    {"color": "0.6", "marker": "^"},
)


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def new_figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """An empty figure of the common size, with one pair of axes."""
    # The object interface, not pyplot: no global state, no window, no choice of backend.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    return figure, in_style(figure.add_subplot(), x_label, y_label)


def in_style(axes: Axes, x_label: str, y_label: str) -> Axes:
    """The same axes, labelled, with a pale grid and no frame above and on the right."""
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def drawable(text: str, family: str = "sans-serif") -> str:
    """The text with a box for what the font has no sign for, such as Chinese."""
    signs = _signs(family)
    return "".join(sign if ord(sign) in signs and sign.isprintable() else "□" for sign in text)


@lru_cache
def _signs(family: str) -> frozenset[int]:
    """The code points that a font has signs for; kept, since a picture asks for each character alone."""
    from matplotlib import font_manager

    font = font_manager.findfont(font_manager.FontProperties(family=[family]))
    return frozenset(font_manager.get_font(font).get_charmap())


def save(figure: Figure, path: Path) -> None:
    """As PNG, SVG or PDF by the path's name, whole or not at all. Raises OSError."""
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:])
    write_file(path, image.getvalue())
