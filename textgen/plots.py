"""Every picture that textgen draws, in one style that reads in black and white.

Needs matplotlib (extra `plot`).
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textgen.atomic import write_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# One a cell, in the order that they are given in; told apart without colour.
_CELL_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "black", "marker": "o"},
    {"color": "0.45", "marker": "s"},
    {"color": "0.6", "marker": "^"},
)


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def _figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    # The object interface, not pyplot: no global state, no window, no choice of backend.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    return figure, _in_style(figure.add_subplot(), x_label, y_label)


def _in_style(axes: Axes, x_label: str, y_label: str) -> Axes:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _save(figure: Figure, path: Path) -> None:
    """As PNG, SVG or PDF by the path's name, whole or not at all. Raises OSError."""
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:])
    write_file(path, image.getvalue())


def draw_loss(metrics: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Training and validation loss against epochs, from the records of metrics.jsonl, as a PNG file."""
    figure, axes = _figure("epochs (passes over the training text)", "loss (nats/token)")
    styles: dict[str, dict[str, Any]] = {
        "train": {"color": "0.6", "linewidth": 1.2, "label": "training"},
        "val": {"color": "black", "linewidth": 1.5, "marker": "o", "markersize": 4, "label": "validation"},
    }
    for kind, style in styles.items():
        records = [record for record in metrics if record["kind"] == kind]
        axes.plot([r["epoch"] for r in records], [r["nats_per_token"] for r in records], **style)
    best = [record for record in metrics if record["kind"] == "val" and record["best"]]
    if best:
        epoch, loss = best[-1]["epoch"], best[-1]["nats_per_token"]
        ring: dict[str, Any] = {
            "color": "black",
            "markersize": 10,
            "fillstyle": "none",
            "linestyle": "none",
            "marker": "o",
        }
        axes.plot(epoch, loss, label=f"best: {loss:.3f} nats/token", **ring)
    losses = [record["nats_per_token"] for record in metrics if record["kind"] in styles]
    if losses:
        # The first loss is that of guessing; leave it out of the scale, or the rest is one flat line.
        ordered = sorted(losses)
        top = ordered[int(0.97 * (len(ordered) - 1))]
        margin = 0.05 * max(top - ordered[0], 0.01)
        axes.set_ylim(ordered[0] - margin, top + 4 * margin)
    axes.legend(frameon=False)
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    _save(figure, path)


@dataclass(frozen=True)
class GradientCurves:
    """What draw_gradients shows of one cell: norms by k from 0 on, losses by reset length in tokens."""

    label: str
    first: np.ndarray  # median with first weights
    trained: np.ndarray  # median after training
    low: np.ndarray  # after training, what a tenth of the positions lie below
    high: np.ndarray  # and what a tenth lie above
    losses: Mapping[int, float]  # nats per token
    carried_loss: float


_GRADIENT_DECADES = 8  # below the highest point; what lies deeper is as good as nothing


def draw_gradients(cells: Sequence[GradientCurves], path: Path) -> None:
    """Gradient norms against k, and the loss by reset length; PNG, SVG or PDF by name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_norms(_in_style(left, "k, steps back (tokens)", "gradient norm (nats per unit of state)"), cells)
    _draw_resets(_in_style(right, "state reset every k tokens", "validation loss (nats/token)"), cells)
    _save(figure, path)


def _draw_norms(axes: Axes, cells: Sequence[GradientCurves]) -> None:
    axes.set_yscale("log")
    highest = [curve[curve < np.inf].max(initial=0) for cell in cells for curve in (cell.first, cell.high)]
    top = max(map(float, highest)) or 1.0
    for number, (cell, style) in enumerate(zip(cells, _CELL_STYLES, strict=False)):
        steps = np.arange(len(cell.trained))
        every = max(len(steps) // 8, 1)
        marks: dict[str, Any] = {"markersize": 4, "markevery": (number * every // len(cells), every)}
        if len(cells) == 1:  # three bands would hide each other
            low, high = _on_log_axis(cell.low), _on_log_axis(cell.high)
            axes.fill_between(
                steps, low, high, color="0.87", linewidth=0, label="10 to 90 % of the positions"
            )
        axes.plot(steps, _on_log_axis(cell.trained), label=f"{cell.label}, after training", **style, **marks)
        visible = np.flatnonzero(_on_log_axis(cell.trained) > top / 10**_GRADIENT_DECADES)
        if len(visible):
            last = int(visible[-1])
            axes.annotate(
                cell.label, (last, cell.trained[last]), (5, 4), textcoords="offset points", fontsize=8
            )
        first = style | marks | {"fillstyle": "none", "linestyle": (0, (4, 3)), "linewidth": 1.1}
        axes.plot(steps, _on_log_axis(cell.first), label=f"{cell.label}, first weights", **first)
    axes.set_ylim(top / 10**_GRADIENT_DECADES, top * 3)
    axes.set_title("Median of |d loss(t) / d state(t-k)|", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _on_log_axis(norms: np.ndarray) -> np.ndarray:
    """Norms with a gap where there is no logarithm."""
    return np.where((norms > 0) & np.isfinite(norms), norms, np.nan)


def _draw_resets(axes: Axes, cells: Sequence[GradientCurves]) -> None:
    axes.set_xscale("log", base=2)
    resets = list(cells[0].losses)
    never = 2 * max(resets, default=1)
    for cell, style in zip(cells, _CELL_STYLES, strict=False):
        axes.plot(resets, list(cell.losses.values()), markersize=4, label=cell.label, **style)
        axes.plot([never], [cell.carried_loss], markersize=7, fillstyle="none", linestyle="none", **style)
    axes.set_xticks([*resets, never], [*map(str, resets), "never"])
    axes.minorticks_off()
    axes.set_title("How much of the loss is owed to what lies back", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


@dataclass(frozen=True)
class LossCurve:
    """The validation loss of one run while it trained, a number an evaluation."""

    tokens: Sequence[float]  # read so far
    minutes: Sequence[float]
    losses: Sequence[float]  # nats per token


_CELL_LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_MEAN_POINTS = 60


def draw_comparison(cells: Mapping[str, Sequence[LossCurve]], title: str, path: Path) -> None:
    """Validation loss against tokens and against minutes as PNG, by cell: each seed thin, their mean bold."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    most = max(max(curve.tokens) for curves in cells.values() for curve in curves)
    unit, name = (1e6, "millions of tokens") if most >= 1e6 else (1e3, "thousands of tokens")
    left = _in_style(axes[0], f"text read ({name})", "validation loss (nats/token)")
    right = _in_style(axes[1], "training time (minutes)", "")
    for (label, curves), look, line in zip(cells.items(), _CELL_STYLES, _CELL_LINES, strict=False):
        style = look | {"linestyle": line}
        _draw_curves(left, label, [(np.divide(each.tokens, unit), each.losses) for each in curves], style)
        _draw_curves(right, label, [(np.asarray(each.minutes), each.losses) for each in curves], style)
    left.set_title(title, loc="left", fontsize=10, parse_math=False)
    right.legend(frameon=False)
    _save(figure, path)


def _draw_curves(
    axes: Axes, label: str, curves: Sequence[tuple[np.ndarray, Sequence[float]]], style: dict[str, Any]
) -> None:
    if len(curves) > 1:
        for places, losses in curves:
            axes.plot(places, losses, color=style["color"], linewidth=0.6)
    # Evaluations fall on other places in each run; the mean is over the stretch that all have.
    shared = max(min(places) for places, _ in curves), min(max(places) for places, _ in curves)
    points = np.linspace(*shared, _MEAN_POINTS)
    mean = np.mean([np.interp(points, places, losses) for places, losses in curves], axis=0)
    axes.plot(points, mean, linewidth=2, markersize=5, markevery=_MEAN_POINTS // 6, label=label, **style)


_COLUMNS, _LINES = 90, 40  # of the text in surprise.png
_LINE_END = "↵"


def draw_surprise(pieces: Sequence[str], bits: np.ndarray, title: str, path: Path) -> None:
    """The first lines of a text, N pieces, each on a ground the darker the more bits (N,) it took; PNG."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    # Full at what one token in fifty exceeds, so that one odd token does not pale all others.
    full = max(4.0, 2 * float(np.ceil(np.quantile(bits, 0.98) / 2)))
    cells = _text_cells(pieces, bits)
    lines = cells[-1][1] + 1
    # A cell has the proportions of a letter of 8 points; the margins are 0.2 inches, with 0.45 for the title.
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
        # White on what is darker than the middle.
        ink = "0.6" if character == _LINE_END else "white" if strength > 0.7 else "black"
        axes.text(
            column + 0.5, line + 0.54, character, color=ink, ha="center", va="center", family="monospace",
            fontsize=8, parse_math=False,
        )  # fmt: skip
    axes.set_title(
        f"{title}\nsurprise: 0 bits white, {full:.0f} bits a token or more dark",
        loc="left", fontsize=9, parse_math=False,
    )  # fmt: skip
    _save(figure, path)


def _text_cells(pieces: Sequence[str], bits: np.ndarray) -> list[tuple[int, int, str, float]]:
    """Column, line, character and the bits of its token, for what fits; lines are broken at the edge."""
    cells, column, line = list[tuple[int, int, str, float]](), 0, 0
    for piece, cost in zip(pieces, bits.tolist(), strict=True):
        for character in piece or "·":
            if line == _LINES:
                return cells
            shown = _LINE_END if character == "\n" else _drawable(character)
            cells.append((column, line, shown, cost))
            column += 1
            if character == "\n" or column == _COLUMNS:
                column, line = 0, line + 1
    return cells


def _drawable(text: str) -> str:
    """The text with a box for what matplotlib's own font has no sign for, such as Chinese."""
    from matplotlib import font_manager

    signs = font_manager.get_font(font_manager.findfont("monospace")).get_charmap()
    return "".join(sign if ord(sign) in signs and sign.isprintable() else "□" for sign in text)


@dataclass(frozen=True)
class HeatMap:
    """Values (K, N) of K units at N tokens: 0..1, or signed, from -s to s."""

    title: str
    values: np.ndarray
    signed: bool


def draw_gates(
    maps: Sequence[HeatMap], units: Sequence[str], pieces: Sequence[str], title: str, path: Path
) -> None:
    """A heat map for each gate and state, K units by name down and the N pieces of the text across; PNG.

    Gates go from white, shut, to black, open. What is signed goes from dark, below 0, to light, above.
    """
    from matplotlib.figure import Figure

    height = 0.75 + 0.155 * len(units)
    figure = Figure(figsize=(13, height * len(maps) + 0.4), dpi=120, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    for axes, each in zip(figure.subplots(len(maps), squeeze=False)[:, 0], maps, strict=True):
        limit = float(np.abs(each.values).max(initial=0)) or 1.0
        low, high = (-limit, limit) if each.signed else (0.0, 1.0)
        colours = "cividis" if each.signed else "Greys"
        image = axes.imshow(
            each.values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="none"
        )
        axes.set_title(each.title, loc="left", fontsize=9, weight="bold")
        shown = [_LINE_END if piece == "\n" else _drawable(piece or "·") for piece in pieces]
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
    _save(figure, path)


def draw_saturation(gates: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, path: Path) -> None:
    """For each gate a dot a unit: the shares of tokens at which it is shut and open, (L, H) each; PNG.

    After figure 3 of Karpathy, Johnson & Fei-Fei, "Visualizing and understanding recurrent networks", 2015.
    """
    from matplotlib.figure import Figure

    markers = "o^sDv"
    figure = Figure(figsize=(3.6 * len(gates) + 0.4, 4.2), dpi=120, layout="constrained")
    figure.suptitle(f"{title}\n", x=0.01, ha="left", fontsize=10, parse_math=False)
    all_axes = figure.subplots(1, len(gates), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (gate, (shut, is_open)) in zip(all_axes, gates.items(), strict=True):
        _in_style(axes, "tokens at which shut, below 0.1 (%)", "tokens at which open, above 0.9 (%)")
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
    _save(figure, path)
