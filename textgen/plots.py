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
    image = io.BytesIO()
    figure.savefig(image, format="png")
    write_file(path, image.getvalue())


@dataclass(frozen=True)
class LossCurve:
    """The validation loss of one run while it trained, a number an evaluation."""

    tokens: Sequence[float]  # read so far
    minutes: Sequence[float]
    losses: Sequence[float]  # nats per token


# One a cell, in the order that they are given in; told apart without colour.
_CURVE_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "black", "marker": "o", "linestyle": "-"},
    {"color": "0.45", "marker": "s", "linestyle": (0, (5, 1.5))},
    {"color": "0.6", "marker": "^", "linestyle": (0, (1.5, 1.2))},
)
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
    for (label, curves), style in zip(cells.items(), _CURVE_STYLES, strict=False):
        _draw_curves(left, label, [(np.divide(each.tokens, unit), each.losses) for each in curves], style)
        _draw_curves(right, label, [(np.asarray(each.minutes), each.losses) for each in curves], style)
    left.set_title(title, loc="left", fontsize=10, parse_math=False)
    right.legend(frameon=False)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    write_file(path, image.getvalue())


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
