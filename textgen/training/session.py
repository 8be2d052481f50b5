"""A run in training, new or resumed: its parts are put together here, and it is trained to the end.

run directory, store, tokenizer, model  ->  batches, budget  ->  Trainer  ->  final evaluation, samples
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textgen.distributed.world import World
from textgen.errors import CorpusError, LostProcessError, RunError
from textgen.evaluation.evaluate import MAX_SEGMENTS, evaluate_run
from textgen.evaluation.report import Report
from textgen.generation.generator import Generator
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.settings.config import TrainingConfig
from textgen.system.interrupts import StopRequest
from textgen.system.locks import folder_lock
from textgen.system.memory import memory_errors
from textgen.system.progress import Reporter
from textgen.text.batches import Rows, SequenceBatches
from textgen.text.cache import record_use
from textgen.text.model_vocab import start_id
from textgen.text.shuffle import BLOCK_TOKENS, DocumentOrder, TokenSource
from textgen.text.store import TokenStore
from textgen.text.stored_tokens import TokenArray
from textgen.text.tokenizer import Tokenizer
from textgen.training.finished import draw_picture
from textgen.training.leftovers import remove_leftovers
from textgen.training.ngrams import Built, build_companion
from textgen.training.samples import next_commands, samples
from textgen.training.schedule import Budget, describe_passes
from textgen.training.setup import use_all_threads
from textgen.training.trainer import Trainer

FINAL_SAMPLES, FINAL_SAMPLE_TOKENS = 3, 400
# The command ends at most this much after its budget: the final evaluation leaves the rest unread.
LATE_FRACTION, LATE_SECONDS = 0.1, 10.0
MIN_EVALUATION_SECONDS = 3.0
AFTER_EVALUATION_SECONDS = 3.0  # for a sample and a plot


@dataclasses.dataclass(frozen=True)
class Session:
    """A run with everything that is needed to complete it, from the first step or the newest checkpoint.

    started: when work on it began, by time.monotonic; the text may have been encoded since. path: the run's
    directory, which is another than run.path in processes of a higher rank than 0.
    """

    run: Run
    store: TokenStore
    trainer: Trainer
    reporter: Reporter
    is_resumed: bool
    started: float
    path: Path

    def complete(self, stop: StopRequest) -> dict[str, Any]:
        """Train to the end, then evaluate the best weights on the validation text; returns the result.

        The result is empty in processes of a higher rank than 0, which end when the last step is taken.

        Raises Interrupted when asked to stop, after saving; TrainingError; LostProcessError.
        """
        if self.store.remote is None:
            return self._complete(stop)
        if self.trainer.world.size == 1:  # of several, all stop when the last has its batch
            self.store.remote.shards.should_stop = lambda: stop.signal_number is not None
        try:
            return self._complete(stop)
        except CorpusError as error:
            stop.end_deferral()
            raise CorpusError(
                f"{error}. Training can go on from step {self.trainer.state.saved_step:,} with: "
                f"textgen train --resume {self.path} --fetch"
            ) from error

    def _complete(self, stop: StopRequest) -> dict[str, Any]:
        world = self.trainer.world
        stop.hint = f"Resume with: textgen train --resume {self.run.path}"
        with memory_errors(), folder_lock(self.run.training_directory) as acquired:
            if not acquired:
                raise RunError(f"{self.run.path}: another process is training it")
            if self.is_resumed:
                remove_leftovers(self.run.path)
                self._restore()
            seconds_before = self.trainer.state.seconds()
            self._train(stop)
            if not world.is_first:
                return {}
            stop.end_deferral()  # all is saved: a signal may end the process at once from here on
            report = self._evaluate(seconds_before)
            seconds = self.trainer.state.seconds()
            figures: dict[str, Any] = {} if report is None else report.as_dict()
            # Before the run counts as complete, so that one that is killed here is resumed here.
            built = None if report is None else self._build_companion()
            if built is not None:
                figures["ngram"] = built.as_dict()
            self.trainer.state.record("final", seconds, **figures)
            draw_picture(self.run)
        if report is not None:
            self.reporter.line(self._evaluation(report, is_of_network_alone=built is not None))
        if built is not None:
            self.reporter.line(built.line(self.run.path))
        position = self.trainer.position
        kept = f"best weights, of step {position.best_step:,}," if report is not None else "last weights"
        self.reporter.line(
            f"Trained for {position.step:,} steps in {seconds:.0f} s, {describe_passes(self._epochs)}. "
            f"The {kept} were kept.{self._advice()}"
        )
        self._show_samples()
        return {"run": str(self.run.path), "steps": position.step, "best_step": position.best_step,
                "seconds": round(seconds, 1)} | figures  # fmt: skip

    def _train(self, stop: StopRequest) -> None:
        try:
            self.trainer.train(stop)
        except LostProcessError as error:
            raise LostProcessError(
                f"{self.path}: another process of this training was lost, at step "
                f"{self.trainer.position.step:,}. Resume with: textgen train --resume {self.path}"
            ) from error
        self.trainer.world.leave()
        use_all_threads(self.run.config.training)

    def _evaluate(self, seconds_before: float) -> Report | None:
        """The loss of the best weights on the validation text, as far as time allows; None without one.

        seconds_before: those that earlier processes trained this run.
        """
        if "val" not in self.store.parts:
            return None
        training = self.run.config.training
        should_stop: Callable[[], bool] | None = None
        if training.minutes is not None:
            budget = training.minutes * 60
            end = self.started + budget - seconds_before + LATE_FRACTION * budget + LATE_SECONDS
            deadline = max(end - AFTER_EVALUATION_SECONDS, time.monotonic() + MIN_EVALUATION_SECONDS)

            def should_stop() -> bool:
                return time.monotonic() > deadline

        return evaluate_run(
            self.run,
            self.store,
            "val",
            device=training.device,
            progress=self.reporter.work,
            should_stop=should_stop,
        )

    def _build_companion(self) -> Built | None:
        """Build the n-gram companion, outside the budget of time; None where the run is to have none."""
        training = self.run.config.training
        if not training.ngram:
            return None
        if not self.store.is_here("train"):
            self.reporter.line(
                "n-grams: not counted, as all of the training text would have to be fetched: "
                f"textgen ngram {self.run.path} --fetch does that."
            )
            return None
        return build_companion(
            self.run,
            self.store,
            device=training.device,
            minutes=training.minutes,
            progress=self.reporter.work,
        )

    def _evaluation(self, report: Report, *, is_of_network_alone: bool) -> str:
        """The result on the validation text in a line, and what was left unread.

        is_of_network_alone: whether there are n-grams too, so that the line says what it is of.
        """
        tokens, unread = report.loss.tokens, report.unread_tokens
        read = f"all {tokens:,} tokens" if not unread else f"{tokens:,} of {tokens + unread:,} tokens"
        alone = ", network alone" if is_of_network_alone else ""
        rest = f". For lack of time the rest was left unread: textgen eval {self.run.path}" if unread else ""
        return (
            f"Validation, {read}{alone}: {report.loss.nats_per_token:.4f} nats/token, "
            f"{report.bits_per_character:.4f} bits/character, {report.bits_per_byte:.4f} bits/byte, "
            f"perplexity {report.perplexity_per_token:.2f} per token{rest}"
        )

    def _restore(self) -> None:
        """Restore the newest checkpoint, if there is one; no other process may be training the run."""
        found = self.trainer.restore()
        self.reporter.line(
            f"Resuming {self.run.path} at step {self.trainer.position.step:,}."
            if found
            else f"Restarting {self.run.path}: no checkpoint was saved yet."
        )

    @property
    def _epochs(self) -> float:
        """How many times the training text was read."""
        return float(self.trainer.position.tokens / self.run.measured("train_tokens"))

    def _advice(self) -> str:
        """A hint if only the clock ended training, well before the epochs that would help; else nothing."""
        training, position = self.run.config.training, self.trainer.position
        has_stalled = training.early_stopping and position.stale_evaluations >= training.patience
        if training.minutes is None or training.epochs is None or has_stalled:
            return ""
        if self._epochs >= 0.9 * training.epochs:
            return ""
        return f" More --minutes would help: up to {training.epochs} times through the text."

    def _show_samples(self) -> None:
        """Print texts written with the best weights, where the run is, and the commands to go on with."""
        if self.reporter.is_silent:
            return
        documents = self.run.config.data.documents
        # Not the seed of the samples during training: the last of those may be of the same weights.
        seed = self.run.config.training.seed + 1
        shown = samples(
            Generator.from_run(self.run),
            documents,
            num_samples=FINAL_SAMPLES,
            max_new_tokens=FINAL_SAMPLE_TOKENS,
            seed=seed,
        )
        self.reporter.line("\nSamples:")
        for lines in shown:
            self.reporter.line()
            for line in lines:
                self.reporter.line(f"    {line}".rstrip())
        self.reporter.line(f"\nSaved in {self.run.path}. Go on with:\n")
        for command in next_commands(self.run.path, documents, shown, validated="val" in self.store.parts):
            self.reporter.line(f"    {command}")


def prepare_reading(store: TokenStore, training: TrainingConfig) -> None:
    """Fetch what training reads first, where the text is remote: validation, as soon as it is needed.

    Raises ConfigError where the shards that are read at the same time do not fit in the cache.
    """
    if store.remote is None:
        return
    batch_size = training.batch_size
    # The documents of a block are read in any order, and small shards are smaller than a block.
    tokens_per_shard = len(store.tokens("train")) // len(store.manifest.parts["train"].tokens)
    per_sequence = 1 + (BLOCK_TOKENS // max(tokens_per_shard, 1) if training.shuffle else 0)
    # Validation during training reads batch_size segments, and the one at the end may read more.
    places = {"val": max(batch_size, MAX_SEGMENTS), "train": batch_size * per_sequence}
    store.read_at(places, f"training reads the text at batch_size={batch_size} places at the same time")
    if "val" in store.parts:
        store.expect("val")


def assemble(
    run: Run,
    store: TokenStore,
    tokenizer: Tokenizer,
    model: LanguageModel,
    reporter: Reporter,
    *,
    is_resumed: bool,
    started: float,
    world: World | None = None,
) -> Session:
    """Build batches, budget and trainer of a run, new or resumed; started: as in Session.

    world: the processes that train it; None: this one alone.
    """
    world = world or World()
    training = run.config.training
    world.use_device(training.device)
    if world.is_first:
        record_use(store.path, run.config.data.corpus, run.path)
    validates = "val" in store.parts
    tokens: TokenArray | TokenSource = store.tokens("train")
    if training.shuffle or store.labels("train") is not None:
        tokens = DocumentOrder(
            store.tokens("train"),
            tokenizer.end_of_text_id,
            training.seed,
            labels=store.labels("train"),
            shuffle=training.shuffle,
            blocks=store.blocks("train"),
        )
    batches = SequenceBatches(
        tokens,
        model.vocab,
        batch_size=training.batch_size,
        seq_len=training.seq_len,
        seed=training.seed,
        vary_seq_len=training.vary_seq_len,
        part=world.share(Rows.whole(training.batch_size)),
    )
    trainer = Trainer(
        run=run,
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        val_token_ids=store.tokens("val") if validates else None,
        start_id=start_id(model.vocab, tokenizer),
        val_labels=store.document_labels("val", tokenizer.end_of_text_id) if validates else None,
        val_characters=store.size("val").characters if validates else None,
        budget=_budget(training, batches),
        reporter=reporter,
        world=world,
    )
    return Session(run, store, trainer, reporter, is_resumed, started, run.path)


def _budget(training: TrainingConfig, batches: SequenceBatches) -> Budget:
    return Budget(
        steps=training.steps,
        # Epochs may differ by one window, depending on where each wraps around, but never in tokens.
        tokens=None if training.epochs is None else training.epochs * batches.tokens_per_epoch,
        seconds=None if training.minutes is None else training.minutes * 60,
    )
