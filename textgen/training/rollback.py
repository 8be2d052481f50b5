"""Divergence: when training has failed, and going back to a good checkpoint, then with a lower learning rate.

    loss |                    *             checked at each record of training loss, before each evaluation
         |                   *              and on the validation loss
         | \\____            * ---- limit    = lowest so far + tolerance
         |      \\___ . . . * . . . lowest
         +--------------------------
              ^ good checkpoint  ^ found: back to the checkpoint, the same text again with new
                                   dropout masks, first at the same rate, then at lower ones

The loss is a mean over MIN_STEPS or more: dropout can take the most frequent token out of single steps, whose
loss is then high at any rate. An evaluation's checkpoint is a candidate first; it is good when the steps
after it did not diverge. The rules depend on the steps alone, not on the clock, so a run that is killed and
resumed goes back at the same steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NoReturn

from textgen.errors import TrainingError
from textgen.system.progress import Reporter
from textgen.training.checkpoint import Checkpoint, remove_others
from textgen.training.position import Position
from textgen.training.state import TrainingState

# The fewest steps in a mean loss that is judged; see RECIPE.md, "divergence check"
MIN_STEPS = 8
# Those that lower the rate, in a row, without a good evaluation between them. The n-th halves the rate n
# times: 1/2, then 1/8, 1/64, 1/1024 of the rate that failed. A rate that is slightly too high loses little,
# and one that is a thousand times too high is still brought down.
MAX_ROLLBACKS = 5
# AdamW changes a weight by about the rate at each step. Below this rate the weights stay nearly those of the
# good checkpoint, so a loss that is too high even then comes from the text and the masks.
NEGLIGIBLE_RATE = 1e-5

Record = tuple[int, float, int]  # steps, the sum of their losses in nats, tokens


def as_record(values: Sequence[float]) -> Record:
    """A record as it is used, from one that may come from JSON."""
    steps, nats, tokens = values
    return int(steps), float(nats), int(tokens)


def totals(records: Sequence[Record]) -> Record:
    """Steps, nats and tokens of all records together."""
    return sum(r[0] for r in records), sum(r[1] for r in records), sum(r[2] for r in records)


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

    def check(self, *, final: bool = False) -> bool:
        """Check the last steps for divergence, and go back if they diverged; returns whether they did.

        The loss is judged once there are MIN_STEPS to judge; `final` says that there will be no more steps.
        Raises TrainingError when going back has not helped.
        """
        train_step = self.state.train_step
        if train_step.loss_count == 0:
            return False
        steps, nats, tokens = totals(self._recent())
        failed = train_step.failed_steps
        if steps < MIN_STEPS and math.isfinite(nats) and not failed and not final:
            return False
        position = self.state.position
        reason = divergence_reason(
            nats / tokens,
            tokens=tokens,
            first=position.first_loss,
            lowest=position.lowest_loss,
            model_vocab_size=train_step.model.config.model_vocab_size,
            failed_steps=failed,
            extra_tolerance=position.extra_tolerance,
        )
        if reason is not None:
            self.roll_back(reason, nats / tokens, retry=math.isfinite(nats) and not failed)
        return reason is not None

    def _recent(self) -> tuple[Record, ...]:
        """The steps since the last record, and as many records before as it takes to have MIN_STEPS."""
        train_step = self.state.train_step
        now = (train_step.loss_steps, train_step.loss_sum, train_step.loss_count)
        recent = [*map(as_record, self.state.position.recent), now]
        while len(recent) > 1 and totals(recent[1:])[0] >= MIN_STEPS:
            del recent[0]
        return tuple(recent)

    def accept(self) -> None:
        """Take the steps since the last record as good; call this after check, before reset_loss."""
        position = self.state.position
        position.recent = self._recent()
        steps, nats, tokens = totals(position.recent)
        if steps >= MIN_STEPS:
            lowest = position.lowest_loss
            position.lowest_loss = nats / tokens if lowest is None else min(lowest, nats / tokens)
        self._accept_candidate()

    def propose(self) -> None:
        """Make the checkpoint of the evaluation at this step the candidate, if none is waiting."""
        position = self.state.position
        if position.candidate_step is None:
            position.candidate_step = position.step

    def _accept_candidate(self) -> None:
        """Make the candidate the checkpoint to go back to, if enough steps after it went well.

        Not earlier: the loss of a step is computed before its update, so an update that ruins the weights
        only shows in the next step. A bad validation loss proves nothing, as it may come from overfitting.
        """
        position = self.state.position
        if position.candidate_step is None or position.step - position.candidate_step < MIN_STEPS:
            return
        position.good_step, position.candidate_step = position.candidate_step, None
        position.rollbacks_in_a_row, position.retried = 0, False
        self._initial = None

    def roll_back(self, reason: str, mean_loss: float, *, retry: bool = False) -> None:
        """Continue from the last good checkpoint, or the initial weights, with other random numbers: with the
        same masks a loss that was high because of them would be as high again.

        With `retry` the first time at the same learning rate, since the masks of dropout may have been to
        blame; otherwise at a lower one. The same windows are read again, since text that is hard at this rate
        has to be read at some rate. Steps and tokens are reset to those of the checkpoint; the seconds spent
        still count.

        Raises TrainingError after MAX_ROLLBACKS in a row with a lower rate; not for a loss that was too high
        even at a negligible rate, as the limit is raised for it.
        """
        state = self.state
        failed = dataclasses.replace(state.position)
        learning_rate = state.run.config.training.learning_rate
        target = failed.good_step or 0
        if retry and not failed.retried:
            failed.retried = True
            remedy = "with new dropout masks and the same learning rate"
        elif failed.rollbacks_in_a_row < MAX_ROLLBACKS:
            failed.rollbacks_in_a_row += 1
            failed.halvings += failed.rollbacks_in_a_row
            remedy = f"with the learning rate divided by {2**failed.rollbacks_in_a_row}"
        elif retry and learning_rate * 0.5**failed.halvings < NEGLIGIBLE_RATE:
            failed.extra_tolerance = self._tolerance_for(mean_loss)
            failed.halvings -= sum(range(MAX_ROLLBACKS + 1))
            failed.rollbacks_in_a_row, failed.retried = 0, False
            remedy = "with a higher limit, as lowering the rate did not help, and the former learning rate"
        else:
            self._give_up(reason)
        failed.rollbacks += 1
        state.record(
            "rollback",
            back_to=target,
            reason=reason,
            nats_per_token=mean_loss if math.isfinite(mean_loss) else None,
            lowest=failed.lowest_loss,
            halvings=failed.halvings,
        )
        if failed.good_step is None:
            assert self._initial is not None  # kept until there is a good step
            checkpoint = self._initial
        else:
            checkpoint = state.load(failed.good_step)
        metrics_size = state.metrics.size
        state.go_to(checkpoint)
        state.metrics.size = metrics_size
        self._keep_of(failed)
        if target == 0:
            state.save()  # before the others are removed, so that there is always a checkpoint
        elif state.world.is_first:
            remove_others(state.run.training_directory, keep={target})
        self.reporter.line(
            f"Step {failed.step:,}: {reason}. Going back to step {target:,} {remedy} "
            f"({learning_rate * 0.5**failed.halvings:.3g})."
        )

    def _tolerance_for(self, mean_loss: float) -> float:
        """The extra tolerance with which this mean of the recent steps is a tolerance below the limit."""
        position = self.state.position
        model_vocab_size = self.state.train_step.model.config.model_vocab_size
        _, _, tokens = totals(self._recent())
        limit = loss_limit(
            tokens=tokens,
            first=position.first_loss,
            lowest=position.lowest_loss,
            model_vocab_size=model_vocab_size,
        )
        return mean_loss - limit + tolerance(tokens, model_vocab_size)

    def _keep_of(self, failed: Position) -> None:
        """Keep what stays valid of the position that failed."""
        position = self.state.position
        position.good_step, position.candidate_step = failed.good_step, None
        position.halvings, position.extra_tolerance = failed.halvings, failed.extra_tolerance
        position.rollbacks_in_a_row, position.retried = failed.rollbacks_in_a_row, failed.retried
        position.rollbacks = failed.rollbacks
        position.recent = ()  # what is judged next are steps with the new masks and the new rate
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
    extra_tolerance: float = 0.0,
) -> str | None:
    """Why training has diverged, in words for a message; None if it has not.

    nats_per_token    mean training loss of the last steps
    tokens            the number of tokens in that mean
    first             loss of the first step, before any update; None if it was not finite
    lowest            lowest mean training loss of earlier steps; None if there are too few
    model_vocab_size  the number of tokens that the softmax chooses from
    failed_steps      steps with a gradient that was not finite
    extra_tolerance   nats/token added to the limit of loss_limit
    """
    if failed_steps:
        return "a gradient was no longer a number"
    if not math.isfinite(nats_per_token):
        return "the loss was no longer a number"
    limit = loss_limit(tokens=tokens, first=first, lowest=lowest, model_vocab_size=model_vocab_size)
    limit += extra_tolerance
    if nats_per_token > limit:
        return f"the loss rose to {nats_per_token:.2f} nats/token, above a limit of {limit:.2f}"
    return None


def loss_limit(*, tokens: int, first: float | None, lowest: float | None, model_vocab_size: int) -> float:
    """The highest mean loss that is no divergence, in nats/token; arguments as for divergence_reason.

    It is the lower of two values plus the tolerance: the lowest mean loss so far, and the loss at the start,
    which is that of a uniform guess, or the first step's where that is higher, because the weights come from
    a run on another text.
    """
    start = max(math.log(model_vocab_size), 0.0 if first is None else first)
    return min(start, start if lowest is None else lowest) + tolerance(tokens, model_vocab_size)


def tolerance(tokens: int, model_vocab_size: int) -> float:
    """How far the mean loss over this many tokens may exceed the lowest without divergence, in nats/token.

    Some of it covers parts of the text that are harder than others: a nat, or a quarter of the loss of a
    uniform guess where that is more. The rest covers the noise of the mean, which falls with the square root
    of the number of tokens; it allows for the losses of neighbouring tokens being correlated.

    >>> tolerance(10_000, model_vocab_size=50)
    1.2
    """
    return max(1.0, math.log(model_vocab_size) / 4) + 20 / math.sqrt(tokens)
