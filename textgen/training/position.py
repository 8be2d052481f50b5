"""How far training is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Position:
    """How far training is: plain numbers, saved in progress.json as they are."""

    step: int = 0
    seconds: float = 0.0  # used by earlier processes of this run
    tokens: int = 0
    records: int = 0
    evaluations: int = 0
    best_loss: float | None = None
    best_step: int = 0
    stale_evaluations: int = 0
    finished: bool = False
    first_loss: float | None = None  # nats/token, of the first step; None: not taken, or no number
    lowest_loss: float | None = None  # nats/token, of the lines of training loss
    good_step: int | None = None  # whose checkpoint to go back to; None: the first weights
    halvings: int = 0  # of the learning rate
    candidate_step: int | None = None  # of the last evaluation, good when the steps after it are
    rollbacks_in_a_row: int = 0  # since there was a new good step
