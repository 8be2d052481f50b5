"""Going back to the last good checkpoint, with a lower learning rate, when training failed.

    evaluation, checkpoint      -> a candidate
    a good interval after it    -> what is gone back to
    a bad interval (rollback.py)  -> gone back, the rate lower

All of it follows from the steps alone, so a run that is killed on the way fails and goes back at the same
places.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NoReturn

from textgen.errors import TrainingError
from textgen.system.progress import Reporter
from textgen.training.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, remove_others
from textgen.training.position import Position
from textgen.training.safety import MOST_ROLLBACKS, divergence
from textgen.training.state import TrainingState


class Recovery:
    """Judges the steps of one run and takes it back where they failed.

    records and evaluations are how many lines of training loss and evaluations the whole budget has.
    """

    def __init__(self, state: TrainingState, reporter: Reporter, *, records: int, evaluations: int) -> None:
        self.state = state
        self.reporter = reporter
        self.records = records
        self.evaluations = evaluations
        # What to go back to before the first evaluation. It needs no disk: a resumed run draws it again.
        self._first: Checkpoint | None = state.checkpoint().copied()

    def resume(self) -> None:
        """After a checkpoint was restored: forget the first weights where there is something better."""
        if self.state.position.good_step is not None:
            self._first = None

    def rolled_back(self) -> bool:
        """Judge the steps since the last line of training loss, if any; go back when they failed.

        Raises TrainingError when going back has not helped.
        """
        learner = self.state.learner
        if learner.loss_count == 0:
            return False
        mean_loss = learner.nats_per_token
        reason = divergence(
            mean_loss,
            tokens=learner.loss_count,
            first=self.state.position.first_loss,
            lowest=self.state.position.lowest_loss,
            num_rows=learner.model.config.model_vocab_size,
            failed_steps=learner.failed_steps,
        )
        if reason is not None:
            self.roll_back(reason, mean_loss)
        return reason is not None

    def trust_candidate(self) -> None:
        """Make the last evaluation's checkpoint what training goes back to, for the steps after it went well.

        Not before: the loss of a step is that of the weights before it, so a last step that ruined them shows
        in the next one only; a bad validation loss may as well be of text learnt by heart.
        """
        position = self.state.position
        if position.candidate_step is None:
            return
        position.good_step, position.candidate_step = position.candidate_step, None
        position.rollbacks_in_a_row = 0
        self._first = None

    def roll_back(self, reason: str, mean_loss: float) -> None:
        """Go on from the last evaluation, or the first weights, with a lower learning rate.

        The same windows come again: if it was the text that was too steep for the rate, it must be met at a
        lower one some time. Seconds stay spent; steps and tokens are taken back, at most MOST_ROLLBACKS times
        between two evaluations.

        Raises TrainingError after too many in a row.
        """
        state = self.state
        failed = dataclasses.replace(state.position)
        if failed.rollbacks_in_a_row == MOST_ROLLBACKS:
            self._give_up(reason)
        in_a_row = failed.rollbacks_in_a_row + 1
        times = failed.halvings + in_a_row
        target = failed.good_step or 0
        state.record(
            "rollback",
            back_to=target,
            reason=reason,
            nats_per_token=mean_loss if math.isfinite(mean_loss) else None,
            lowest=failed.lowest_loss,
            halvings=times,
        )
        if failed.good_step is None:
            assert self._first is not None  # kept until there is one on the disk
            checkpoint = self._first
        else:
            checkpoint = load_checkpoint(checkpoint_path(state.run.training_directory, failed.good_step))
        metrics_size = state.metrics.size
        state.go_to(checkpoint)
        state.metrics.size = metrics_size
        self._keep_of(failed)
        state.position.halvings, state.position.rollbacks_in_a_row = times, in_a_row
        if target == 0:
            state.save()  # and remove the others: never is there none where there was one
        else:
            remove_others(state.run.training_directory, keep={target})
        self.reporter.line(
            f"Step {failed.step:,}: {reason}. Going back to step {target:,}, the learning rate "
            f"{2**in_a_row} times lower ({state.run.config.training.learning_rate * 0.5**times:.3g})."
        )

    def _keep_of(self, failed: Position) -> None:
        """After going back, what stays of the position that failed."""
        position = self.state.position
        position.good_step, position.candidate_step = failed.good_step, None
        position.seconds = failed.seconds
        # What validated best stays so, whatever came after it; the lower rate gets a patience of its own.
        position.best_loss, position.best_step = failed.best_loss, failed.best_step
        position.stale_evaluations = 0
        # For a budget in minutes the progress stays: one step alone is not the next line, nor evaluated, but
        # for the last evaluation, which ends the run.
        progress = min(self.state.progress(), 1)
        position.records = max(position.records, int(progress * self.records))
        marks = min(int(progress * self.evaluations), self.evaluations - 1)
        position.evaluations = max(position.evaluations, marks)

    def _give_up(self, reason: str) -> NoReturn:
        run, position = self.state.run, self.state.position
        best = self.state.best_weights
        kept = f" The best weights, of step {position.best_step:,}, are kept." if best else ""
        raise TrainingError(
            f"{run.path}: at step {position.step:,} {reason}, and a lower learning rate, {MOST_ROLLBACKS} "
            f"times, did not help.{kept} "
            f"Start again with a lower --learning-rate than {run.config.training.learning_rate:g}."
        )
