"""The figures of a comparison: of each run, of each cell over its seeds, and of the cells beside each other.

run directories ─RunFigures→ CellFigures (mean, interval) ─→ Comparison
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from textgen.analysis.comparison.interval import Interval, mean_interval
from textgen.analysis.comparison.plan import OWN_TRAINING, ComparisonPlan, PlannedRun
from textgen.analysis.comparison.throughput import Passes
from textgen.errors import RunError
from textgen.models.cost import multiply_adds
from textgen.run import Run, active_records
from textgen.settings.cells import find_spec
from textgen.settings.config import ModelConfig

# A cell whose fastest seed is so much faster than its slowest ran beside other work.
BUSY = 1.2


class Evaluation(NamedTuple):
    """The validation loss at one moment of training, in nats per token."""

    step: int
    tokens: float
    minutes: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """What one run came to."""

    cell: str
    seed: int
    model: ModelConfig
    parameters: int
    precision: str
    learning_rate: float
    beta1: float
    temporal_activation_penalty: float
    threads: int | None
    tokens_per_second: float  # in training, evaluations left out
    minutes: float  # in training, evaluations included
    steps: int
    nats_per_token: float  # the best weights, on all validation text
    bits_per_character: float
    peak_memory_bytes: int | None  # None: not known
    evaluations: list[Evaluation]

    @property
    def lowest_loss(self) -> float:
        """The lowest of the losses during training."""
        return min(each.loss for each in self.evaluations)


@dataclass(frozen=True, kw_only=True)
class CellFigures:
    """What the runs of one cell came to together: means over the seeds."""

    cell: str
    gates: str
    network: str
    parameters: int
    multiply_adds_per_token: int
    tokens_per_second: float
    minutes: float
    steps: float
    characters_per_second: float  # writing
    peak_memory_bytes: int | None  # the most of all seeds
    nats_per_token: Interval
    bits_per_character: Interval
    steps_to_common_loss: float
    minutes_to_common_loss: float


@dataclass(frozen=True)
class Comparison:
    """All figures of a plan whose runs are complete. The cells come in the plan's order."""

    plan: ComparisonPlan
    runs: list[RunFigures]
    cells: list[CellFigures]
    common_nats_per_token: dict[int, float]  # what all cells came down to, by seed
    passes: Passes

    @property
    def common_loss(self) -> float:
        """The loss that all cells came down to in training, in nats per token: the mean over the seeds."""
        return statistics.mean(self.common_nats_per_token.values())

    def of_cell(self, cell: str) -> list[RunFigures]:
        """The runs of a cell, by seed."""
        return sorted((run for run in self.runs if run.cell == cell), key=lambda run: run.seed)

    def differences(self, cell: str, reference: str) -> list[float]:
        """Nats per token that a cell needs more than another, seed by seed, on all validation text."""
        pairs = zip(self.of_cell(cell), self.of_cell(reference), strict=True)
        return [one.nats_per_token - other.nats_per_token for one, other in pairs]

    def speed_ratios(self, cell: str, reference: str) -> list[float]:
        """How many times as many tokens a second a cell trains on as another, seed by seed."""
        pairs = zip(self.of_cell(cell), self.of_cell(reference), strict=True)
        return [one.tokens_per_second / other.tokens_per_second for one, other in pairs]

    def minutes_saved(self, cell: str, reference: str) -> list[float]:
        """Minutes by which a cell was sooner than another at the loss that all reached, seed by seed."""
        pairs = zip(self.of_cell(cell), self.of_cell(reference), strict=True)
        return [
            reached(other.evaluations, loss).minutes - reached(one.evaluations, loss).minutes
            for one, other in pairs
            for loss in [self.common_nats_per_token[one.seed]]
        ]

    def busy_cells(self) -> dict[str, tuple[float, float]]:
        """The slowest and the fastest seed, in tokens/s, of each cell whose seeds differ too much."""
        speeds = {cell: [run.tokens_per_second for run in self.of_cell(cell)] for cell in self.plan.cells}
        found = {cell: (min(values), max(values)) for cell, values in speeds.items()}
        return {cell: pair for cell, pair in found.items() if pair[1] > BUSY * pair[0]}

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return dataclasses.asdict(self)


def compare(
    plan: ComparisonPlan,
    run_of: Callable[[PlannedRun], Run],
    peak_memory: Callable[[PlannedRun], int | None],
    *,
    characters_per_second: Mapping[str, float],
    passes: Passes,
) -> Comparison:
    """Collect the figures of complete runs. Raises RunError when they were not of one text."""
    texts = {run_of(planned).config.measured["corpus_fingerprint"] for planned in plan.runs}
    if texts != {plan.fingerprint}:
        raise RunError(f"{run_of(plan.runs[0]).path.parent}: its runs are not all of the same text")
    runs = [run_figures(planned, run_of(planned), peak_memory(planned)) for planned in plan.runs]
    return summarize(plan, runs, characters_per_second=characters_per_second, passes=passes)


def run_figures(planned: PlannedRun, run: Run, peak_memory: int | None) -> RunFigures:
    """The figures of one complete run. Raises RunError."""
    config, metrics = run.config, active_records(run.metrics())
    measured = [line for line in metrics if line["kind"] == "val"]
    (final,) = [line for line in metrics if line["kind"] == "final"]
    # The median: a line that an evaluation falls into shows fewer.
    speeds = [line["tokens_per_second"] for line in metrics if line["kind"] == "train"]
    tokens = config.measured["train_tokens"]
    return RunFigures(
        cell=planned.cell,
        seed=planned.seed,
        model=config.model,
        parameters=config.measured["parameters"],
        **{name: getattr(config.training, name) for name in OWN_TRAINING},
        tokens_per_second=statistics.median(speeds),
        minutes=measured[-1]["seconds"] / 60,
        steps=final["step"],
        nats_per_token=final["nats_per_token"],
        bits_per_character=final["bits_per_character"],
        peak_memory_bytes=peak_memory,
        evaluations=[
            Evaluation(line["step"], line["epoch"] * tokens, line["seconds"] / 60, line["nats_per_token"])
            for line in measured
        ],
    )


def summarize(
    plan: ComparisonPlan,
    runs: Sequence[RunFigures],
    *,
    characters_per_second: Mapping[str, float],
    passes: Passes,
) -> Comparison:
    """Put the figures of all runs together, cell by cell."""
    common = {
        seed: common_loss([run for run in runs if run.seed == seed]) for seed in {run.seed for run in runs}
    }
    cells = [
        _cell_figures([run for run in runs if run.cell == cell], common, characters_per_second[cell])
        for cell in plan.cells
    ]
    return Comparison(plan, list(runs), cells, common, passes)


def common_loss(runs: Sequence[RunFigures]) -> float:
    """The loss that all of some runs came down to: the highest of their lowest, in nats per token."""
    return max(run.lowest_loss for run in runs)


def reached(evaluations: Sequence[Evaluation], loss: float) -> Evaluation:
    """When a loss was first reached: on the straight line between the two evaluations about it.

    The first evaluation itself when that is below already. The loss must have been reached.
    """
    number = next(number for number, each in enumerate(evaluations) if each.loss <= loss)
    after = evaluations[number]
    if number == 0:
        return after
    before = evaluations[number - 1]
    share = (before.loss - loss) / (before.loss - after.loss)
    step, tokens, minutes, _ = (old + share * (new - old) for old, new in zip(before, after, strict=True))
    return Evaluation(round(step), tokens, minutes, loss)


def _cell_figures(
    runs: Sequence[RunFigures], common: Mapping[int, float], characters_per_second: float
) -> CellFigures:
    first, mean = runs[0], statistics.mean
    moments = [reached(run.evaluations, common[run.seed]) for run in runs]
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
        steps_to_common_loss=mean(moment.step for moment in moments),
        minutes_to_common_loss=mean(moment.minutes for moment in moments),
    )
