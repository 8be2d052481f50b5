"""Line plots: the loss of a run, the losses of compared cells, and gradient norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textgen.plots.style import CELL_STYLES, drawable, in_style, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_loss(metrics: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Plot training and validation loss against epochs, from the active records of a run's metrics; PNG."""
    figure, axes = new_figure("epochs (passes over the training text)", "loss (nats/token)")
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
        # Leave out the high losses at the start, which would make the rest of the curve look flat.
        ordered = sorted(losses)
        top = ordered[int(0.97 * (len(ordered) - 1))]
        margin = 0.05 * max(top - ordered[0], 0.01)
        axes.set_ylim(ordered[0] - margin, top + 4 * margin)
    axes.legend(frameon=False)
    axes.set_title(drawable(title), loc="left", fontsize=10, parse_math=False)
    save(figure, path)


@dataclass(frozen=True)
class GradientCurves:
    """What draw_gradients shows for one cell: gradient norms (K + 1,) for k = 0 .. K, and losses."""

    label: str
    initial: np.ndarray  # median with the initial weights
    trained: np.ndarray  # median after training
    low: np.ndarray  # 10th percentile after training
    high: np.ndarray  # 90th percentile after training
    losses: Mapping[int, float]  # nats per token, by reset length in tokens
    carried_loss: float  # nats per token, without resets


_GRADIENT_DECADES = 8  # shown below the highest point


def draw_gradients(cells: Sequence[GradientCurves], path: Path) -> None:
    """Plot gradient norms against k and the loss against the reset length; PNG, SVG or PDF by the suffix."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_norms(in_style(left, "k, steps back (tokens)", "gradient norm (nats per unit of state)"), cells)
    _draw_resets(in_style(right, "tokens between resets of the state", "validation loss (nats/token)"), cells)
    save(figure, path)


def _draw_norms(axes: Axes, cells: Sequence[GradientCurves]) -> None:
    axes.set_yscale("log")
    highest = [curve[curve < np.inf].max(initial=0) for cell in cells for curve in (cell.initial, cell.high)]
    top = max(map(float, highest)) or 1.0
    for number, (cell, style) in enumerate(zip(cells, CELL_STYLES, strict=False)):
        steps = np.arange(len(cell.trained))
        every = max(len(steps) // 8, 1)
        marks: dict[str, Any] = {"markersize": 4, "markevery": (number * every // len(cells), every)}
        if len(cells) == 1:  # bands of several cells would hide each other
            low, high = _on_log_axis(cell.low), _on_log_axis(cell.high)
            axes.fill_between(steps, low, high, color="0.87", linewidth=0, label="10th to 90th percentile")
        axes.plot(steps, _on_log_axis(cell.trained), label=f"{cell.label}, after training", **style, **marks)
        visible = np.flatnonzero(_on_log_axis(cell.trained) > top / 10**_GRADIENT_DECADES)
        if len(visible):
            last = int(visible[-1])
            axes.annotate(
                cell.label, (last, cell.trained[last]), (5, 4), textcoords="offset points", fontsize=8
            )
        initial = style | marks | {"fillstyle": "none", "linestyle": (0, (4, 3)), "linewidth": 1.1}
        axes.plot(steps, _on_log_axis(cell.initial), label=f"{cell.label}, initial weights", **initial)
    axes.set_ylim(top / 10**_GRADIENT_DECADES, top * 3)
    axes.set_title("Median of |d loss(t) / d state(t-k)|", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


def _on_log_axis(norms: np.ndarray) -> np.ndarray:
    """The norms with NaN, which leaves a gap, where they have no logarithm."""
    return np.where((norms > 0) & np.isfinite(norms), norms, np.nan)


def _draw_resets(axes: Axes, cells: Sequence[GradientCurves]) -> None:
    axes.set_xscale("log", base=2)
    resets = list(cells[0].losses)
    never = 2 * max(resets, default=1)
    for cell, style in zip(cells, CELL_STYLES, strict=False):
        axes.plot(resets, list(cell.losses.values()), markersize=4, label=cell.label, **style)
        axes.plot([never], [cell.carried_loss], markersize=7, fillstyle="none", linestyle="none", **style)
    axes.set_xticks([*resets, never], [*map(str, resets), "never"])
    axes.minorticks_off()
    axes.set_title("Validation loss with the state reset regularly", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)


@dataclass(frozen=True)
class LossCurve:
    """The validation loss of one run during training, one entry per evaluation."""

    tokens: Sequence[float]  # trained on so far
    minutes: Sequence[float]
    losses: Sequence[float]  # nats per token


_CELL_LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_MEAN_POINTS = 60


def draw_comparison(
    cells: Mapping[str, Sequence[LossCurve]],
    title: str,
    path: Path,
    level: tuple[str, float] | None = None,
) -> None:
    """Plot validation loss against tokens and minutes, a thin line per seed and a bold one per cell; PNG.

    level: the name and the loss of what is not trained, a horizontal line; None: there is none.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    most = max(max(curve.tokens) for curves in cells.values() for curve in curves)
    unit, name = (1e6, "millions") if most >= 1e6 else (1e3, "thousands")
    left = in_style(axes[0], f"training tokens ({name})", "validation loss (nats/token)")
    right = in_style(axes[1], "training time (minutes)", "")
    for (label, curves), look, line in zip(cells.items(), CELL_STYLES, _CELL_LINES, strict=False):
        style = look | {"linestyle": line}
        _draw_curves(left, label, [(np.divide(each.tokens, unit), each.losses) for each in curves], style)
        _draw_curves(right, label, [(np.asarray(each.minutes), each.losses) for each in curves], style)
    if level is not None:
        label, loss = level
        for axes in (left, right):
            axes.axhline(loss, color="0.3", linestyle="-.", linewidth=1.2, label=f"{label}: {loss:.3f}")
    left.set_title(drawable(title), loc="left", fontsize=10, parse_math=False)
    right.legend(frameon=False)
    save(figure, path)


def _draw_curves(
    axes: Axes, label: str, curves: Sequence[tuple[np.ndarray, Sequence[float]]], style: dict[str, Any]
) -> None:
    if len(curves) > 1:
        for places, losses in curves:
            axes.plot(places, losses, color=style["color"], linewidth=0.6)
    # Runs are evaluated at different points; the mean is over the range that all of them cover.
    shared = max(min(places) for places, _ in curves), min(max(places) for places, _ in curves)
    points = np.linspace(*shared, _MEAN_POINTS)
    mean = np.mean([np.interp(points, places, losses) for places, losses in curves], axis=0)
    axes.plot(points, mean, linewidth=2, markersize=5, markevery=_MEAN_POINTS // 6, label=label, **style)
