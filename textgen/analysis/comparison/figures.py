"""Collects the figures of a comparison: per run, per cell (over its seeds), and between cells.

run directories → RunFigures → CellFigures (mean and interval) → Comparison
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from textgen.analysis.comparison.interval import Interval, mean_interval
from textgen.analysis.comparison.ngrams import NGramFigures
from textgen.analysis.comparison.plan import OWN_TRAINING, ComparisonPlan, PlannedRun
from textgen.analysis.comparison.throughput import Throughput
from textgen.errors import RunError
from textgen.models.cost import multiply_adds
from textgen.run import Run, active_records
from textgen.settings.cells import find_spec
from textgen.settings.config import ModelConfig

# Seeds of one cell do the same work; a larger ratio of their speeds means that the machine was busy.
MAX_SPEED_RATIO = 1.2


class Evaluation(NamedTuple):
    """One evaluation during training; loss is the validation loss in nats per token."""

    step: int
    tokens: float
    minutes: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """The figures of one complete run."""

    cell: str
    seed: int
    model: ModelConfig
    parameters: int
    precision: str
    learning_rate: float
    beta1: float
    temporal_activation_penalty: float
    threads: int | None
    tokens_per_second: float  # in training, without evaluations
    minutes: float  # of training, with evaluations
    steps: int
    nats_per_token: float  # of the best weights, on the validation text
    bits_per_character: float
    unread_tokens: int = 0  # of the validation text, for lack of time
    peak_memory_bytes: int | None  # None: unknown
    evaluations: list[Evaluation]

    @property
    def lowest_loss(self) -> float:
        """The lowest validation loss during training, in nats per token."""
        return min(each.loss for each in self.evaluations)


@dataclass(frozen=True, kw_only=True)
class CellFigures:
    """The figures of one cell: means over its seeds unless noted."""

    cell: str
    gates: str
    network: str
    parameters: int
    multiply_adds_per_token: int
    tokens_per_second: float
    minutes: float
    steps: float
    characters_per_second: float  # of sampling, with the weights of seed 1
    peak_memory_bytes: int | None  # maximum over the seeds; None: unknown
    nats_per_token: Interval
    bits_per_character: Interval
    steps_to_common_loss: float
    minutes_to_common_loss: float


@dataclass(frozen=True)
class Comparison:
    """All figures of a comparison whose runs are complete.

    runs, cells: of networks; cells are in the plan's order. ngrams: None where they were not asked for. They
    have no seeds, so that nothing about seeds, training or speed is of them.
    """

    plan: ComparisonPlan
    runs: list[RunFigures]
    cells: list[CellFigures]
    common_nats_per_token: dict[int, float]  # by seed, the lowest loss that every network reached
    throughput: Throughput
    ngrams: NGramFigures | None = None

    @property
    def common_loss(self) -> float:
        """The lowest validation loss that every network reached: nats per token, mean over the seeds."""
        return statistics.mean(self.common_nats_per_token.values())

    def runs_of(self, cell: str) -> list[RunFigures]:
        """The runs of a cell, ordered by seed."""
        return sorted((run for run in self.runs if run.cell == cell), key=lambda run: run.seed)

    def differences(self, cell: str, reference: str) -> list[float]:
        """The cell's loss minus the reference's in nats per token, on the whole validation text, by seed."""
        pairs = zip(self.runs_of(cell), self.runs_of(reference), strict=True)
        return [one.nats_per_token - other.nats_per_token for one, other in pairs]

    def speed_ratios(self, cell: str, reference: str) -> list[float]:
        """The cell's training speed divided by the reference's, by seed."""
        pairs = zip(self.runs_of(cell), self.runs_of(reference), strict=True)
        return [one.tokens_per_second / other.tokens_per_second for one, other in pairs]

    def above_ngrams(self, cell: str) -> list[float]:
        """The cell's loss minus that of the n-grams, which must be there, in nats per token, by seed."""
        assert self.ngrams is not None
        return [run.nats_per_token - self.ngrams.nats_per_token for run in self.runs_of(cell)]

    def minutes_saved(self, cell: str, reference: str) -> list[float]:
        """How many minutes earlier than the reference the cell reached the common loss, by seed."""
        pairs = zip(self.runs_of(cell), self.runs_of(reference), strict=True)
        return [
            first_reached(other.evaluations, loss).minutes - first_reached(one.evaluations, loss).minutes
            for one, other in pairs
            for loss in [self.common_nats_per_token[one.seed]]
        ]

    def uneven_speeds(self) -> dict[str, tuple[float, float]]:
        """Tokens/s of the slowest and fastest seed of each cell whose ratio exceeds MAX_SPEED_RATIO."""
        speeds = {cell: [run.tokens_per_second for run in self.runs_of(cell)] for cell in self.plan.networks}
        ranges = {cell: (min(values), max(values)) for cell, values in speeds.items()}
        return {cell: (low, high) for cell, (low, high) in ranges.items() if high > MAX_SPEED_RATIO * low}

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values for JSON; the throughput is called `passes` there."""
        figures = dataclasses.asdict(self)
        figures["passes"] = figures.pop("throughput")
        return figures


def load_comparison(
    plan: ComparisonPlan,
    run_of: Callable[[PlannedRun], Run],
    peak_memory: Callable[[PlannedRun], int | None],
    *,
    characters_per_second: Mapping[str, float],
    throughput: Throughput,
    ngrams: NGramFigures | None = None,
) -> Comparison:
    """Collect the figures of a plan's runs, which must be complete.

    run_of and peak_memory return the run and the peak memory in bytes (None: unknown) of a planned run.

    Raises RunError when the runs were not all trained on the plan's text.
    """
    texts = {run_of(planned).config.measured["corpus_fingerprint"] for planned in plan.runs}
    if texts != {plan.fingerprint}:
        raise RunError(
            f"{run_of(plan.runs[0]).path.parent}: not all of its runs were trained on the same text"
        )
    runs = [run_figures(planned, run_of(planned), peak_memory(planned)) for planned in plan.runs]
    return summarize(
        plan, runs, characters_per_second=characters_per_second, throughput=throughput, ngrams=ngrams
    )


def run_figures(planned: PlannedRun, run: Run, peak_memory: int | None) -> RunFigures:
    """The figures of one complete run. Raises RunError."""
    config, metrics = run.config, active_records(run.metrics())
    validations = [line for line in metrics if line["kind"] == "val"]
    (final,) = [line for line in metrics if line["kind"] == "final"]
    # The median, because a record that includes an evaluation shows a lower speed.
    speeds = [line["tokens_per_second"] for line in metrics if line["kind"] == "train"]
    tokens = config.measured["train_tokens"]
    return RunFigures(
        cell=planned.cell,
        seed=planned.seed,
        model=config.model,
        parameters=config.measured["parameters"],
        **{name: getattr(config.training, name) for name in OWN_TRAINING},
        tokens_per_second=statistics.median(speeds),
        minutes=validations[-1]["seconds"] / 60,
        steps=final["step"],
        nats_per_token=final["nats_per_token"],
        bits_per_character=final["bits_per_character"],
        unread_tokens=final.get("unread_tokens", 0),  # earlier versions always read all of it
        peak_memory_bytes=peak_memory,
        evaluations=[
            Evaluation(line["step"], line["epoch"] * tokens, line["seconds"] / 60, line["nats_per_token"])
            for line in validations
        ],
    )


def summarize(
    plan: ComparisonPlan,
    runs: Sequence[RunFigures],
    *,
    characters_per_second: Mapping[str, float],
    throughput: Throughput,
    ngrams: NGramFigures | None = None,
) -> Comparison:
    """Combine the figures of all runs into those of each cell; characters_per_second is by cell."""
    common = {
        seed: _common_loss([run for run in runs if run.seed == seed]) for seed in {run.seed for run in runs}
    }
    cells = [
        _cell_figures([run for run in runs if run.cell == cell], common, characters_per_second[cell])
        for cell in plan.networks
    ]
    return Comparison(plan, list(runs), cells, common, throughput, ngrams)


def _common_loss(runs: Sequence[RunFigures]) -> float:
    """The lowest loss that every run reached in training, in nats per token."""
    return max(run.lowest_loss for run in runs)


def first_reached(evaluations: Sequence[Evaluation], loss: float) -> Evaluation:
    """When a loss was first reached, interpolated linearly between evaluations.

    Returns the first evaluation where its loss is already low enough. At least one evaluation must be at or
    below `loss`.
    """
    index = next(index for index, each in enumerate(evaluations) if each.loss <= loss)
    after = evaluations[index]
    if index == 0:
        return after
    before = evaluations[index - 1]
    share = (before.loss - loss) / (before.loss - after.loss)
    step, tokens, minutes, _ = (old + share * (new - old) for old, new in zip(before, after, strict=True))
    return Evaluation(round(step), tokens, minutes, loss)


def _cell_figures(
    runs: Sequence[RunFigures], common: Mapping[int, float], characters_per_second: float
) -> CellFigures:
    first, mean = runs[0], statistics.mean
    reached = [first_reached(run.evaluations, common[run.seed]) for run in runs]
    return CellFigures(
        cell=first.cell,
        gates=find_spec(first.cell).summary,
        network=f"{first.model.num_layers} x {first.model.hidden_size}",
        parameters=first.parameters,
        multiply_adds_per_token=multiply_adds(first.model),
        tokens_per_second=mean(run.tokens_per_second for run in runs),
        minutes=mean(run.minutes for run in runs),
        steps=mean(run.steps for run in runs),
        characters_per_second=characters_per_second,
        peak_memory_bytes=max(
            (run.peak_memory_bytes for run in runs if run.peak_memory_bytes is not None), default=None
        ),
        nats_per_token=mean_interval([run.nats_per_token for run in runs]),
        bits_per_character=mean_interval([run.bits_per_character for run in runs]),
        steps_to_common_loss=mean(moment.step for moment in reached),
        minutes_to_common_loss=mean(moment.minutes for moment in reached),
    )
