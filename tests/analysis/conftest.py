"""Comparisons with made-up figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from textgen.analysis.compare import ComparisonPlan
from textgen.analysis.comparison import Comparison, Evaluation, RunFigures, summarize
from textgen.analysis.cost import num_parameters
from textgen.analysis.race import Passes
from textgen.config import ModelConfig

MakeComparison = Callable[..., Comparison]


def make_run(cell: str, seed: int, loss: float, speed: float, **figures: Any) -> RunFigures:
    """A run that came down evenly from 3 nats to `loss` in 100 steps and 2 minutes."""
    model = ModelConfig(vocab_size=65, cell=cell, embedding_dim=64, hidden_size=384)
    falling = [Evaluation(50, 1e5, 1.0, (3 + loss) / 2), Evaluation(100, 2e5, 2.0, loss)]
    return RunFigures(
        **{
            "cell": cell,
            "seed": seed,
            "model": model,
            "parameters": num_parameters(model),
            "precision": "float32",
            "tokens_per_second": speed,
            "minutes": 2.0,
            "steps": 100,
            "nats_per_token": loss,
            "bits_per_character": loss * 1.4427,
            "peak_memory_bytes": 400_000_000,
            "evaluations": falling,
        }
        | figures
    )


@pytest.fixture
def make_comparison() -> MakeComparison:
    """make_comparison(gru=losses, ...): an LSTM of 1.5 nats and 1000 tokens/s at every seed, and others."""

    def make(
        *,
        gru: Sequence[float] = (1.5, 1.5, 1.5),
        gru_speed: Sequence[float] = (1000, 1000, 1000),
        own: Sequence[float] = (1.0, 1.0, 1.0),
        torch: Sequence[float] = (1.0, 1.0, 1.0),
        cells: tuple[str, ...] = ("lstm", "gru"),
        match: str = "size",
        **figures: Any,
    ) -> Comparison:
        losses = {"lstm": [1.5] * len(gru), "gru": gru, "rnn": [1.9] * len(gru)}
        speeds = {"lstm": [1000.0] * len(gru), "gru": gru_speed, "rnn": [900.0] * len(gru)}
        plan = ComparisonPlan(
            corpus=("a.txt",),
            fingerprint="",
            cells=cells,
            seeds=len(gru),
            match=match,
            minutes=4.0 * len(gru),
        )
        runs = [
            make_run(
                run.cell, run.seed, losses[run.cell][run.seed - 1], speeds[run.cell][run.seed - 1], **figures
            )
            for run in plan.runs
        ]
        passes = Passes(
            "1 x 384 units",
            {cell: [1.0] * len(own) for cell in cells} | {"gru": [1 / ratio for ratio in own]},
            {cell: [1.0] * len(torch) for cell in cells} | {"gru": [1 / ratio for ratio in torch]},
        )
        written = dict.fromkeys(cells, 20_000.0) | {"gru": 25_000.0}
        return summarize(plan, runs, characters_per_second=written, passes=passes)

    return make
