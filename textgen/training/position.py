"""The counters of a run's progress."""

from __future__ import annotations

from dataclasses import dataclass


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
    lowest_loss: float | None = None  # nats/token, lowest of the training-loss records; None: no record yet
    good_step: int | None = None  # step whose checkpoint a rollback goes to; None: the initial weights
    halvings: int = 0  # how many times rollbacks have halved the learning rate
    candidate_step: int | None = None  # step of the last evaluation; becomes good_step if training goes well
    rollbacks_in_a_row: int = 0  # since there was a new good_step
