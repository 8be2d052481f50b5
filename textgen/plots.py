"""Every picture that textgen draws, in one style that reads in black and white.

Needs matplotlib (extra `plot`).
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


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
