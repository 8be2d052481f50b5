"""Pictures of a text token by token: surprisal, gates and states; and the saturation of the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textgen.plots.style import drawable, in_style, save

_COLUMNS, _LINES = 90, 40  # how much text draw_surprisal shows
_LINE_END = "↵"


def draw_surprisal(pieces: Sequence[str], bits: np.ndarray, title: str, path: Path) -> None:
    """Draw the first lines of a text of N pieces, with darker backgrounds for more bits (N,); PNG."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    # The scale ends at the 98th percentile, so that one outlier does not make all other tokens look pale.
    full = max(4.0, 2 * float(np.ceil(np.quantile(bits, 0.98) / 2)))
    cells = _text_cells(pieces, bits)
    lines = cells[-1][1] + 1
    # In inches: 0.075 x 0.17 per character (8 points), margins of 0.2, and 0.45 for the title.
    columns = max(max(cell[0] for cell in cells) + 1, 76)
    width, height = 0.4 + 0.075 * columns, 0.85 + 0.17 * lines
    figure = Figure(figsize=(width, height), dpi=160)
    axes = figure.add_axes((0.2 / width, 0.2 / height, 1 - 0.4 / width, 1 - 0.85 / height))
    axes.set_xlim(0, columns)
    axes.set_ylim(lines, 0)
    axes.set_axis_off()
    for column, line, character, cost in cells:
        strength = min(cost / full, 1.0)
        axes.add_patch(Rectangle((column, line), 1, 1, color=str(1 - 0.72 * strength), linewidth=0))
        # White text on dark backgrounds.
        ink = "0.6" if character == _LINE_END else "white" if strength > 0.7 else "black"
        axes.text(
            column + 0.5, line + 0.54, character, color=ink, ha="center", va="center", family="monospace",
            fontsize=8, parse_math=False,
        )  # fmt: skip
    axes.set_title(
        f"{drawable(title)}\nsurprisal: white = 0 bits, darkest = {full:.0f} bits per token or more",
        loc="left", fontsize=9, parse_math=False,
    )  # fmt: skip
    save(figure, path)


def _text_cells(pieces: Sequence[str], bits: np.ndarray) -> list[tuple[int, int, str, float]]:
    """(column, line, character, bits of its token) for the text that fits; long lines are wrapped."""
    cells, column, line = list[tuple[int, int, str, float]](), 0, 0
    for piece, cost in zip(pieces, bits.tolist(), strict=True):
        for character in piece or "·":
            if line == _LINES:
                return cells
            shown = _LINE_END if character == "\n" else drawable(character, "monospace")
            cells.append((column, line, shown, cost))
            column += 1
            if character == "\n" or column == _COLUMNS:
                column, line = 0, line + 1
    return cells


@dataclass(frozen=True)
class HeatMap:
    """Values (K, N) of K units at N tokens: from 0 to 1, or if signed, of any range around 0."""

    title: str
    values: np.ndarray
    signed: bool


def draw_gates(
    maps: Sequence[HeatMap], units: Sequence[str], pieces: Sequence[str], title: str, path: Path
) -> None:
    """Draw a heat map for each gate and state, with K unit names as rows and N pieces as columns; PNG.

    Gates go from white (shut) to black (open), signed values from dark (negative) to light (positive).
    """
    from matplotlib.figure import Figure

    height = 0.75 + 0.155 * len(units)
    figure = Figure(figsize=(13, height * len(maps) + 0.4), dpi=120, layout="constrained")
    figure.suptitle(drawable(title), x=0.01, ha="left", fontsize=11, parse_math=False)
    for axes, each in zip(figure.subplots(len(maps), squeeze=False)[:, 0], maps, strict=True):
        limit = float(np.abs(each.values).max(initial=0)) or 1.0
        low, high = (-limit, limit) if each.signed else (0.0, 1.0)
        colours = "cividis" if each.signed else "Greys"
        image = axes.imshow(
            each.values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="none"
        )
        axes.set_title(each.title, loc="left", fontsize=9, weight="bold")
        shown = [_LINE_END if piece == "\n" else drawable(piece or "·", "monospace") for piece in pieces]
        style = {"family": "monospace", "fontsize": 7, "parse_math": False}
        if max(map(len, shown)) > 1:
            axes.set_xticks(range(len(shown)), shown, rotation=90, **style)
        else:
            axes.set_xticks(range(len(shown)), shown, va="baseline", **style)
            axes.tick_params("x", pad=9)
        axes.set_yticks(range(len(units)), units, fontsize=7)
        axes.tick_params(length=0)
        axes.spines[:].set_color("0.8")
        bar = figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_edgecolor("0.8")
        if not each.signed:
            bar.set_ticks([0, 1], labels=["0 shut", "1 open"])
    save(figure, path)


def draw_saturation(gates: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, path: Path) -> None:
    """Draw for each gate one dot per unit, from the shares of tokens at which it is shut and open; PNG.

    gates has the two shares by the name of the gate, (L, H) each.

    After figure 3 of Karpathy, Johnson & Fei-Fei, "Visualizing and understanding recurrent networks", 2015.
    """
    from matplotlib.figure import Figure

    markers = "o^sDv"
    figure = Figure(figsize=(3.6 * len(gates) + 0.4, 4.2), dpi=120, layout="constrained")
    figure.suptitle(f"{drawable(title)}\n", x=0.01, ha="left", fontsize=10, parse_math=False)
    all_axes = figure.subplots(1, len(gates), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (gate, (shut, is_open)) in zip(all_axes, gates.items(), strict=True):
        in_style(axes, "shut (below 0.1), % of tokens", "open (above 0.9), % of tokens")
        axes.plot([0, 100], [100, 0], color="0.7", linewidth=0.8)
        for layer, (x, y) in enumerate(zip(shut, is_open, strict=True)):
            axes.plot(
                100 * x, 100 * y, markers[layer % len(markers)], color=str(0.55 * layer / len(shut)),
                markersize=4, fillstyle="none", markeredgewidth=0.8, label=f"layer {layer}",
            )  # fmt: skip
        axes.set_title(f"{gate} gate", loc="left", fontsize=10)
        axes.label_outer()
    if len(next(iter(gates.values()))[0]) > 1:
        all_axes[-1].legend(frameon=False, fontsize=8)
    save(figure, path)
