"""What the figures of a comparison support, and what they do not, in plain words.

Quality is a difference of losses, seed by seed: a seed's runs are neighbours in time and read the same
windows, and what the windows do to the loss falls away in the pair. Speed is a ratio. Neither is called a
difference where noise would do.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from textgen.analysis.comparison.figures import CellFigures, Comparison
from textgen.analysis.comparison.interval import FEWEST_VALUES, Interval, mean_interval
from textgen.analysis.comparison.plan import OWN_TRAINING
from textgen.analysis.comparison.throughput import Passes
from textgen.models.cost import num_parameters

Verdict = Literal["supported", "not supported", "within noise", "cannot be told"]
# A run that used less of its time was stopped early.
ENDED_EARLY = 0.95
NAMES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN"}


@dataclass(frozen=True)
class Claim:
    """What a textbook says, and what the figures say to it."""

    text: str
    verdict: Verdict
    because: str

    def __str__(self) -> str:
        return f"{self.text}: {self.verdict}. {self.because}"


def findings(comparison: Comparison) -> list[str]:
    """One line for each cell after the first: how it did against the first."""
    reference, *others = comparison.cells
    return [_finding(comparison, cell, reference) for cell in others]


def _finding(comparison: Comparison, cell: CellFigures, reference: CellFigures) -> str:
    difference = mean_interval(comparison.differences(cell.cell, reference.cell))
    speeds = comparison.speed_ratios(cell.cell, reference.cell)
    ratios = {
        "parameters": cell.parameters / reference.parameters,
        "arithmetic": cell.multiply_adds_per_token / reference.multiply_adds_per_token,
        "characters/s in writing": cell.characters_per_second / reference.characters_per_second,
    }
    said = ", ".join(f"{ratio:.2f} x the {what}" for what, ratio in ratios.items())
    return (
        f"{NAMES[cell.cell]} against {NAMES[reference.cell]}: {_quality(difference, comparison.plan.seeds)}; "
        f"{in_range(speeds)} x the tokens/s in training; {said}."
    )


def _quality(difference: Interval, seeds: int) -> str:
    """A difference in nats/token, as a verdict and in figures."""
    figures = in_nats(difference, seeds)
    if difference.half_width is None:
        return f"loss {figures}"
    if difference.contains_zero:
        return f"the difference in loss is within noise ({figures})"
    return f"it predicts {'worse' if difference.mean > 0 else 'better'} ({figures})"


def in_nats(difference: Interval, seeds: int) -> str:
    """A difference in words: with its interval over the seeds, or that there is none."""
    if difference.half_width is None:
        few = "one seed" if seeds == 1 else "two seeds"
        return f"{difference.mean:+.4f} nats/token, {few}: no interval"
    return f"{difference.mean:+.4f} ± {difference.half_width:.4f} nats/token over {seeds} seeds"


def in_range(ratios: Sequence[float]) -> str:
    """Ratios over the seeds: their mean, and where there are several, from which to which."""
    mean = f"{statistics.mean(ratios):.2f}"
    return mean if len(ratios) == 1 else f"{mean} ({min(ratios):.2f} to {max(ratios):.2f})"


# -- the textbook's claims -----------------------------------------------------------


def textbook_claims(comparison: Comparison) -> list[Claim]:
    """What is often said of GRU and LSTM, judged; nothing when one of them was not compared."""
    if not {"lstm", "gru"} <= set(comparison.plan.cells):
        return []
    return [
        _fewer_parameters(comparison),
        _faster_training(comparison),
        _faster_passes("textgen's layers alone", comparison.passes.textgen_seconds, comparison.passes),
        _faster_passes(
            "torch's own nn.GRU and nn.LSTM alone", comparison.passes.torch_seconds, comparison.passes
        ),
        _sooner(comparison),
        _equal_quality(comparison),
    ]


def _fewer_parameters(comparison: Comparison) -> Claim:
    model = comparison.of_cell("lstm")[0].model
    lstm, gru = (num_parameters(dataclasses.replace(model, cell=cell)) for cell in ("lstm", "gru"))
    because = (
        f"With {model.num_layers} x {model.hidden_size} units, as the LSTM has, {gru:,} against {lstm:,} "
        f"({gru / lstm:.2f} x)."
    )
    if comparison.plan.match == "parameters":
        units = comparison.of_cell("gru")[0].model.hidden_size
        because += f" In this comparison both have about as many, the GRU with {units} units."
    return Claim("A GRU has fewer parameters", "supported", because)


def _faster_training(comparison: Comparison) -> Claim:
    ratios = comparison.speed_ratios("gru", "lstm")
    verdict = faster(min(ratios), max(ratios)) if len(ratios) > 1 else "cannot be told"
    because = f"In this comparison it read {in_range(ratios)} x the LSTM's tokens/s"
    because += " over the seeds." if len(ratios) > 1 else "; one seed."
    return Claim("A GRU trains faster", verdict, because)


def _faster_passes(whose: str, seconds: dict[str, list[float]], passes: Passes) -> Claim:
    """Of the recurrent layers alone, judged by the middle half of the rounds: some were disturbed."""
    ratios = [lstm / gru for lstm, gru in zip(seconds["lstm"], seconds["gru"], strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    because = (
        f"{median:.2f} x the LSTM's speed (middle half of {len(ratios)} rounds: {low:.2f} to {high:.2f})"
    )
    text = f"A GRU trains faster at the same size, {whose}"
    return Claim(text, faster(low, high), f"{because}; {passes.shape}, forward and backward.")


def faster(low: float, high: float) -> Verdict:
    """The verdict on a ratio of speeds that lies between two bounds."""
    if low > 1:
        return "supported"
    return "not supported" if high < 1 else "within noise"


def _sooner(comparison: Comparison) -> Claim:
    """Whether less time was needed for the loss that both reached."""
    gains = comparison.minutes_saved("gru", "lstm")
    interval = mean_interval(gains)
    minutes = {cell.cell: cell.minutes_to_common_loss for cell in comparison.cells}
    because = (
        f"To the loss that all cells reached, {comparison.common_loss:.4f} nats/token, it took "
        f"{minutes['gru']:.3g} minutes, the LSTM {minutes['lstm']:.3g}"
    )
    if interval.half_width is not None:
        because += f" ({abs(interval.mean):.3g} ± {interval.half_width:.2g} between them)."
    verdict: Verdict
    if interval.half_width is None:
        verdict, because = "cannot be told", because + "; with fewer than three seeds that may be chance."
    elif interval.contains_zero:
        verdict = "within noise"
    else:
        verdict = "supported" if interval.mean > 0 else "not supported"
    return Claim("A GRU reaches a given loss sooner", verdict, because)


def _equal_quality(comparison: Comparison) -> Claim:
    difference = mean_interval(comparison.differences("gru", "lstm"))
    seeds = comparison.plan.seeds
    because = f"GRU minus LSTM: {in_nats(difference, seeds)}"
    verdict: Verdict
    if difference.half_width is None:
        verdict, because = "cannot be told", because + f"; {FEWEST_VALUES} seeds give one."
    elif difference.contains_zero:
        verdict = "within noise"
        because += f". No difference is shown; one of up to {difference.farthest:.4f} is not ruled out."
    else:
        verdict = "not supported"
        because += f"; the GRU predicts {'worse' if difference.mean > 0 else 'better'}."
    return Claim("A GRU predicts as well as an LSTM", verdict, because)


def remarks(comparison: Comparison) -> list[str]:
    """What a reader of the figures should know: other work on the machine, cells treated unequally."""
    said = [
        f"{NAMES[cell]}: the fastest seed trained at {high:,.0f} tokens/s, the slowest at {low:,.0f}: other "
        "work ran on the machine. What depends on the clock, the losses too, should be measured again."
        for cell, (low, high) in comparison.busy_cells().items()
    ]
    for setting in OWN_TRAINING:
        values = {NAMES[run.cell]: getattr(run, setting) for run in comparison.runs}
        if len(set(values.values())) > 1:
            each = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
            said.append(f"Each cell had its own {setting.replace('_', ' ')}: {each}.")
    early = [
        f"{run.cell}-seed{run.seed}" for run in comparison.runs
        if run.minutes < ENDED_EARLY * comparison.plan.minutes_each
    ]  # fmt: skip
    if early:
        said.append(
            "Ended before their minutes were over, for validation no longer improved or the text had been "
            f"read often enough: {', '.join(early)}."
        )
    return said


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
