"""The counters of a run's progress."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Position:
    """The counters of a run's progress, saved in a checkpoint's progress.json under these names."""

    step: int = 0  # optimizer steps taken
    seconds: float = 0.0  # wall-clock time used by earlier processes of this run
    tokens: int = 0  # targets trained on
    records: int = 0  # training-loss records that are done or skipped
    evaluations: int = 0  # evaluations that are done or skipped
    best_loss: float | None = None  # nats/token on validation text; None before the first evaluation
    best_step: int = 0  # the step of best_loss
    stale_evaluations: int = 0  # evaluations in a row that did not improve on best_loss
    finished: bool = False  # the budget is spent, or training stopped early
    first_loss: float | None = None  # nats/token, training loss of step 1; None: not taken, or not finite
    recent: Sequence[tuple[int, float, int]] = ()  # (steps, nats, tokens) of the last records, for the check
    lowest_loss: float | None = None  # nats/token, lowest mean over recent steps; None: too few steps yet
    extra_tolerance: float = 0.0  # nats/token; how far the limit of divergence was raised
    good_step: int | None = None  # step whose checkpoint a rollback goes to; None: the initial weights
    halvings: int = 0  # how many times rollbacks have halved the learning rate
    candidate_step: int | None = None  # step of the last evaluation; becomes good_step if training goes well
    rollbacks_in_a_row: int = 0  # those that lowered the rate since there was a new good_step
    retried: bool = False  # whether a rollback kept the rate since there was a new good_step
    rollbacks: int = 0  # all of this run; with seed and step it gives the random numbers of a step

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Position:
        """The counters that progress.json holds, checked. Raises TypeError or ValueError."""
        position = cls(**values)
        for name, value in vars(position).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if name in _COUNTERS and not (is_number and value >= 0):
                raise ValueError(f"{name} is {value!r}, not a number of 0 or more")
        if position.best_step > position.step:
            raise ValueError(f"best_step is {position.best_step}, after step {position.step}")
        return position


_COUNTERS = (
    *("step", "seconds", "tokens", "records", "evaluations", "best_step", "stale_evaluations"),
    *("extra_tolerance", "halvings", "rollbacks_in_a_row", "rollbacks"),
)
