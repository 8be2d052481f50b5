"""How far back a run's gradient and its memory reach, before and after training, for a person and as JSON."""

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
from textgen.analysis.memory.usable_context import NEAR, Horizon, measure_horizon
from textgen.evaluation.evaluate import named
from textgen.models.language_model import LanguageModel
from textgen.plots.curves import GradientCurves
from textgen.run import Run, vocab_of
from textgen.text.model_vocab import start_id
from textgen.text.store import Progress
from textgen.training.setup import initial_weights

FADED = 0.01  # of the gradient at k = 0


def first_model(run: Run) -> LanguageModel:
    """A run's network with the weights that it began with, in eval mode.

    Raises RunError when they came from another run and are gone.
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
    """What was measured on a run's validation text, of val_tokens tokens."""

    run: Run
    positions: Positions
    first: GradientNorms
    trained: GradientNorms
    horizon: Horizon
    val_tokens: int

    @property
    def cell(self) -> str:
        """The name of the run's cell."""
        return self.run.config.model.cell

    def as_dict(self) -> dict[str, Any]:
        """All figures by name, arrays by k from 0 on; None for what is no finite number."""
        return {
            "run": str(self.run.path),
            "network": self.run.facts()["network"],
            "positions": len(self.positions.ends),
            "warm_up_tokens": self.positions.warm_up,
            "first": _norms_as_dict(self.first),
            "trained": _norms_as_dict(self.trained),
            "reset": {
                "tokens": self.horizon.carried.tokens,
                "validation_tokens": self.val_tokens,
                "nats_per_token": {
                    str(every): _number(loss.nats_per_token) for every, loss in self.horizon.by_reset.items()
                },
                "nats_per_token_carried": _number(self.horizon.carried.nats_per_token),
                "reset_within_0_01_nats": self.horizon.reset_tokens,
                "excess_nats_by_tokens_seen": {
                    str(every): _number(nats) for every, nats in self.horizon.excess.items()
                },
                "seen_within_0_01_nats": self.horizon.seen_tokens,
            },
        }

    def curves(self) -> GradientCurves:
        """What the picture shows of it."""
        return GradientCurves(
            label=self.cell.upper(),
            first=self.first.median(),
            trained=self.trained.median(),
            low=self.trained.quantile(0.1),
            high=self.trained.quantile(0.9),
            losses={every: loss.nats_per_token for every, loss in self.horizon.by_reset.items()},
            carried_loss=self.horizon.carried.nats_per_token,
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
    """A run's gradient norms up to `steps` back at num_positions, and its loss under resets of num_tokens.

    All on its validation text, in float32. progress is called with (what is done, done, in all).

    Raises RunError when run or corpus are not whole or the weights are damaged, CorpusError when the text is
    too short.
    """
    token_ids = run.open_store(cache_dir, progress).tokens("val")
    trained = LanguageModel.from_pretrained(run.path).to(device)
    first = first_model(run).to(device)
    positions = draw_positions(trained.vocab, token_ids, steps=steps, count=num_positions)
    cell = run.config.model.cell

    def norms(model: LanguageModel, weights: str) -> GradientNorms:
        return gradient_norms(model, token_ids, positions, named(f"{cell}: gradients, {weights}", progress))

    horizon = measure_horizon(
        trained,
        token_ids[:num_tokens],
        vocab_size=run.tokenizer.vocab_size,
        start_id=start_id(trained.vocab, run.tokenizer),
        progress=named(f"{cell}: loss with resets", progress),
    )
    horizon.carried.of_sound_weights()
    first_norms, trained_norms = norms(first, "first weights"), norms(trained, "trained weights")
    return CellGradients(run, positions, first_norms, trained_norms, horizon, len(token_ids))


def report_lines(measured: Sequence[CellGradients]) -> list[str]:
    """The figures for a person: a table of norms for each cell, the losses under resets, how far both go."""
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
    first, trained = measured.first, measured.trained
    columns = [first.median(), first.mean()]
    columns += [trained.median(), trained.mean(), trained.quantile(0.1), trained.quantile(0.9)]
    names = ["median", "mean", "median", "mean", "10 %", "90 %"]
    parts = [part for part in trained.by_part if part != "state"]
    columns += [trained.median(part) for part in parts]
    groups = f"{'':5}{'first weights':>18}{'after training':>36}{'median of h, c alone' * bool(parts):>21}"
    lines = ["", f"{measured.cell.upper()}, {measured.run.path}", groups.rstrip()]
    lines += [f"{'k':>5}" + "".join(f"{name:>9}" for name in [*names, *parts])]
    marks = _marks(measured.positions.steps)
    return lines + [f"{k:5}" + "".join(f"{_shown(column[k]):>9}" for column in columns) for k in marks]


def _marks(steps: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, ... and the last."""
    series = [digit * 10**power for power in range(len(str(steps))) for digit in (1, 2, 5)]
    return [0, *(k for k in series if k < steps), steps]


def _reset_table(measured: Sequence[CellGradients]) -> list[str]:
    read, tokens = measured[0].horizon.carried.tokens, measured[0].val_tokens
    text = f"all {tokens:,}" if read == tokens else f"the first {read:,} of {tokens:,}"
    lines = [
        "Loss in nats/token with the state reset every k tokens,",
        f"over {text} validation tokens:",
        f"{'k':>5}" + "".join(f"{each.cell:>9}" for each in measured),
    ]
    for every in measured[0].horizon.by_reset:
        losses = [each.horizon.by_reset[every].nats_per_token for each in measured]
        lines.append(f"{every:5}" + "".join(f"{loss:9.4f}" for loss in losses))
    carried = [each.horizon.carried.nats_per_token for each in measured]
    return [*lines, f"{'never':>5}" + "".join(f"{loss:9.4f}" for loss in carried)]


def _reach_table(measured: Sequence[CellGradients]) -> list[str]:
    """How far back each cell's gradient and memory reach."""
    lines = [
        "Steps back until the gradient is a hundredth of that at k = 0; and, to lose at",
        f"most {NEAR:g} nats/token, how many tokens between resets, or seen by a prediction:",
        f"{'':5}{'first weights':>18}{'after training':>18}{'between':>9}",
        f"{'':5}{'median':>9}{'mean':>9}{'median':>9}{'mean':>9}{'resets':>9}{'seen':>9}",
    ]
    for each in measured:
        norms = (each.first.median(), each.first.mean(), each.trained.median(), each.trained.mean())
        steps = [_or_over(steps_to(curve, FADED), each.positions.steps) for curve in norms]
        most = max(each.horizon.by_reset, default=0)
        tokens = [_or_over(found, most) for found in (each.horizon.reset_tokens, each.horizon.seen_tokens)]
        lines.append(f"{each.cell:5}" + "".join(f"{number:>9}" for number in steps + tokens))
    return lines


def _or_over(number: int | None, most: int) -> str:
    return f"over {most}" if number is None else str(number)


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
        "steps_to_a_hundredth": {name: steps_to(curve, FADED) for name, curve in curves.items()}
    }
