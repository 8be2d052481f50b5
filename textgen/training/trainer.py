"""The loop: batches become a trained run.

    batch  ->  TrainStep: a step  ->  figures, evaluations, checkpoints, all at their time
       ^                                 |
       '---- last good checkpoint <------'   when training failed (rollback.py)

All that happens at a certain time (the learning rate, figures, evaluations) is a function of the progress
through the budget, so a run with a budget in steps repeats exactly, also when it was killed and resumed
between.
"""

from __future__ import annotations

import math
import time

import numpy as np
from torch import Tensor

from textgen.errors import Interrupted
from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.report import describe_loss
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.settings.config import TrainingConfig
from textgen.system.device import torch_dtype
from textgen.system.interrupts import StopRequest
from textgen.system.progress import Reporter, Speedometer
from textgen.text.batches import Batch, StreamBatches
from textgen.text.tokenizer import Tokenizer
from textgen.training.position import Position
from textgen.training.rollback import Recovery
from textgen.training.schedule import Budget, learning_rate_factor
from textgen.training.state import TrainingState
from textgen.training.step import TrainStep
from textgen.training.validation import Validation, spread

RECORDS = 200  # lines of training loss in metrics.jsonl over the whole budget
BAR_SECONDS = 0.5  # between two looks at the figures: each look waits for the device
CHECKPOINT_SECONDS = 60.0  # at most so much work is lost to a crash


class Trainer:
    """Trains one model on one stream of batches into one run directory.

    All it needs is handed in; `session.py` puts it together.
    """

    def __init__(
        self,
        *,
        run: Run,
        model: LanguageModel,
        tokenizer: Tokenizer,
        batches: StreamBatches,
        val_token_ids: np.ndarray,
        val_characters: int,
        start_id: int | None,
        budget: Budget,
        reporter: Reporter,
    ) -> None:
        self.run = run
        self.config: TrainingConfig = run.config.training
        self.model = model
        self.batches = batches
        self.reporter = reporter
        self.learner = TrainStep(model, self.config)
        self.state = TrainingState(run, self.learner, batches, budget)
        assert self.config.eval_tokens is not None  # resolved
        self.validation = Validation(
            model,
            tokenizer,
            val_token_ids,
            start_id=start_id,
            segments=spread(len(val_token_ids), self.config.eval_tokens, self.config.batch_size),
        )
        self._characters_per_val_token = val_characters / len(val_token_ids)
        self.recovery = Recovery(self.state, reporter, records=RECORDS, evaluations=self.config.evaluations)
        self._start_clocks()

    @property
    def position(self) -> Position:
        """How far training is."""
        return self.state.position

    def restore(self) -> bool:
        """Go back to the newest checkpoint; False when there is none and training starts at the beginning."""
        found = self.state.restore()
        self.recovery.resume()
        return found

    # -- the loop ------------------------------------------------------------

    def train(self, stop: StopRequest) -> None:
        """Train until the budget is spent, validation stops improving, or a signal asks to stop.

        Raises Interrupted after saving when `stop` was set, TrainingError when the loss is no longer a number
        or memory runs out.
        """
        self._start_clocks()
        self.state.metrics.start()
        self.model.train()
        stop.deferred = True
        try:
            self._loop(stop)
        finally:
            self.reporter.close()

    def _start_clocks(self) -> None:
        self.state.start_clock()
        self._bar_time = time.monotonic()
        self._speed, self._bar_speed = Speedometer(), Speedometer()

    def _loop(self, stop: StopRequest) -> None:
        if self.position.best_loss is None and self.position.step == 0 and self.run.config.from_run:
            self._evaluate(0.0)  # the weights that it starts from may stay the best
        while not self.position.finished:
            self.advance()
            with self._speed.stopped(), self._bar_speed.stopped():
                self._look_and_save()
            if stop.signal_number is not None and not self.position.finished:
                self.state.save()
                self.state.keep_unjudged()
                raise Interrupted(
                    f"stopped at step {self.position.step:,} and saved. "
                    f"Go on with: textgen train --resume {self.run.path}",
                    stop.signal_number,
                )

    def _look_and_save(self) -> None:
        """Evaluate and save what is due."""
        progress = self.state.progress()
        if self._passed("evaluations", self.config.evaluations, progress):
            if self._evaluate(progress):
                self.position.candidate_step = self.position.step
                self.state.save()
        elif time.monotonic() - self.state.saved_at > CHECKPOINT_SECONDS:
            self.state.save()

    def advance(self) -> None:
        """Take one step and tell of it what is due; evaluations and saving are not in it.

        Raises TrainingError when the loss is no longer a number.
        """
        batch = next(self.batches)
        loss, norm = self.learner.step(
            batch, learning_rate=self._learning_rate(batch), number=self.position.step + 1
        )
        if self.position.step == 0 and math.isfinite(first := loss.item()):
            self.position.first_loss = first
        self.position.step += 1
        self.position.tokens += batch.targets.size
        self._speed.count(batch.inputs.size)
        self._bar_speed.count(batch.inputs.size)
        progress = self.state.progress()
        if self._passed("records", RECORDS, progress):
            self._record_training(norm, self._speed.read())
        if self.reporter.shows_bars and time.monotonic() - self._bar_time > BAR_SECONDS:
            self._bar_time = time.monotonic()
            figures = describe_loss(loss.item(), self.run.measured("characters_per_token"))
            self.reporter.training(progress, f"loss {figures}, {self._bar_speed.read():,.0f} tokens/s")

    def _learning_rate(self, batch: Batch) -> float:
        """The rate of the step on this batch."""
        factor = learning_rate_factor(
            self.state.progress(),
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
        if self.recovery.rolled_back():
            return
        mean_loss = self.learner.nats_per_token
        self.state.record(
            "train",
            nats_per_token=mean_loss,
            gradient_norm=float(norm),
            learning_rate=self.learner.optimizer.param_groups[0]["lr"],
            tokens_per_second=round(tokens_per_second),
        )
        lowest = self.position.lowest_loss
        self.position.lowest_loss = mean_loss if lowest is None else min(lowest, mean_loss)
        self.recovery.trust_candidate()
        self.learner.reset_loss()

    def validate(self) -> Loss:
        """The loss of the weights that would be kept now, on as much text as one evaluation may read."""
        with self.learner.eval_weights():
            return self.validation.loss()

    def _evaluate(self, progress: float) -> bool:
        """Validate, keep the weights if they are the best so far, show a line of figures and a sample.

        False, and none of that, when training had failed and went back.
        """
        if self.recovery.rolled_back():
            return False
        loss = self.validate()
        if not math.isfinite(loss.nats_per_token):
            # Judged for being a number only: text learnt by heart raises it without end.
            self.recovery.roll_back("the validation loss was no longer a number", loss.nats_per_token)
            return False
        with self.learner.eval_weights():
            position = self.position
            improved = position.best_loss is None or loss.nats_per_token < position.best_loss
            if improved:
                position.best_loss, position.best_step = loss.nats_per_token, position.step
                position.stale_evaluations = 0
                self.state.best_weights = self.model.weights()
            else:
                position.stale_evaluations += 1
            self.state.record("val", nats_per_token=loss.nats_per_token, tokens=loss.tokens, best=improved)
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
        percent = min(100, round(100 * self.state.progress()))
        self.reporter.line(
            f"{percent:3d}%  step {self.position.step:,}  {self.state.seconds():.0f} s  "
            f"validation {describe_loss(nats_per_token, self._characters_per_val_token)}"
            f"{'  (best)' if improved else ''}"
        )
        self.reporter.line(f"      {self.validation.sample(self.config.seed)}")


def training_model(model: LanguageModel, config: TrainingConfig) -> LanguageModel:
    """The model on the device and in the arithmetic of a training config."""
    model.compute_dtype = torch_dtype(config.precision)
    return model.to(config.device)
