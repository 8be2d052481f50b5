"""The training loop: one step per batch, and records, evaluations and checkpoints when they are due.

    batch  ->  TrainStep  ->  records, evaluations, checkpoints
       ^                         |
       '--- good checkpoint <----'   when training diverged (rollback.py)

The learning rate, and when records and evaluations are due, depend only on the progress through the budget.
So a run with a budget in steps or epochs repeats exactly, even if it is killed and resumed.

Several processes (distributed/world.py) run this loop together, each on its sequences of every batch. What
they decide by is the same in all: the loss and the gradient norm are those of the whole batch, and the clock
is that of rank 0, which is read once a step.
"""

from __future__ import annotations

import math
import time

from torch import Tensor

from textgen.distributed.world import World
from textgen.errors import CorpusError, Interrupted
from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.report import describe_loss
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.settings.config import TrainingConfig
from textgen.system.device import torch_dtype
from textgen.system.interrupts import StopRequest
from textgen.system.progress import Reporter, Speedometer
from textgen.text.batches import Batch, SequenceBatches
from textgen.text.document_labels import DocumentLabels
from textgen.text.stored_tokens import TokenArray
from textgen.text.tokenizer import Tokenizer
from textgen.training.position import Position
from textgen.training.rollback import Rollback
from textgen.training.schedule import Budget, learning_rate_factor
from textgen.training.state import TrainingState
from textgen.training.step import TrainStep, step_seed
from textgen.training.validation import Validation, spread_segments

RECORDS = 200  # records of training loss in metrics.jsonl over the whole budget
BAR_SECONDS = 0.5  # between two updates of the bar: reading the loss waits for the device
CHECKPOINT_SECONDS = 60.0  # the most work that a crash may lose


class Trainer:
    """Trains one model on batches, and writes to one run directory.

    val_token_ids (N,) is the validation text, val_characters its length before tokenization, val_labels those
    of its documents; None: there is no such text, and the last weights are kept. start_id is the model id
    that a text without a prompt starts after; None: no such token was seen in training.
    """

    def __init__(
        self,
        *,
        run: Run,
        model: LanguageModel,
        tokenizer: Tokenizer,
        batches: SequenceBatches,
        val_token_ids: TokenArray | None,
        val_characters: int | None,
        val_labels: DocumentLabels | None = None,
        start_id: int | None,
        budget: Budget,
        reporter: Reporter,
        world: World | None = None,
    ) -> None:
        self.run = run
        self.config: TrainingConfig = run.config.training
        self.model = model
        self.batches = batches
        self.reporter = reporter
        self.world = world or World()
        self.train_step = TrainStep(model, self.config, self.world)
        self.state = TrainingState(run, self.train_step, batches, budget)
        segments = None
        if val_token_ids is not None:
            assert self.config.eval_tokens is not None
            assert val_characters is not None
            segments = spread_segments(len(val_token_ids), self.config.eval_tokens, self.config.batch_size)
            self._characters_per_val_token = val_characters / len(val_token_ids)
        self.validation = Validation(
            model,
            tokenizer,
            val_token_ids,
            start_id=start_id,
            segments=segments,
            documents=run.config.data.documents,
            labels=val_labels,
            world=self.world,
        )
        self.rollback = Rollback(self.state, reporter, records=RECORDS, evaluations=self.config.evaluations)
        self._start_clocks()

    @property
    def position(self) -> Position:
        """How far the run has trained."""
        return self.state.position

    def restore(self) -> bool:
        """Restore the newest checkpoint; returns False if there is none, and training starts at step 0.

        Raises RunError for a checkpoint that is damaged.
        """
        found = self.state.restore()
        self.rollback.resume()
        return found

    # -- the loop ------------------------------------------------------------

    def train(self, stop: StopRequest) -> None:
        """Train until the budget is spent, validation stops improving, or a stop is requested.

        Raises Interrupted after a requested stop, with everything saved; CorpusError for text that cannot be
        read any more, saved up to there; TrainingError when training diverges again and again.
        """
        self._start_clocks()
        if self.world.is_first:
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
            self._evaluate(0.0)  # the weights of --from may stay the best
        while not self.position.finished:
            try:
                self.advance()
            except CorpusError:  # no batch could be read, and nothing of the step was done
                if self.position.step and self.world.size == 1:  # each of several has a part of the state
                    self.state.save()
                    self._end_if_asked(stop.signal_number)
                raise
            signal_number = self.state.read_clock(stop.signal_number)
            with self._speed.stopped(), self._bar_speed.stopped():
                self._evaluate_and_save()
            if signal_number is not None and not self.position.finished:
                self.state.save()
                self._end_if_asked(signal_number)

    def _end_if_asked(self, signal_number: int | None) -> None:
        """Raise Interrupted if a signal has asked to stop; all is saved."""
        if signal_number is not None:
            self.state.save_weights_to_sample_from()
            raise Interrupted(
                f"stopped at step {self.position.step:,} and saved. "
                f"Resume with: textgen train --resume {self.run.path}",
                signal_number,
            )

    def _evaluate_and_save(self) -> None:
        """Evaluate and save a checkpoint, if they are due."""
        progress = self.state.progress()
        if self._passed("evaluations", self.config.evaluations, progress):
            if self._evaluate(progress):
                self.rollback.propose()
                self.state.save()
        elif self.state.seconds_since_save() > CHECKPOINT_SECONDS:
            self.state.save()

    def advance(self) -> None:
        """Take one training step, and record and show the training loss if it is due.

        Does not evaluate or save. Raises TrainingError when training diverges again and again.
        """
        batch = next(self.batches)
        loss, norm = self.train_step(
            batch,
            learning_rate=self._learning_rate(batch),
            step=self.position.step + 1,
            seed=step_seed(self.config.seed, self.position.rollbacks, self.position.step + 1),
        )
        if self.position.step == 0 and math.isfinite(first := loss.item()):
            self.position.first_loss = first
        self.position.step += 1
        self.position.tokens += batch.total_tokens
        self._speed.count(batch.total_tokens)
        self._bar_speed.count(batch.total_tokens)
        progress = self.state.progress()
        if self._passed("records", RECORDS, progress):
            self._record_training(norm, self._speed.read())
        if self.reporter.shows_bars and time.monotonic() - self._bar_time > BAR_SECONDS:
            self._bar_time = time.monotonic()
            figures = describe_loss(loss.item(), self.run.measured("characters_per_token"))
            self.reporter.training(progress, f"loss {figures}, {self._bar_speed.read():,.0f} tokens/s")

    def _learning_rate(self, batch: Batch) -> float:
        """The learning rate for the step on this batch."""
        factor = learning_rate_factor(
            self.state.progress(),
            warmup_fraction=self.config.warmup_fraction,
            final_fraction=self.config.final_lr_fraction,
        )
        peak = self.config.learning_rate * 0.5**self.position.halvings
        if self.config.vary_seq_len:
            # In proportion to the length, so that a token of a short window counts no more than others.
            peak *= batch.inputs.shape[1] / self.config.seq_len
        return peak * factor

    def _passed(self, what: str, times: int, progress: float) -> bool:
        """Whether progress has passed another of `times` marks, spread evenly over the budget.

        `what` names the field of the position that counts the marks passed.
        """
        marks = min(int(progress * times), times)
        passed = marks > int(getattr(self.position, what))
        setattr(self.position, what, marks)
        return passed

    # -- records and evaluations ------------------------------------------------------------

    def _record_training(self, norm: Tensor, tokens_per_second: float) -> None:
        """Record the mean loss since the last record, or go back if training diverged."""
        if self.rollback.check():
            return
        mean_loss = self.train_step.nats_per_token
        self.state.record(
            "train",
            nats_per_token=mean_loss,
            gradient_norm=float(norm),
            learning_rate=self.train_step.optimizer.param_groups[0]["lr"],
            tokens_per_second=round(tokens_per_second),
        )
        self.rollback.accept()
        self.train_step.reset_loss()

    def validate(self) -> Loss | None:
        """The loss of the weights to be evaluated and kept, on the validation text of one evaluation.

        None without a validation text.
        """
        with self.train_step.eval_weights():
            return self.validation.loss()

    def _evaluate(self, progress: float) -> bool:
        """Validate, keep the weights if they are the best so far, and show the loss and a sample.

        Without a validation text, the weights are kept. Returns False, and does none of that, if training
        diverged and went back.
        """
        if self.rollback.check(final=progress >= 1):
            return False
        loss = self.validate()
        if loss is None:
            self._keep_last(progress)
            return True
        if not math.isfinite(loss.nats_per_token):
            # A high validation loss is no divergence: overfitting raises it without limit.
            self.rollback.roll_back("the validation loss was no longer a number", loss.nats_per_token)
            return False
        with self.train_step.eval_weights():
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
                "(--no-early-stopping turns this off)."
            )
        return True

    def _keep_last(self, progress: float) -> None:
        """Take the current weights as the best, where nothing says which are; show a sample."""
        with self.train_step.eval_weights():
            self.position.best_step = self.position.step
            self.state.best_weights = self.model.weights()
            self.position.finished = progress >= 1
            self._show("not validated")

    def _show_evaluation(self, nats_per_token: float, improved: bool) -> None:
        figures = describe_loss(nats_per_token, self._characters_per_val_token)
        self._show(f"validation {figures}{'  (best)' if improved else ''}")

    def _show(self, what: str) -> None:
        """Print progress, a phrase about the current weights, and a sample of them."""
        if self.reporter.is_silent:
            return
        percent = min(100, round(100 * self.state.progress()))
        self.reporter.line(
            f"{percent:3d}%  step {self.position.step:,}  {self.state.seconds():.0f} s  {what}"
        )
        for line in self.validation.sample(self.config.seed):
            self.reporter.line(f"      {line}".rstrip())


def training_model(model: LanguageModel, config: TrainingConfig) -> LanguageModel:
    """The model on the device and in the precision of a training config."""
    model.compute_dtype = torch_dtype(config.precision)
    return model.to(config.device)
