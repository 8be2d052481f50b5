"""Everything that a trainer needs, put together: from options for a new run, from its directory for one to
resume.

    options -> corpus -> tokenizer -> store -> rows -> config -> run directory -> model -> Trainer

A new run's directory appears when everything is chosen and measured, with its complete config.json, just
before the first step. From then on nothing is chosen again: resuming reads config.json and takes the same
path.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from textgen.atomic import new_directory, only_one
from textgen.config import (
    TOKENIZER_KINDS,
    DataConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
    TrainOptions,
    unknown_name,
)
from textgen.device import memory_errors, resolve_device, set_up
from textgen.errors import ConfigError, RunError
from textgen.evaluation.report import evaluate_run
from textgen.models.language_model import LanguageModel
from textgen.plots import can_draw, draw_loss
from textgen.run import (
    CONFIG,
    FORMAT,
    STDIN,
    TOKENIZER,
    TRAINING,
    Run,
    config_json,
    describe,
    free_directory,
    load_weights,
    rows_of,
    save_weights,
)
from textgen.text.batches import StreamBatches
from textgen.text.beginning import start_row
from textgen.text.corpus import Corpus
from textgen.text.round_trip import measure_round_trip
from textgen.text.rows import Rows
from textgen.text.sources import standard_input
from textgen.text.store import TokenStore, default_cache_dir
from textgen.text.tokenizer import Tokenizer
from textgen.training.checkpoint import newest_checkpoint
from textgen.training.interrupt import StopRequest
from textgen.training.plan import (
    eval_tokens,
    fine_tuning_model,
    plan_data,
    plan_model,
    plan_training,
    same_network,
)
from textgen.training.progress import Reporter
from textgen.training.schedule import Budget
from textgen.training.trainer import Trainer, training_model
from textgen.version import VERSION

PROBE_SECONDS = 0.3
INITIAL = "initial.safetensors"  # in training/, of a run that started from another: its first weights


@dataclasses.dataclass(frozen=True)
class Training:
    """A run with all that it takes to complete it."""

    run: Run
    store: TokenStore
    trainer: Trainer
    reporter: Reporter

    def complete(self, stop: StopRequest) -> dict[str, Any]:
        """Train to the end, then measure the best weights once on all validation text; returns the result.

        Raises Interrupted when asked to stop, after saving; TrainingError.
        """
        stop.hint = f"Go on with: textgen train --resume {self.run.path}"
        with memory_errors(), only_one(self.run.training_directory) as alone:
            if not alone:
                raise RunError(f"{self.run.path}: another process is training it")
            self.trainer.train(stop)
            stop.end_deferral()  # all is saved: from here a signal may end the work at once
            report = evaluate_run(
                self.run,
                self.store,
                "val",
                device=self.run.config.training.device,
                progress=self.reporter.work,
            )
        self.trainer.record("final", **report.as_dict())
        self._draw()
        seconds = self.trainer.seconds()
        self.reporter.line(
            f"Validation, all {report.loss.tokens:,} tokens: {report.loss.nats_per_token:.4f} nats/token, "
            f"{report.bits_per_character:.4f} bits/character, {report.bits_per_byte:.4f} bits/byte, "
            f"perplexity {report.perplexity_per_token:.2f} per token"
        )
        position = self.trainer.position
        self.reporter.line(
            f"Best weights of step {position.best_step:,} of {position.step:,}, in {seconds:.0f} s."
        )
        self.reporter.line(f"The run is in {self.run.path}. Write text with: textgen sample {self.run.path}")
        return {"run": str(self.run.path), "steps": position.step, "best_step": position.best_step,
                "seconds": round(seconds, 1)} | report.as_dict()  # fmt: skip

    def _draw(self) -> None:
        if can_draw():
            facts = self.run.facts()
            title = f"{self.run.path.name}: {facts['network']}, {facts['parameters']:,} parameters"
            draw_loss(self.run.metrics(), title, self.run.path / "loss.png")


# -- a new run ------------------------------------------------------------


def new_training(options: TrainOptions, reporter: Reporter) -> Training:
    """Choose what the user left open, create the run's directory, and give its trainer.

    Raises ConfigError, CorpusError, TokenizerError, RunError.
    """
    source = Run(options.from_run) if options.from_run is not None else None
    _refuse_beside_from(options, source)
    path = _run_path(options)
    data = plan_data(options)
    if source is not None:
        data = dataclasses.replace(
            data, tokenizer=source.config.data.tokenizer, vocab_size=None, min_frequency=None
        )
    cache_dir = Path(options.cache_dir) if options.cache_dir is not None else default_cache_dir()
    with standard_input(data.corpus) as stdin:
        corpus = Corpus(data, stdin)
        tokenizer = source.tokenizer if source is not None else _build_tokenizer(data, corpus, reporter)
        store = TokenStore.open_or_build(corpus, tokenizer, cache_dir, reporter.work)
        with memory_errors():
            config, model = _choose(options, data, corpus, store, tokenizer, source)
        _describe_start(options, config, store, reporter)
        initial = None if source is None else model.weights()
        while True:
            try:
                _create(path, config, tokenizer, initial=initial, stdin=stdin)
                break
            except FileExistsError:  # another process took the name while this one read the corpus
                path = _run_path(options)
    return _assemble(Run(path), store, tokenizer, model, reporter)


def _create(
    path: Path,
    config: RunConfig,
    tokenizer: Tokenizer,
    *,
    initial: dict[str, np.ndarray] | None,
    stdin: Path | None,
) -> None:
    """Make a run's directory, whole or not at all. Raises FileExistsError when it is taken, RunError."""
    try:
        with new_directory(path) as building:
            (building / CONFIG).write_text(config_json(config), encoding="utf-8")
            (building / TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
            (building / TRAINING).mkdir()
            if initial is not None:
                save_weights(building / TRAINING / INITIAL, initial)
            if stdin is not None:
                shutil.copyfile(stdin, building / TRAINING / STDIN)
    except FileExistsError:
        raise
    except OSError as error:
        raise RunError(f"{path}: cannot be made ({error.strerror or error}); name another --run") from error


def _run_path(options: TrainOptions) -> Path:
    if options.run is not None:
        path = Path(options.run)
        if path.exists():
            raise RunError(f"{path}: is there already. Name a new directory, or go on with: --resume {path}")
        return _writable(path)
    first = (options.corpus or ("corpus",))[0]
    name = Path(first.rstrip("/*")).name.split(".")[0].strip("*?[]") if first != "-" else "stdin"
    return _writable(free_directory(Path("runs"), name or "corpus"))


def _writable(path: Path) -> Path:
    """Check, before any work is done, that a run's directory can be made. Raises RunError."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise RunError(f"{path}: cannot be made, {nearest} is no folder to write to; name another --run")
    return path


def _absolute(data: DataConfig) -> DataConfig:
    """Paths that hold wherever the run is resumed from; - and the names of tokenizer kinds stay."""

    def absolute(path: str | None) -> str | None:
        return None if path is None else path if path == "-" else str(Path(path).absolute())

    tokenizer = absolute(data.tokenizer) if data.uses_tokenizer_file else data.tokenizer
    corpus = tuple(absolute(path) or path for path in data.corpus)
    return dataclasses.replace(
        data,
        corpus=corpus,
        val=absolute(data.val),
        test=absolute(data.test),
        tokenizer=tokenizer or data.tokenizer,
    )


def _refuse_beside_from(options: TrainOptions, source: Run | None) -> None:
    if source is None:
        return
    for name in ("tokenizer", "vocab_size", "min_frequency", "end_of_text"):
        value = getattr(options, name)
        if value is not None and value != getattr(source.config.data, name):
            raise ConfigError(f"{name} does not go with --from: the tokenizer is that of {source.path}")
    same_network(options, source.config.model, str(source.path))


def _build_tokenizer(data: DataConfig, corpus: Corpus, reporter: Reporter) -> Tokenizer:
    if not data.uses_tokenizer_file:
        return Tokenizer.train(data.tokenizer, corpus.stream("train"), data.vocab_size, data.min_frequency)
    path = Path(data.tokenizer)
    if not path.exists() and path.suffix != ".json":
        raise ConfigError(
            f"{unknown_name('tokenizer', data.tokenizer, TOKENIZER_KINDS)}: "
            f"one of {', '.join(TOKENIZER_KINDS)}, or the path of a tokenizer.json"
        )
    tokenizer = Tokenizer.from_file(path, data.end_of_text)
    measured = measure_round_trip(tokenizer, corpus.stream("train"))
    if measured.example is not None:
        before, after = measured.example
        reporter.line(
            f"{data.tokenizer} loses {measured.lost_characters:,} of {measured.characters:,} characters, in "
            f"{measured.lost_documents:,} of {measured.documents:,} documents: "
            f"{before!r} comes back as {after!r}."
        )
    return tokenizer


def _choose(
    options: TrainOptions,
    data: DataConfig,
    corpus: Corpus,
    store: TokenStore,
    tokenizer: Tokenizer,
    source: Run | None,
) -> tuple[RunConfig, LanguageModel]:
    """Everything resolved, and the model with its first weights."""
    rows = Rows.from_counts(store.counts)
    if source is not None:
        rows = rows_of(source.load_weights()).extended(store.counts)
    train_tokens, val_tokens = len(store.tokens("train")), len(store.tokens("val"))
    model_config = (
        fine_tuning_model(options, source.config.model, rows.size)
        if source is not None
        else plan_model(options, vocab_size=rows.size, train_tokens=train_tokens)
    )
    training = plan_training(options, model=model_config, train_tokens=train_tokens)
    _set_up(training)
    model = _first_model(model_config, rows, source)
    model = training_model(model, training)
    size = store.size("train")
    measured: dict[str, Any] = {
        "corpus_fingerprint": corpus.fingerprint,
        "train_tokens": train_tokens,
        "train_characters": size.characters,
        "train_bytes": size.bytes,
        "val_tokens": val_tokens,
        "documents": size.documents,
        "characters_per_token": size.characters / train_tokens,
        "parameters": model.num_parameters,
        "torch_version": torch.__version__,
    }
    expected = _expected_tokens(training, model, train_tokens, measured)
    training = dataclasses.replace(
        training, eval_tokens=training.eval_tokens or eval_tokens(expected, training.evaluations, val_tokens)
    )
    config = RunConfig(
        format=FORMAT,
        textgen_version=VERSION,
        data=_absolute(data),
        model=model_config,
        training=training,
        from_run=None if options.from_run is None else str(Path(options.from_run).absolute()),
        measured=measured,
    )
    return config, model


def _set_up(training: TrainingConfig) -> None:
    """Prepare torch as a resolved config says. Raises ConfigError when its device is not there."""
    assert training.threads is not None  # resolved
    device = resolve_device(training.device)
    set_up(device, threads=training.threads, seed=training.seed, deterministic=training.deterministic)


def _first_model(config: ModelConfig, rows: Rows, source: Run | None) -> LanguageModel:
    """New weights from the seed, or another run's with rows for the new text."""
    if source is None:
        return LanguageModel(config, rows)
    model = LanguageModel.from_pretrained(source.path).with_rows(rows)
    fresh = LanguageModel(config, rows)  # the same network with this run's dropout
    fresh.load_weights(model.weights(), str(source.path))
    return fresh


def _expected_tokens(
    training: TrainingConfig, model: LanguageModel, train_tokens: int, measured: dict[str, Any]
) -> float:
    """How many tokens the budget will train on; for minutes that takes a look at the speed."""
    window = training.batch_size * training.seq_len
    if training.steps is not None:
        return training.steps * window
    if training.epochs is not None:
        return training.epochs * train_tokens
    speed = _probe(model, training.batch_size, training.seq_len)
    measured["probed_tokens_per_second"] = round(speed)
    assert training.minutes is not None
    return speed * training.minutes * 60


def _probe(model: LanguageModel, batch_size: int, seq_len: int) -> float:
    """Tokens per second of forward and backward on this device, from a few windows. No weight changes."""
    tokens = torch.zeros(batch_size, seq_len, dtype=torch.int64, device=next(model.parameters()).device)
    seconds: list[float] = []
    while len(seconds) < 2 or (sum(seconds) < PROBE_SECONDS and len(seconds) < 50):
        started = time.monotonic()
        logits, _ = model(tokens, model.zero_state(batch_size))
        cross_entropy(logits.float().flatten(0, 1), tokens.flatten()).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        if tokens.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - started)
    return batch_size * seq_len / min(seconds)  # the fastest: a busy moment says nothing of the machine


def _describe_start(options: TrainOptions, config: RunConfig, store: TokenStore, reporter: Reporter) -> None:
    train, val = store.size("train"), store.size("val")
    reporter.line(
        f"Corpus: {train.characters:,} characters to train on, {val.characters:,} to validate on; "
        f"{config.data.tokenizer} tokens, {config.model.vocab_size:,} distinct."
    )
    reporter.line(f"Model: {config.measured['parameters']:,} parameters; {describe(config)}.")
    training = config.training
    wanted = (options.batch_size or TrainingConfig.batch_size, options.seq_len or TrainingConfig.seq_len)
    if (training.batch_size, training.seq_len) != wanted:
        reporter.line(
            f"The corpus is small ({config.measured['train_tokens']:,} tokens), so a batch shrinks from "
            f"{wanted[0]} x {wanted[1]} to {training.batch_size} x {training.seq_len} tokens."
        )


# -- a run to resume ------------------------------------------------------------


def resumed_training(path: Path, cache_dir: Path | None, reporter: Reporter) -> Training:
    """The trainer of an interrupted run, at its newest checkpoint, or at its start when there is none yet.

    Raises RunError when the run is complete, is no run, or its corpus has changed.
    """
    run = Run(path)
    if any(record["kind"] == "final" for record in run.metrics()):
        raise RunError(
            f"{path}: this run is complete. Train on from it with: textgen train CORPUS --from {path}"
        )
    store = run.open_store(cache_dir or default_cache_dir(), reporter.work)
    training = run.config.training
    _set_up(training)
    initial = run.training_directory / INITIAL
    fresh = newest_checkpoint(run.training_directory) is None
    if fresh and (run.has_weights or (run.config.from_run is not None and not initial.is_file())):
        raise RunError(
            f"{run.training_directory}: what a resume needs is gone. "
            f"Train on from the weights with: textgen train CORPUS --from {path}"
        )
    if initial.is_file():
        arrays = load_weights(initial)
        model = LanguageModel(run.config.model, rows_of(arrays))
        model.load_weights(arrays, str(initial))
    else:
        model = LanguageModel(run.config.model, Rows.from_counts(store.counts))
    model = training_model(model, training)
    assembled = _assemble(run, store, run.tokenizer, model, reporter)
    found = assembled.trainer.restore()
    step = assembled.trainer.position.step
    reporter.line(
        f"Going on with {path} at step {step:,}."
        if found
        else f"Starting {path} again: nothing was saved yet."
    )
    return assembled


def _assemble(
    run: Run, store: TokenStore, tokenizer: Tokenizer, model: LanguageModel, reporter: Reporter
) -> Training:
    training = run.config.training
    batches = StreamBatches(
        store.tokens("train"),
        model.rows,
        batch_size=training.batch_size,
        seq_len=training.seq_len,
        seed=training.seed,
    )
    # The same random numbers from here on, whether the speed was probed (with dropout) before or not.
    torch.manual_seed(training.seed)
    trainer = Trainer(
        run=run,
        model=model,
        tokenizer=tokenizer,
        batches=batches,
        val_token_ids=store.tokens("val"),
        start_row=start_row(model.rows, tokenizer),
        budget=_budget(training, batches),
        reporter=reporter,
    )
    return Training(run, store, trainer, reporter)


def _budget(training: TrainingConfig, batches: StreamBatches) -> Budget:
    if training.minutes is not None:
        return Budget(seconds=training.minutes * 60)
    if training.steps is not None:
        return Budget(steps=training.steps)
    assert training.epochs is not None
    # Epochs may differ by a window, with the place where each wraps round, but never in their tokens.
    return Budget(tokens=training.epochs * batches.tokens_per_epoch)
