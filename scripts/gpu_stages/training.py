"""`textgen train TEXT --minutes M`, everything else chosen by the recipe: loss, speed and memory."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from typing import Any

import torch

from gpu_stages.settings import Settings
from textgen.api import train
from textgen.run import Run

TINY = {"steps": 3, "hidden_size": 8, "embedding_dim": 8, "threads": 1}
FIGURES = ("nats_per_token", "bits_per_character", "bits_per_byte")


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """One result: the best weights' loss on all of the validation text, and how it came about."""
    options: dict[str, Any] = TINY if settings.tiny else {"minutes": settings.minutes_of_training}
    with tempfile.TemporaryDirectory() as folder:
        model = train(
            settings.text,
            run=f"{folder}/run",
            cache_dir=f"{folder}/cache",
            device=settings.device,
            progress=False,
            **options,
        )
        peak = torch.cuda.max_memory_allocated() / 1e6 if settings.device == "cuda" else None
        yield _result(model.run) | {
            "text": settings.text.name,
            "peak_megabytes": None if peak is None else round(peak, 1),
        }


def _result(run: Run) -> dict[str, Any]:
    records = run.metrics()
    final = records[-1]
    speeds = [line["tokens_per_second"] for line in records if line["kind"] == "train"]
    losses = [(line["nats_per_token"], line["step"]) for line in records if line["kind"] == "val"]
    best, best_step = min(losses)
    return {
        **{figure: final[figure] for figure in FIGURES},
        "best_nats_per_token_while_training": best,
        "best_step": best_step,
        "steps": final["step"],
        "epochs": round(final["epoch"], 2),
        "seconds": final["seconds"],
        "tokens_per_second": round(statistics.median(speeds)) if speeds else None,
        "measured": run.config.measured,
        "chosen": vars(run.config.model) | vars(run.config.training),
    }
