"""States in words what the figures of a comparison support: findings, common claims, and caveats.

Losses are compared by their difference seed by seed: the runs of one seed are trained one after the other and
read the same windows, so the variation that those cause cancels out. Speeds are compared by their ratio. A
difference that may be noise is reported as such.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from textgen.analysis.comparison.figures import CellFigures, Comparison
from textgen.analysis.comparison.interval import MIN_VALUES, Interval, mean_interval
from textgen.analysis.comparison.ngrams import NGramFigures
from textgen.analysis.comparison.plan import NGRAM, OWN_TRAINING
from textgen.analysis.comparison.throughput import Throughput
from textgen.models.cost import num_parameters

Verdict = Literal["supported", "not supported", "within noise", "too few seeds"]
# A run that used a smaller share of its training time was stopped early.
EARLY_SHARE = 0.95
NAMES = {"lstm": "LSTM", "gru": "GRU", "rnn": "RNN", NGRAM: "n-grams"}
_WITH_ARTICLE = {"lstm": "An LSTM", "gru": "A GRU", "rnn": "A plain RNN"}


@dataclass(frozen=True)
class Claim:
    """A common claim about recurrent networks, and whether the figures support it."""

    text: str
    verdict: Verdict
    because: str

    def __str__(self) -> str:
        return f"{self.text}: {self.verdict}. {self.because}"


def findings(comparison: Comparison) -> list[str]:
    """One line for each cell after the first, compared with the first; then one for n-grams."""
    reference, *others = comparison.cells
    found = [_finding(comparison, cell, reference) for cell in others]
    if comparison.ngrams is not None:
        found.append(_finding_on_ngrams(comparison, comparison.ngrams, reference))
    return found


def _finding(comparison: Comparison, cell: CellFigures, reference: CellFigures) -> str:
    difference = mean_interval(comparison.differences(cell.cell, reference.cell))
    speeds = comparison.speed_ratios(cell.cell, reference.cell)
    parameters = cell.parameters / reference.parameters
    multiply_adds = cell.multiply_adds_per_token / reference.multiply_adds_per_token
    sampling = cell.characters_per_second / reference.characters_per_second
    return (
        f"{NAMES[cell.cell]} compared with {NAMES[reference.cell]}: "
        f"{_loss_difference(difference, comparison.plan.seeds)}; "
        f"training speed {ratio_range(speeds)}, sampling speed {sampling:.2f}x, "
        f"parameters {parameters:.2f}x, multiply-adds {multiply_adds:.2f}x."
    )


def _finding_on_ngrams(comparison: Comparison, ngrams: NGramFigures, reference: CellFigures) -> str:
    difference = mean_interval([-each for each in comparison.above_ngrams(reference.cell)])
    return (
        f"An n-gram model compared with {NAMES[reference.cell]}: "
        f"{_loss_difference(difference, comparison.plan.seeds)}; "
        f"parameters {ngrams.parameters / reference.parameters:.2f}x, counted in {ngrams.seconds:.1f} s, "
        f"while a run was trained for {60 * reference.minutes:.0f} s."
    )


def _loss_difference(difference: Interval, seeds: int) -> str:
    """The difference of two losses in nats/token, with a verdict where there is an interval."""
    figures = in_nats(difference, seeds)
    if difference.half_width is None:
        return f"loss {figures}"
    if difference.contains_zero:
        return f"the difference in loss is within noise ({figures})"
    return f"its loss is {'higher' if difference.mean > 0 else 'lower'} ({figures})"


def in_nats(difference: Interval, seeds: int) -> str:
    """A difference in nats/token with its interval, or with a note that there is none."""
    if difference.half_width is None:
        few = "one seed" if seeds == 1 else "two seeds"
        return f"{difference.mean:+.4f} nats/token ({few}, no interval)"
    return f"{difference.mean:+.4f} ± {difference.half_width:.4f} nats/token over {seeds} seeds"


def ratio_range(ratios: Sequence[float]) -> str:
    """The mean of the seeds' ratios, followed by their range where there are several."""
    mean = f"{statistics.mean(ratios):.2f}x"
    return mean if len(ratios) == 1 else f"{mean} ({min(ratios):.2f}x to {max(ratios):.2f}x)"


# -- common claims ---------------------------------------------------------------------


def textbook_claims(comparison: Comparison) -> list[Claim]:
    """Common claims with verdicts: on GRU and LSTM where both were compared, on networks and n-grams where
    there are n-grams.
    """
    claims = _gru_claims(comparison) if {"lstm", "gru"} <= set(comparison.plan.cells) else []
    if comparison.ngrams is not None:
        claims += [_better_than_ngrams(comparison, cell) for cell in comparison.plan.networks]
    return claims


def _gru_claims(comparison: Comparison) -> list[Claim]:
    throughput = comparison.throughput
    return [
        _fewer_parameters(comparison),
        _faster_training(comparison),
        _faster_layers("textgen's layers only", throughput.textgen_seconds, throughput),
        _faster_layers("PyTorch's nn.GRU and nn.LSTM only", throughput.torch_seconds, throughput),
        _sooner(comparison),
        _equal_quality(comparison),
    ]


def _fewer_parameters(comparison: Comparison) -> Claim:
    model = comparison.runs_of("lstm")[0].model
    lstm, gru = (num_parameters(dataclasses.replace(model, cell=cell)) for cell in ("lstm", "gru"))
    because = (
        f"With the LSTM's {model.num_layers} x {model.hidden_size} units, a GRU has {gru:,} parameters and "
        f"an LSTM {lstm:,} ({gru / lstm:.2f}x)."
    )
    if comparison.plan.match == "parameters":
        units = comparison.runs_of("gru")[0].model.hidden_size
        because += f" In this comparison the parameter counts are matched: the GRU has {units} units."
    return Claim("A GRU has fewer parameters", "supported", because)


def _faster_training(comparison: Comparison) -> Claim:
    ratios = comparison.speed_ratios("gru", "lstm")
    verdict = faster(min(ratios), max(ratios)) if len(ratios) > 1 else "too few seeds"
    seeds = f"{len(ratios)} seeds" if len(ratios) > 1 else "one seed"
    because = f"In this comparison it trained at {ratio_range(ratios)} the LSTM's tokens/s; {seeds}."
    return Claim("A GRU trains faster", verdict, because)


def _faster_layers(which: str, seconds: dict[str, list[float]], throughput: Throughput) -> Claim:
    """The verdict is on the middle half of the rounds, because other programs disturb some of them."""
    ratios = [lstm / gru for lstm, gru in zip(seconds["lstm"], seconds["gru"], strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    because = (
        f"{median:.2f}x the LSTM's speed (middle half of {len(ratios)} rounds: {low:.2f}x to {high:.2f}x), "
        f"forward and backward, {throughput.shape}."
    )
    return Claim(f"A GRU trains faster at the same size, {which}", faster(low, high), because)


def faster(low: float, high: float) -> Verdict:
    """The verdict on "faster" for a ratio of speeds between low and high."""
    if low > 1:
        return "supported"
    return "not supported" if high < 1 else "within noise"


def _sooner(comparison: Comparison) -> Claim:
    """Whether the GRU needed less training time to reach the common loss."""
    interval = mean_interval(comparison.minutes_saved("gru", "lstm"))
    minutes = {cell.cell: cell.minutes_to_common_loss for cell in comparison.cells}
    because = (
        f"The GRU reached the common loss of {comparison.common_loss:.4f} nats/token in "
        f"{minutes['gru']:.3g} minutes, the LSTM in {minutes['lstm']:.3g}"
    )
    if interval.half_width is None:
        because += f"; with fewer than {MIN_VALUES} seeds this may be chance."
        return Claim("A GRU reaches a given loss sooner", "too few seeds", because)
    because += f" (difference {abs(interval.mean):.3g} ± {interval.half_width:.2g})."
    verdict: Verdict = "within noise"
    if not interval.contains_zero:
        verdict = "supported" if interval.mean > 0 else "not supported"
    return Claim("A GRU reaches a given loss sooner", verdict, because)


def _equal_quality(comparison: Comparison) -> Claim:
    difference = mean_interval(comparison.differences("gru", "lstm"))
    because = f"GRU minus LSTM: {in_nats(difference, comparison.plan.seeds)}"
    verdict: Verdict
    if difference.half_width is None:
        verdict, because = "too few seeds", because + f"; an interval needs {MIN_VALUES} seeds."
    elif difference.contains_zero:
        verdict = "within noise"
        because += (
            f". No difference is shown; one of up to {difference.largest_magnitude:.4f} is not ruled out."
        )
    else:
        verdict = "not supported"
        because += f"; the GRU's loss is {'higher' if difference.mean > 0 else 'lower'}."
    return Claim("A GRU predicts as well as an LSTM", verdict, because)


def _better_than_ngrams(comparison: Comparison, cell: str) -> Claim:
    """The interval is that of the network's seeds: counting gives the same n-grams each time."""
    difference = mean_interval(comparison.above_ngrams(cell))
    because = f"{NAMES[cell]} minus n-grams: {in_nats(difference, comparison.plan.seeds)}"
    verdict: Verdict = "within noise"
    if difference.half_width is None:
        verdict, because = "too few seeds", because + f"; an interval needs {MIN_VALUES} seeds"
    elif not difference.contains_zero:
        verdict = "supported" if difference.mean < 0 else "not supported"
    return Claim(f"{_WITH_ARTICLE[cell]} predicts better than n-grams", verdict, because + ".")


# -- caveats ---------------------------------------------------------------------------


def remarks(comparison: Comparison) -> list[str]:
    """Caveats for a reader of the figures: a busy machine, settings that differ, runs that ended early."""
    found = [
        f"{NAMES[cell]}: training ran at {high:,.0f} tokens/s with the fastest seed and {low:,.0f} with the "
        "slowest, so the machine was busy with other work. Everything that depends on time, including the "
        "losses, should be measured again."
        for cell, (low, high) in comparison.uneven_speeds().items()
    ]
    for setting in OWN_TRAINING:
        values = {NAMES[run.cell]: getattr(run, setting) for run in comparison.runs}
        if len(set(values.values())) > 1:
            by_cell = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
            found.append(f"The cells differ in {setting.replace('_', ' ')}: {by_cell}.")
    early = [
        f"{run.cell}-seed{run.seed}" for run in comparison.runs
        if run.minutes < EARLY_SHARE * comparison.plan.minutes_each
    ]  # fmt: skip
    if early:
        found.append(
            "Ended before their time was up, because validation stopped improving or the text had been read "
            f"often enough: {', '.join(early)}."
        )
    if unread := [f"{run.cell}-seed{run.seed}" for run in comparison.runs if run.unread_tokens]:
        found.append(f"Read only part of the validation text, for lack of time: {', '.join(unread)}.")
    return found + list(comparison.ngrams.remarks if comparison.ngrams is not None else ())


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
