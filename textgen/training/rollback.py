"""Divergence: when training has failed, and going back to a good checkpoint with a lower learning rate.

    loss |                    *             checked at each record of training loss, before each evaluation
         |                   *              and on the validation loss
         | \\____            * ---- limit    = lowest so far + tolerance
         |      \\___ . . . * . . . lowest
         +--------------------------
              ^ good checkpoint  ^ found: back to the checkpoint, the same text again at a lower rate

An evaluation's checkpoint is a candidate first; it is good when the steps after it did not diverge. The rules
depend on the steps alone, not on the clock, so a run that is killed and resumed goes back at the same steps.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NoReturn

from textgen.errors import TrainingError
from textgen.system.progress import Reporter
from textgen.training.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, remove_others
from textgen.training.position import Position
from textgen.training.state import TrainingState

# In a row, without a good evaluation between them. The n-th halves the learning rate n times: 1/2, then 1/8,
# 1/64, 1/1024 of the rate that failed. A rate that is slightly too high loses little, and one that is a
# thousand times too high is still brought down.
MAX_ROLLBACKS = 5


class Rollback:
    """Checks the steps of one run for divergence, and takes the run back to its last good checkpoint.

    records and evaluations are the numbers of training-loss records and of evaluations in the whole budget.
    """

    def __init__(self, state: TrainingState, reporter: Reporter, *, records: int, evaluations: int) -> None:
        self.state = state
        self.reporter = reporter
        self.records = records
        self.evaluations = evaluations
        # To go back to before the first good evaluation. Not saved: a resumed run draws the same weights.
        self._initial: Checkpoint | None = state.checkpoint().copied()

    def resume(self) -> None:
        """Drop the initial weights if a restored checkpoint has a good step; call this after restoring."""
        if self.state.position.good_step is not None:
            self._initial = None

    def check(self) -> bool:
        """Check the steps since the last record, and go back if they diverged; returns whether they did.

        Raises TrainingError when going back has not helped.
        """
        train_step = self.state.train_step
        if train_step.loss_count == 0:
            return False
        mean_loss = train_step.nats_per_token
        reason = divergence_reason(
            mean_loss,
            tokens=train_step.loss_count,
            first=self.state.position.first_loss,
            lowest=self.state.position.lowest_loss,
            model_vocab_size=train_step.model.config.model_vocab_size,
            failed_steps=train_step.failed_steps,
        )
        if reason is not None:
            self.roll_back(reason, mean_loss)
        return reason is not None

    def accept_candidate(self) -> None:
        """Make the last evaluation's checkpoint the one to go back to, as the steps after it went well.

        Not earlier: the loss of a step is computed before its update, so an update that ruins the weights
        only shows in the next step. A bad validation loss proves nothing, as it may come from overfitting.
        """
        position = self.state.position
        if position.candidate_step is None:
            return
        position.good_step, position.candidate_step = position.candidate_step, None
        position.rollbacks_in_a_row = 0
        self._initial = None

    def roll_back(self, reason: str, mean_loss: float) -> None:
        """Continue from the last good checkpoint, or the initial weights, with a lower learning rate.

        The same windows are read again, since text that is hard at this rate has to be read at some rate.
        Steps and tokens are reset to those of the checkpoint; the seconds spent still count.

        Raises TrainingError after MAX_ROLLBACKS in a row.
        """
        state = self.state
        failed = dataclasses.replace(state.position)
        if failed.rollbacks_in_a_row == MAX_ROLLBACKS:
            self._give_up(reason)
        in_a_row = failed.rollbacks_in_a_row + 1
        halvings = failed.halvings + in_a_row
        target = failed.good_step or 0
        state.record(
            "rollback",
            back_to=target,
            reason=reason,
            nats_per_token=mean_loss if math.isfinite(mean_loss) else None,
            lowest=failed.lowest_loss,
            halvings=halvings,
        )
        if failed.good_step is None:
            assert self._initial is not None  # kept until there is a good step
            checkpoint = self._initial
        else:
            checkpoint = load_checkpoint(checkpoint_path(state.run.training_directory, failed.good_step))
        metrics_size = state.metrics.size
        state.go_to(checkpoint)
        state.metrics.size = metrics_size
        self._keep_of(failed)
        state.position.halvings, state.position.rollbacks_in_a_row = halvings, in_a_row
        if target == 0:
            state.save()  # before the others are removed, so that there is always a checkpoint
        else:
            remove_others(state.run.training_directory, keep={target})
        self.reporter.line(
            f"Step {failed.step:,}: {reason}. Going back to step {target:,} with the learning rate "
            f"divided by {2**in_a_row} ({state.run.config.training.learning_rate * 0.5**halvings:.3g})."
        )

    def _keep_of(self, failed: Position) -> None:
        """Keep what stays valid of the position that failed."""
        position = self.state.position
        position.good_step, position.candidate_step = failed.good_step, None
        position.seconds = failed.seconds
        # The best weights are still the best, but the lower rate starts with full patience.
        position.best_loss, position.best_step = failed.best_loss, failed.best_step
        position.stale_evaluations = 0
        # With a budget in minutes progress does not go back, so records and evaluations that are due by the
        # clock are skipped, all but the last evaluation, which ends the run.
        progress = min(self.state.progress(), 1)
        position.records = max(position.records, int(progress * self.records))
        marks = min(int(progress * self.evaluations), self.evaluations - 1)
        position.evaluations = max(position.evaluations, marks)

    def _give_up(self, reason: str) -> NoReturn:
        run, position = self.state.run, self.state.position
        best = self.state.best_weights
        kept = f" The best weights, of step {position.best_step:,}, are kept." if best else ""
        raise TrainingError(
            f"{run.path}: at step {position.step:,} {reason}, and lowering the learning rate {MAX_ROLLBACKS} "
            f"times did not help.{kept} "
            f"Start again with a lower --learning-rate than {run.config.training.learning_rate:g}."
        )


def divergence_reason(
    nats_per_token: float,
    *,
    tokens: int,
    first: float | None,
    lowest: float | None,
    model_vocab_size: int,
    failed_steps: int,
) -> str | None:
    """Why training has diverged, in words for a message; None if it has not.

    A loss is too high if it exceeds the lower of two values by more than the tolerance: the lowest mean loss
    so far, and the loss at the start, which is that of a uniform guess, or the first step's where that is
    higher, because the weights come from a run on another text.

    nats_per_token    mean training loss of the last interval
    tokens            the number of tokens in that mean
    first             loss of the first step, before any update; None if it was not finite
    lowest            lowest mean training loss of earlier intervals; None if there are none
    model_vocab_size  the number of tokens that the softmax chooses from
    failed_steps      steps of the interval with a gradient that was not finite
    """
    if failed_steps:
        return "a gradient was no longer a number"
    if not math.isfinite(nats_per_token):
        return "the loss was no longer a number"
    start = max(math.log(model_vocab_size), 0.0 if first is None else first)
    limit = min(start, start if lowest is None else lowest) + tolerance(tokens, model_vocab_size)
    if nats_per_token > limit:
        return f"the loss rose to {nats_per_token:.2f} nats/token, above a limit of {limit:.2f}"
    return None


def tolerance(tokens: int, model_vocab_size: int) -> float:
    """How far the mean loss over this many tokens may exceed the lowest without divergence, in nats/token.

    Some of it covers parts of the text that are harder than others: a nat, or a quarter of the loss of a
    uniform guess where that is more. The rest covers the noise of the mean, which falls with the square root
    of the number of tokens; it allows for the losses of neighbouring tokens being correlated.

    >>> tolerance(10_000, model_vocab_size=50)
    1.2
    """
    return max(1.0, math.log(model_vocab_size) / 4) + 20 / math.sqrt(tokens)
