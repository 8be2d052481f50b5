"""The loop: batches become a trained run.

    batch  ->  Learner: a step  ->  figures, evaluations, checkpoints, all at their time
       ^                                 |
       '---- last good checkpoint <------'   when training failed (safety.py)

All that happens at a certain time (the learning rate, figures, evaluations) is a function of the progress
through the budget, so a run with a budget in steps repeats exactly, also when it was killed and resumed
between.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any, NoReturn

import numpy as np
from torch import Tensor

from textgen.config import TrainingConfig
from textgen.device import torch_dtype
from textgen.errors import Interrupted, TrainingError
from textgen.evaluation.loss import Loss
from textgen.models.language_model import LanguageModel
from textgen.run import WEIGHTS, Run, save_weights
from textgen.text.batches import Batch, StreamBatches
from textgen.text.tokenizer import Tokenizer
from textgen.training.checkpoint import (
    Checkpoint,
    checkpoint_path,
    load_checkpoint,
    newest_checkpoint,
    remove_others,
    save_checkpoint,
)
from textgen.training.interrupt import StopRequest
from textgen.training.learner import Learner
from textgen.training.metrics import MetricsLog
from textgen.training.position import Position
from textgen.training.progress import Reporter, Speedometer, describe_loss
from textgen.training.safety import MOST_ROLLBACKS, trouble
from textgen.training.schedule import Budget, learning_rate_factor
from textgen.training.validation import Validation, spread

RECORDS = 200  # lines of training loss in metrics.jsonl over the whole budget
BAR_SECONDS = 0.5  # between two looks at the figures: each look waits for the device
CHECKPOINT_SECONDS = 60.0  # at most so much work is lost to a crash


class Trainer:
    """Trains one model on one stream of batches into one run directory.

    All it needs is handed in; `training.py` puts it together.
    """

    def __init__(
        self,
        *,
        run: Run,
        model: LanguageModel,
        tokenizer: Tokenizer,
        batches: StreamBatches,
        val_token_ids: np.ndarray,
        start_row: int | None,
        budget: Budget,
        reporter: Reporter,
    ) -> None:
        self.run = run
        self.config: TrainingConfig = run.config.training
        self.model = model
        self.batches = batches
        self.budget = budget
        self.reporter = reporter
        self.learner = Learner(model, self.config)
        assert self.config.eval_tokens is not None  # resolved
        self.validation = Validation(
            model,
            tokenizer,
            val_token_ids,
            start_row=start_row,
            stretches=spread(len(val_token_ids), self.config.eval_tokens, self.config.batch_size),
        )
        self.position = Position()
        self.best_weights: dict[str, np.ndarray] = {}
        self.metrics = MetricsLog(run.metrics_path)
        self._start_clocks()
        # What to go back to before the first evaluation. It needs no disk: a resumed run draws it again.
        self._first: Checkpoint | None = self._checkpoint().copied()

    # -- the loop ------------------------------------------------------------

    def train(self, stop: StopRequest) -> None:
        """Train until the budget is spent, validation stops improving, or a signal asks to stop.

        Raises Interrupted after saving when `stop` was set, TrainingError when the loss is no longer a number
        or memory runs out.
        """
        self._start_clocks()
        self.metrics.start()
        self.model.train()
        stop.deferred = True
        try:
            self._loop(stop)
        finally:
            self.reporter.close()

    def _start_clocks(self) -> None:
        self._started = self._checkpointed = self._bar_time = time.monotonic()
        self._speed, self._bar_speed = Speedometer(), Speedometer()

    def _loop(self, stop: StopRequest) -> None:
        if self.position.best_loss is None and self.position.step == 0 and self.run.config.from_run:
            self._evaluate(0.0)  # the weights that it starts from may stay the best
        while not self.position.finished:
            self.advance()
            progress = self.progress()
            if self._passed("evaluations", self.config.evaluations, progress):
                if self._evaluate(progress):
                    self.position.candidate_step = self.position.step
                    self.save()
            elif time.monotonic() - self._checkpointed > CHECKPOINT_SECONDS:
                self.save()
            if stop.signal_number is not None and not self.position.finished:
                self.save()
                raise Interrupted(
                    f"stopped at step {self.position.step:,} and saved. "
                    f"Go on with: textgen train --resume {self.run.path}",
                    stop.signal_number,
                )

    def advance(self) -> None:
        """Take one step and tell of it what is due; evaluations and saving are not in it.

        Raises TrainingError when the loss is no longer a number.
        """
        batch = next(self.batches)
        loss, norm = self.learner.step(
            batch, learning_rate=self._learning_rate(batch), number=self.position.step + 1
        )
        self.position.step += 1
        self.position.tokens += batch.targets.size
        self._speed.count(batch.inputs.size)
        self._bar_speed.count(batch.inputs.size)
        progress = self.progress()
        if self._passed("records", RECORDS, progress):
            self._record_training(norm, self._speed.read())
        if self.reporter.shows_bars and time.monotonic() - self._bar_time > BAR_SECONDS:
            self._bar_time = time.monotonic()
            self.reporter.training(
                progress, f"loss {self._describe(loss.item())}, {self._bar_speed.read():,.0f} tokens/s"
            )

    def progress(self) -> float:
        """The share of the budget that is used."""
        return self.budget.progress(self.position.step, self.position.tokens, self.seconds())

    def seconds(self) -> float:
        """Wall-clock seconds used by this run, those of earlier processes included."""
        return self.position.seconds + time.monotonic() - self._started

    def _learning_rate(self, batch: Batch) -> float:
        """The rate of the step on this batch."""
        factor = learning_rate_factor(
            self.progress(),
            warmup_fraction=self.config.warmup_fraction,
            final_fraction=self.config.final_lr_fraction,
        )
        peak = self.config.learning_rate * 0.5**self.position.halvings
        if self.config.vary_seq_len:
            # A window weighs as much as its tokens, or those of short ones would count for more.
            peak *= batch.inputs.shape[1] / self.config.seq_len
        return peak * factor

    def _passed(self, what: str, times: int, progress: float) -> bool:
        """Whether progress has passed the next of `times` marks spread evenly over the budget."""
        marks = min(int(progress * times), times)
        passed = marks > int(getattr(self.position, what))
        setattr(self.position, what, marks)
        return passed

    # -- figures ------------------------------------------------------------

    def _record_training(self, norm: Tensor, tokens_per_second: float) -> None:
        """Tell of the loss since the line before, or go back when it shows that training failed."""
        if self._rolled_back():
            return
        mean_loss = self.learner.nats_per_token
        self.record(
            "train",
            nats_per_token=mean_loss,
            gradient_norm=float(norm),
            learning_rate=self.learner.optimizer.param_groups[0]["lr"],
            tokens_per_second=round(tokens_per_second),
        )
        lowest = self.position.lowest_loss
        self.position.lowest_loss = mean_loss if lowest is None else min(lowest, mean_loss)
        self._trust_candidate()
        self.learner.forget_loss()

    def _rolled_back(self) -> bool:
        """Judge the steps since the last line of training loss, if any; go back when they failed.

        Raises TrainingError when going back has not helped.
        """
        if self.learner.loss_count == 0:
            return False
        mean_loss = self.learner.nats_per_token
        reason = trouble(
            mean_loss,
            tokens=self.learner.loss_count,
            lowest=self.position.lowest_loss,
            num_rows=self.model.config.vocab_size,
            failed_steps=self.learner.failed_steps,
        )
        if reason is not None:
            self._roll_back(reason, mean_loss)
        return reason is not None

    def _trust_candidate(self) -> None:
        """Make the last evaluation's checkpoint what training goes back to, for the steps after it went well.

        Not before: the loss of a step is that of the weights before it, so a last step that ruined them shows
        in the next one only; a bad validation loss may as well be of text learnt by heart.
        """
        position = self.position
        if position.candidate_step is None:
            return
        position.good_step, position.candidate_step = position.candidate_step, None
        position.rollbacks_in_a_row = 0
        self._first = None

    def _roll_back(self, reason: str, mean_loss: float) -> None:
        """Go on from the last evaluation, or the first weights, with a lower learning rate.

        The same windows come again: if it was the text that was too steep for the rate, it must be met at a
        lower one some time. Seconds stay spent; steps and tokens are taken back, at most MOST_ROLLBACKS times
        between two evaluations. All of it follows from the steps alone, so a run that is killed on the way
        fails and goes back at the same places.

        Raises TrainingError after too many in a row.
        """
        failed = dataclasses.replace(self.position)
        if failed.rollbacks_in_a_row == MOST_ROLLBACKS:
            self._give_up(reason)
        in_a_row = failed.rollbacks_in_a_row + 1
        times = failed.halvings + in_a_row
        target = failed.good_step or 0
        self.record(
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
            checkpoint = load_checkpoint(checkpoint_path(self.run.training_directory, failed.good_step))
        metrics_size = self.metrics.size
        self._go_to(checkpoint)
        self.metrics.size = metrics_size
        self._keep_of(failed)
        self.position.halvings, self.position.rollbacks_in_a_row = times, in_a_row
        remove_others(self.run.training_directory, keep={failed.good_step})
        self.reporter.line(
            f"Step {failed.step:,}: {reason}. Going back to step {target:,}, the learning rate "
            f"{2**in_a_row} times lower ({self.config.learning_rate * 0.5**times:.3g})."
        )

    def _keep_of(self, failed: Position) -> None:
        """After going back, what stays of the position that failed."""
        position = self.position
        position.good_step, position.candidate_step = failed.good_step, None
        position.seconds = failed.seconds
        # What validated best stays so, whatever came after it; the lower rate gets a patience of its own.
        position.best_loss, position.best_step = failed.best_loss, failed.best_step
        position.stale_evaluations = 0
        # For a budget in minutes the progress stays: one step alone is not the next line, nor evaluated, but
        # for the last evaluation, which ends the run.
        progress = min(self.progress(), 1)
        position.records = max(position.records, int(progress * RECORDS))
        marks = min(int(progress * self.config.evaluations), self.config.evaluations - 1)
        position.evaluations = max(position.evaluations, marks)

    def _give_up(self, reason: str) -> NoReturn:
        step = self.position.step
        kept = (
            f" The best weights, of step {self.position.best_step:,}, are kept." if self.best_weights else ""
        )
        raise TrainingError(
            f"{self.run.path}: at step {step:,} {reason}, and a lower learning rate, {MOST_ROLLBACKS} times, "
            f"did not help.{kept} "
            f"Start again with a lower --learning-rate than {self.config.learning_rate:g}."
        )

    def record(self, kind: str, **figures: Any) -> None:
        """Append a line to metrics.jsonl: where training is, the figures, and the time."""
        epoch = self.position.tokens / self.run.config.measured["train_tokens"]
        self.metrics.append(
            kind, step=self.position.step, epoch=epoch, **figures, seconds=round(self.seconds(), 3)
        )

    def _describe(self, nats_per_token: float) -> str:
        return describe_loss(nats_per_token, self.run.config.measured["characters_per_token"])

    def validate(self) -> Loss:
        """The loss of the weights that would be kept now, on as much text as one evaluation may read."""
        with self.learner.judged_weights():
            return self.validation.loss()

    def _evaluate(self, progress: float) -> bool:
        """Validate, keep the weights if they are the best so far, show a line of figures and a sample.

        False, and none of that, when training had failed and went back.
        """
        if self._rolled_back():
            return False
        loss = self.validate()
        if not math.isfinite(loss.nats_per_token):
            # Judged for being a number only: text learnt by heart raises it without end.
            self._roll_back("the validation loss was no longer a number", loss.nats_per_token)
            return False
        with self.learner.judged_weights():
            position = self.position
            improved = position.best_loss is None or loss.nats_per_token < position.best_loss
            if improved:
                position.best_loss, position.best_step = loss.nats_per_token, position.step
                position.stale_evaluations = 0
                self.best_weights = self.model.weights()
            else:
                position.stale_evaluations += 1
            self.record("val", nats_per_token=loss.nats_per_token, tokens=loss.tokens, best=improved)
            stopping = self.config.early_stopping and position.stale_evaluations >= self.config.patience
            position.finished = progress >= 1 or stopping
            self._show_evaluation(loss.nats_per_token, improved)
        if stopping and progress < 1:
            self.reporter.line(
                f"Stopping early: validation has not improved since step {position.best_step:,} "
                "(--no-early-stopping goes on)."
            )
        return True

    def _show_evaluation(self, nats_per_token: float, improved: bool) -> None:
        percent = min(100, round(100 * self.progress()))
        self.reporter.line(
            f"{percent:3d}%  step {self.position.step:,}  {self.seconds():.0f} s  "
            f"validation {self._describe(nats_per_token)}{'  (best)' if improved else ''}"
        )
        self.reporter.line(f"      {self.validation.sample(self.config.seed)}")

    # -- saving and going on ------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint, then the best weights, then remove the older checkpoints but what may be gone
        back to.
        """
        self.metrics.flush()
        save_checkpoint(self.run.training_directory, self._checkpoint())
        self._replace_best()
        position = self.position
        # A run that is finished goes back to nothing.
        may_return = () if position.finished else (position.good_step, position.candidate_step)
        remove_others(self.run.training_directory, keep={position.step, *may_return})
        self._checkpointed = time.monotonic()

    def _checkpoint(self) -> Checkpoint:
        """All that training is now; the tensors are those in use, not copies."""
        progress = vars(self.position) | {
            "seconds": self.seconds(),
            "loss_count": self.learner.loss_count,
            "place": self.batches.place,
            "metrics_size": self.metrics.size,
        }
        return Checkpoint(
            progress=progress,
            weights=self.learner.weights(),
            optimizer=self.learner.optimizer_tensors(),
            carried=self.learner.carried(),
            best=self.best_weights,
        )

    def restore(self) -> bool:
        """Go back to the newest checkpoint; False when there is none and training starts at the beginning."""
        path = newest_checkpoint(self.run.training_directory)
        if path is None:
            return False
        checkpoint = load_checkpoint(path)
        self._go_to(checkpoint)
        self.best_weights = checkpoint.best
        good = self.position.good_step
        if good is not None:
            self._first = None
            if not checkpoint_path(self.run.training_directory, good).exists():
                # Gone back to this one, and killed before the next was written: the good one before it went.
                self.position.good_step = self.position.step
        self._replace_best()
        return True

    def _go_to(self, checkpoint: Checkpoint) -> None:
        """Be what training was at a checkpoint, but for the best weights."""
        progress = dict(checkpoint.progress)
        self.batches.restore(progress.pop("place"))
        loss_count = progress.pop("loss_count")
        self.metrics.size = progress.pop("metrics_size")
        self.position = Position(**progress)
        self.learner.load(
            weights=checkpoint.weights,
            optimizer=checkpoint.optimizer,
            carried=checkpoint.carried,
            loss_count=loss_count,
        )

    def _replace_best(self) -> None:
        if self.best_weights:
            save_weights(self.run.path / WEIGHTS, self.best_weights)


def training_model(model: LanguageModel, config: TrainingConfig) -> LanguageModel:
    """The model on the device and in the arithmetic of a training config."""
    model.compute_dtype = torch_dtype(config.precision)
    return model.to(config.device)
