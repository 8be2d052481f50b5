"""What a run has when it is trained to its end: its picture, and its result."""

from __future__ import annotations

from typing import Any

from textgen.errors import RunError
from textgen.plots.curves import draw_loss
from textgen.plots.style import can_draw
from textgen.run import PICTURE, Run, active_records
from textgen.system.links import refuse_links
from textgen.system.locks import folder_lock
from textgen.system.progress import Reporter
from textgen.training.leftovers import remove_leftovers


def draw_picture(run: Run) -> bool:
    """Draw the loss curve of a run; returns False, and does nothing, where matplotlib is not installed."""
    if not can_draw():
        return False
    facts = run.facts()
    title = f"{run.path.name}: {facts['network']}, {facts['parameters']:,} parameters"
    draw_loss(active_records(run.metrics()), title, run.path / PICTURE)
    return True


def resume_complete(run: Run, reporter: Reporter) -> dict[str, Any]:
    """Resume a complete run: say so, draw its picture if a kill prevented that, and return its result.

    Raises RunError when another process is still at work on it, when it has links in it, and for rounded
    weights.
    """
    drawn = ""
    run.require_trainable()
    refuse_links(run.path)
    with folder_lock(run.training_directory) as acquired:
        if not acquired:
            raise RunError(f"{run.path}: another process is training it")
        remove_leftovers(run.path)
        if not (run.path / PICTURE).exists() and draw_picture(run):
            drawn = f" Its missing {PICTURE} was drawn."
    advice = f"Start a new one from it with: textgen train --from {run.path}"
    reporter.line(f"{run.path}: this run is complete.{drawn} {advice}")
    return _result(run)


def _result(run: Run) -> dict[str, Any]:
    """The result of a complete run, as Session.complete returned it."""
    records = active_records(run.metrics())
    final = next(record for record in reversed(records) if record["kind"] == "final")
    best = [record["step"] for record in records if record["kind"] == "val" and record["best"]]
    result = {"run": str(run.path), "steps": final["step"], "best_step": (best or [final["step"]])[-1]}
    seconds = round(final["seconds"], 1)
    figures = {name: final[name] for name in final if name not in ("kind", "step", "epoch", "seconds")}
    return result | {"seconds": seconds} | figures
