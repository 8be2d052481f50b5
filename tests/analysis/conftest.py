"""Fixtures: comparisons with made-up figures and inspections of untrained runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from textgen.analysis.comparison.figures import Comparison, Evaluation, RunFigures, summarize
from textgen.analysis.comparison.ngrams import NGramFigures
from textgen.analysis.comparison.plan import NGRAM, ComparisonPlan
from textgen.analysis.comparison.throughput import Throughput
from textgen.models.cost import num_parameters
from textgen.settings.config import ModelConfig

if TYPE_CHECKING:
    from tests.conftest import MakeRun
    from textgen.analysis.inspection.inspection import Inspection

MakeComparison = Callable[..., Comparison]


def make_run(cell: str, seed: int, loss: float, speed: float, **figures: Any) -> RunFigures:
    """A run whose loss fell linearly from 3 nats to `loss` in 100 steps and 2 minutes."""
    model = ModelConfig(model_vocab_size=65, cell=cell, embedding_dim=64, hidden_size=384)
    falling = [Evaluation(50, 1e5, 1.0, (3 + loss) / 2), Evaluation(100, 2e5, 2.0, loss)]
    return RunFigures(
        **{
            "cell": cell,
            "seed": seed,
            "model": model,
            "parameters": num_parameters(model),
            "precision": "float32",
            "learning_rate": 0.007,
            "beta1": 0.9,
            "temporal_activation_penalty": 0.0,
            "threads": 2,
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


def make_ngrams(loss: float, **figures: Any) -> NGramFigures:
    """An n-gram model that was counted in three seconds."""
    given = {"nats_per_token": loss, "bits_per_character": loss * 1.4427} | figures
    return NGramFigures(order=9, parameters=123_456, seconds=3.0, tokens=5000, unseen_tokens=0, **given)


@pytest.fixture
def make_comparison() -> MakeComparison:
    """make_comparison(gru=losses, ...): figures with an LSTM of 1.5 nats and 1000 tokens/s at every seed.

    own and torch are the GRU's speeds relative to the LSTM's in textgen's and in PyTorch's layers, by round.
    ngrams: the loss of an n-gram model; None: none is compared.
    """

    def make(
        *,
        gru: Sequence[float] = (1.5, 1.5, 1.5),
        gru_speed: Sequence[float] = (1000, 1000, 1000),
        own: Sequence[float] = (1.0, 1.0, 1.0),
        torch: Sequence[float] = (1.0, 1.0, 1.0),
        cells: tuple[str, ...] = ("lstm", "gru"),
        match: str = "size",
        ngrams: float | None = None,
        **figures: Any,
    ) -> Comparison:
        losses = {"lstm": [1.5] * len(gru), "gru": gru, "rnn": [1.9] * len(gru)}
        speeds = {"lstm": [1000.0] * len(gru), "gru": gru_speed, "rnn": [900.0] * len(gru)}
        plan = ComparisonPlan(
            corpus=("a.txt",),
            fingerprint="",
            cells=cells if ngrams is None else (*cells, NGRAM),
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
        throughput = Throughput(
            "1 x 384 units",
            {cell: [1.0] * len(own) for cell in cells} | {"gru": [1 / ratio for ratio in own]},
            {cell: [1.0] * len(torch) for cell in cells} | {"gru": [1 / ratio for ratio in torch]},
        )
        sampling = dict.fromkeys(cells, 20_000.0) | {"gru": 25_000.0}
        counted = None if ngrams is None else make_ngrams(ngrams)
        return summarize(plan, runs, characters_per_second=sampling, throughput=throughput, ngrams=counted)

    return make


# Markup, comments, entities, placeholders, escapes, and control and bidirectional characters.
NASTY = (
    'He said: "</script><script>window.hacked = 1</script>" <b>bold</b> <!-- {script} &amp; \\u003c '
    "<img src=x onerror=hacked=1>\n\n\tÉtude (2) 中文\u2028 \u202eabc\x07\r\n"
) * 3


@pytest.fixture
def nasty() -> str:
    """A text that would do harm if it were interpreted as anything but text."""
    return NASTY


@pytest.fixture
def inspect_text(make_run: MakeRun) -> Callable[..., Inspection]:
    """inspect_text(text=NASTY, known=text, **options of make_run): the inspection of an untrained run."""

    def inspect(text: str = NASTY, known: str | None = None, **options: Any) -> Inspection:
        from textgen.analysis.inspection.excerpt import excerpt_of_tokens
        from textgen.analysis.inspection.inspection import inspect_run

        run = make_run(text=known or text, **options)
        name = "</script><script>window.hacked = 2</script>"
        return inspect_run(run, excerpt_of_tokens(run.tokenizer, run.tokenizer.encode(text), 5000, name))

    return inspect
