"""Reports gradient norms and usable context of a run, before and after training, as tables and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textgen.analysis.memory.gradients import (
    GradientNorms,
    Positions,
    draw_positions,
    gradient_norms,
    relative,
    steps_to,
)
from textgen.analysis.memory.usable_context import TOLERANCE, UsableContext, measure_usable_context
from textgen.evaluation.evaluate import named
from textgen.models.language_model import LanguageModel
from textgen.plots.curves import GradientCurves
from textgen.run import Run, vocab_of
from textgen.text.encoding import Progress
from textgen.text.model_vocab import start_id
from textgen.training.setup import initial_weights

VANISHED = 0.01  # as a share of the gradient at k = 0


def initial_model(run: Run) -> LanguageModel:
    """The network of a run with its initial weights, in eval mode.

    Raises RunError when they came from another run and no longer exist.
    """
    initial = initial_weights(run)
    if initial is not None:
        model = LanguageModel(run.config.model, vocab_of(initial))
        model.load_weights(initial, str(run.training_directory))
        return model.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.config.training.seed)
        return LanguageModel(run.config.model, vocab_of(run.load_weights())).eval()


@dataclass(frozen=True)
class CellGradients:
    """What was measured on the validation text of a run, which has val_tokens tokens."""

    run: Run
    positions: Positions
    initial: GradientNorms
    trained: GradientNorms
    context: UsableContext
    val_tokens: int

    @property
    def cell(self) -> str:
        """The run's cell: lstm, gru or rnn."""
        return self.run.config.model.cell

    def as_dict(self) -> dict[str, Any]:
        """All figures for JSON; lists are indexed by k, and values that are not finite are None."""
        return {
            "run": str(self.run.path),
            "network": self.run.facts()["network"],
            "positions": len(self.positions.ends),
            "warm_up_tokens": self.positions.warm_up,
            "first": _norms_as_dict(self.initial),
            "trained": _norms_as_dict(self.trained),
            "reset": {
                "tokens": self.context.carried.tokens,
                "validation_tokens": self.val_tokens,
                "nats_per_token": {
                    str(every): _number(loss.nats_per_token) for every, loss in self.context.by_reset.items()
                },
                "nats_per_token_carried": _number(self.context.carried.nats_per_token),
                "reset_within_0_01_nats": self.context.reset_tokens,
                "excess_nats_by_tokens_seen": {
                    str(every): _number(nats) for every, nats in self.context.excess.items()
                },
                "seen_within_0_01_nats": self.context.seen_tokens,
            },
        }

    def curves(self) -> GradientCurves:
        """The data for draw_gradients."""
        return GradientCurves(
            label=self.cell.upper(),
            initial=self.initial.median(),
            trained=self.trained.median(),
            low=self.trained.quantile(0.1),
            high=self.trained.quantile(0.9),
            losses={every: loss.nats_per_token for every, loss in self.context.by_reset.items()},
            carried_loss=self.context.carried.nats_per_token,
        )


def measure_gradients(
    run: Run,
    cache_dir: Path,
    *,
    steps: int,
    num_positions: int,
    num_tokens: int,
    device: str,
    progress: Progress | None,
) -> CellGradients:
    """Measure a run on its validation text, in float32.

    Gradient norms are measured up to `steps` steps back at up to num_positions positions, the loss with
    resets on the first num_tokens tokens. progress is called with (description, done, total).

    Raises RunError when the run or its corpus is incomplete or the weights are damaged, and CorpusError when
    the text is too short.
    """
    store = run.open_store(cache_dir, progress)
    token_ids = store.tokens(run.require_part(store, "val"))
    trained = LanguageModel.from_pretrained(run.path).to(device)
    initial = initial_model(run).to(device)
    positions = draw_positions(trained.vocab, token_ids, steps=steps, count=num_positions)
    cell = run.config.model.cell

    def norms(model: LanguageModel, weights: str) -> GradientNorms:
        return gradient_norms(model, token_ids, positions, named(f"{cell}: gradients, {weights}", progress))

    context = measure_usable_context(
        trained,
        token_ids[:num_tokens],
        vocab_size=run.tokenizer.vocab_size,
        start_id=start_id(trained.vocab, run.tokenizer),
        progress=named(f"{cell}: loss with resets", progress),
    )
    context.carried.require_finite()
    return CellGradients(
        run=run,
        positions=positions,
        initial=norms(initial, "initial weights"),
        trained=norms(trained, "trained weights"),
        context=context,
        val_tokens=len(token_ids),
    )


def report_lines(measured: Sequence[CellGradients]) -> list[str]:
    """The tables for a terminal: gradient norms of each cell, losses with resets, and how far both reach."""
    return [
        "Gradient norm |d loss(t) / d state(t-k)| in nats per unit of state,",
        f"k steps back, over {len(measured[0].positions.ends):,} positions of the validation text:",
        *(line for each in measured for line in _norm_table(each)),
        "",
        *_reset_table(measured),
        "",
        *_reach_table(measured),
    ]


def _norm_table(measured: CellGradients) -> list[str]:
    initial, trained = measured.initial, measured.trained
    columns = [initial.median(), initial.mean()]
    columns += [trained.median(), trained.mean(), trained.quantile(0.1), trained.quantile(0.9)]
    names = ["median", "mean", "median", "mean", "p10", "p90"]
    parts = [part for part in trained.by_part if part != "state"]
    columns += [trained.median(part) for part in parts]
    groups = f"{'':5}{'initial weights':>18}{'after training':>36}{'median of h and of c' * bool(parts):>21}"
    lines = ["", f"{measured.cell.upper()}, {measured.run.path}", groups.rstrip()]
    lines += [f"{'k':>5}" + "".join(f"{name:>9}" for name in [*names, *parts])]
    shown_steps = _shown_steps(measured.positions.steps)
    return lines + [f"{k:5}" + "".join(f"{_shown(column[k]):>9}" for column in columns) for k in shown_steps]


def _shown_steps(steps: int) -> list[int]:
    """The rows of the table: 0, 1, 2, 5, 10, 20, 50, ... and the last step."""
    series = [digit * 10**power for power in range(len(str(steps))) for digit in (1, 2, 5)]
    return [0, *(k for k in series if k < steps), steps]


def _reset_table(measured: Sequence[CellGradients]) -> list[str]:
    read, tokens = measured[0].context.carried.tokens, measured[0].val_tokens
    text = f"all {tokens:,}" if read == tokens else f"the first {read:,} of {tokens:,}"
    lines = [
        "Loss in nats/token with the state reset every k tokens,",
        f"over {text} validation tokens:",
        f"{'k':>5}" + "".join(f"{each.cell:>9}" for each in measured),
    ]
    for every in measured[0].context.by_reset:
        losses = [each.context.by_reset[every].nats_per_token for each in measured]
        lines.append(f"{every:5}" + "".join(f"{loss:9.4f}" for loss in losses))
    carried = [each.context.carried.nats_per_token for each in measured]
    return [*lines, f"{'never':>5}" + "".join(f"{loss:9.4f}" for loss in carried)]


def _reach_table(measured: Sequence[CellGradients]) -> list[str]:
    """How many steps until each cell's gradient has vanished, and how much context it uses."""
    lines = [
        f"Steps back from which the gradient norm stays below {VANISHED:.0%} of that at k = 0. Context",
        f"for a loss within {TOLERANCE:g} nats/token of that without resets: tokens between resets,",
        "and tokens seen by a prediction.",
        f"{'':5}{'initial weights':>18}{'after training':>18}{'between':>9}",
        f"{'':5}{'median':>9}{'mean':>9}{'median':>9}{'mean':>9}{'resets':>9}{'seen':>9}",
    ]
    for each in measured:
        norms = (each.initial.median(), each.initial.mean(), each.trained.median(), each.trained.mean())
        steps = [_or_over(steps_to(curve, VANISHED), each.positions.steps) for curve in norms]
        longest = max(each.context.by_reset, default=0)
        tokens = [
            _or_over(length, longest) for length in (each.context.reset_tokens, each.context.seen_tokens)
        ]
        lines.append(f"{each.cell:5}" + "".join(f"{number:>9}" for number in steps + tokens))
    return lines


def _or_over(number: int | None, limit: int) -> str:
    return f"over {limit}" if number is None else str(number)


def _shown(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "-"
    return f"{value:.1e}"


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _norms_as_dict(norms: GradientNorms) -> dict[str, Any]:
    def numbers(array: np.ndarray) -> list[float | None]:
        return [_number(value) for value in array.tolist()]

    figures: dict[str, Any] = {
        part: {
            "mean": numbers(norms.mean(part)),
            "median": numbers(norms.median(part)),
            "p10": numbers(norms.quantile(0.1, part)),
            "p90": numbers(norms.quantile(0.9, part)),
            "relative_mean": numbers(relative(norms.mean(part), norms.mean()[0])),
            "relative_median": numbers(relative(norms.median(part), norms.median()[0])),
        }
        for part in norms.by_part
    }
    curves = {"mean": norms.mean(), "median": norms.median()}
    return figures | {
        "steps_to_a_hundredth": {name: steps_to(curve, VANISHED) for name, curve in curves.items()}
    }
