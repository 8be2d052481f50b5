"""A new run: what the user left open is chosen, measured and written down before the first step.

    options -> corpus -> tokenizer -> store -> rows -> config -> run directory -> model

The run's directory appears when all is chosen, with its complete config.json. From then on nothing is chosen
again.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import ConfigError, CorpusError, RunError
from textgen.run import (
    CONFIG,
    STDIN,
    TOKENIZER,
    TRAINING,
    Run,
    config_json,
    describe,
    free_directory,
    save_weights,
)
from textgen.settings.config import TOKENIZER_KINDS, DataConfig, RunConfig, TrainingConfig
from textgen.settings.given import TrainOptions
from textgen.settings.option import flag, unknown_name
from textgen.system.atomic import new_directory
from textgen.system.device import cpu_gains_by_bfloat16, cpu_multiplies_bfloat16
from textgen.system.memory import memory_errors
from textgen.system.progress import Reporter
from textgen.text.batches import fit_batches
from textgen.text.corpus import Corpus
from textgen.text.formats import is_utf8
from textgen.text.round_trip import measure_round_trip
from textgen.text.sources import corpus_name, standard_input
from textgen.text.store import TokenStore, default_cache_dir
from textgen.text.tokenizer import Tokenizer
from textgen.training.planning.plan import (
    TOKENIZER_OPTIONS,
    asked_batches,
    on_its_text,
    plan_data,
    same_network,
    with_vocab_size,
)
from textgen.training.planning.resolve import resolve
from textgen.training.schedule import describe_reading
from textgen.training.session import INITIAL, Training, assemble


def new_training(options: TrainOptions, reporter: Reporter) -> Training:
    """Choose what the user left open, create the run's directory, and give its trainer.

    Raises ConfigError, CorpusError, TokenizerError, RunError.
    """
    source = Run(options.from_run) if options.from_run is not None else None
    _refuse_beside_from(options, source)
    if source is not None:
        options = on_its_text(options, source.data, str(source.path))
    path = _run_path(options)
    data = plan_data(options, None if source is None else source.data)
    cache_dir = Path(options.cache_dir) if options.cache_dir is not None else default_cache_dir()
    with standard_input(data.corpus) as stdin:
        corpus = Corpus(data, stdin)
        if source is not None and _was_trained_on(corpus, source):
            reporter.line(
                f"Validation reads text that {source.path} was trained on, so it says little of new text: "
                "divide the text as that run did, or name other text with --val."
            )
        if source is None:
            data = with_vocab_size(data, corpus)
        tokenizer = source.tokenizer if source is not None else _build_tokenizer(data, corpus, reporter)
        store = TokenStore.open_or_build(corpus, tokenizer, cache_dir, reporter.work)
        with memory_errors():
            config, model = resolve(options, _absolute(data), corpus, store, source)
        _describe_start(options, config, store, reporter)
        if source is not None:
            known = model.vocab.token_ids[
                : source.config.model.model_vocab_size
            ]  # those that came later follow
            _describe_new(source, known, store.counts, reporter)
        if _has_windows_line_ends(corpus):
            reporter.line(
                r"The text has Windows line ends (\r\n), which are learnt as they are: write them so in "
                "--prompt and --stop, or convert the text first."
            )
        initial = None if source is None else model.weights()
        while True:
            try:
                _create(path, config, tokenizer, initial=initial, stdin=stdin)
                break
            except FileExistsError:  # another process took the name while this one read the corpus
                path = _run_path(options)
    return assemble(Run(path), store, tokenizer, model, reporter, is_resumed=False)


def _was_trained_on(corpus: Corpus, source: Run) -> bool:
    """Whether validation text is part of what another run was trained on, as far as that is still there."""
    with suppress(CorpusError):
        return corpus.validates_on_training_text_of(Corpus(source.data))
    return False


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
            there = dataclasses.replace(config, directory=str(path.absolute()))
            (building / CONFIG).write_text(config_json(there), encoding="utf-8")
            (building / TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
            (building / TRAINING).mkdir()
            if initial is not None:
                save_weights(building / TRAINING / INITIAL, initial)
            if stdin is not None:
                shutil.copyfile(stdin, building / STDIN)
    except FileExistsError:
        raise
    except OSError as error:
        raise RunError(f"{path}: cannot be made ({error.strerror or error}); name another --run") from error


def _run_path(options: TrainOptions) -> Path:
    if options.run is not None:
        path = Path(options.run)
        if not is_utf8(options.run):
            raise RunError(f"{options.run!r}: the name is not UTF-8; name another --run")
        if path.exists():
            raise RunError(f"{path}: is there already. Name a new directory, or go on with: --resume {path}")
        return _writable(path)
    return _writable(free_directory(Path("runs"), corpus_name(options.corpus or ("corpus",))))


def _writable(path: Path) -> Path:
    """Check, before any work is done, that a run's directory can be made. Raises RunError."""
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise RunError(f"{path}: cannot be made, {nearest} is no folder to write to; name another --run")
    return path


def _absolute(data: DataConfig) -> DataConfig:
    """Paths that hold wherever the run is resumed from; - and the names of tokenizer kinds stay."""

    def absolute(path: str) -> str:
        return path if path == "-" else str(Path(path).absolute())

    return dataclasses.replace(
        data,
        corpus=tuple(map(absolute, data.corpus)),
        val=data.val and absolute(data.val),
        test=data.test and absolute(data.test),
        tokenizer=absolute(data.tokenizer) if data.uses_tokenizer_file else data.tokenizer,
    )


def _refuse_beside_from(options: TrainOptions, source: Run | None) -> None:
    if source is None:
        return
    for name in TOKENIZER_OPTIONS:
        value, known = getattr(options, name), getattr(source.data, name)
        if value not in (None, known) and not _is_path_of(value, known):
            raise ConfigError(f"{flag(name)} does not go with --from: the tokenizer is that of {source.path}")
    same_network(options, source.config.model, str(source.path))


def _is_path_of(value: object, known: object) -> bool:
    """Whether both are the same file: config.json has whole paths."""
    return isinstance(value, str) and str(Path(value).absolute()) == known


def _build_tokenizer(data: DataConfig, corpus: Corpus, reporter: Reporter) -> Tokenizer:
    if not data.uses_tokenizer_file:

        def say_sampled(taken: int, total: int) -> None:
            reporter.line(
                f"The {data.tokenizer} vocabulary is learnt from {taken:,} of {total:,} characters, "
                "spread evenly over the text."
            )

        return Tokenizer.train(
            data.tokenizer, corpus.stream("train"), data.vocab_size, data.min_frequency, say_sampled
        )
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


def _describe_start(options: TrainOptions, config: RunConfig, store: TokenStore, reporter: Reporter) -> None:
    train, val = store.size("train"), store.size("val")
    reporter.line(
        f"Corpus: {train.characters:,} characters to train on, {val.characters:,} to validate on; "
        f"{config.data.tokenizer} tokens, {config.model.model_vocab_size:,} distinct."
    )
    reporter.line(f"Model: {config.measured['parameters']:,} parameters; {describe(config)}.")
    training = config.training
    wanted = asked_batches(options)
    fitted = fit_batches(config.measured["train_tokens"], *wanted)
    if fitted != wanted:
        reporter.line(
            f"The corpus is small ({config.measured['train_tokens']:,} tokens), so a batch shrinks from "
            f"{wanted[0]} x {wanted[1]} to {fitted[0]} x {fitted[1]} tokens."
        )
    if (training.device, training.precision) == ("cpu", "bfloat16") and not cpu_gains_by_bfloat16():
        reporter.line(
            "This processor multiplies bfloat16 slower than float32: --precision float32 is faster."
            if cpu_multiplies_bfloat16()
            else "This processor has no instructions for bfloat16, which it computes in many others: "
            "--precision float32 is many times as fast."
        )
    if training.minutes is not None:
        reporter.line(_plan(training, config.measured, options))


def _describe_new(source: Run, known: np.ndarray, counts: np.ndarray, reporter: Reporter) -> None:
    """How much of a text another run's network has never seen, if any: by its token ids and all counts."""
    new = counts.sum() - counts[known].sum()
    if new:
        share = new / counts.sum()
        advice = "; a new run would probably do better" if share > 0.5 else ""
        reporter.line(f"{share:.1%} of its tokens are new to {source.path}, which learns them here{advice}.")


def _has_windows_line_ends(corpus: Corpus) -> bool:
    """Whether the text begins so, as far as its first piece goes."""
    return "\r\n" in next((piece for piece in corpus.stream("train") if isinstance(piece, str)), "")


def _plan(training: TrainingConfig, measured: dict[str, Any], options: TrainOptions) -> str:
    """What a budget in minutes comes to on this machine."""
    assert training.minutes is not None
    speed, tokens = measured["probed_tokens_per_second"], measured["train_tokens"]
    times = speed * 60 * training.minutes / tokens
    unnamed = "no budget was named (--minutes), so it is planned " * (options.minutes is None)
    budget = f"{unnamed}for about {training.minutes:g} minutes on this machine"
    # The probe takes no optimizer steps and does not validate; nor does other work of the machine spare it.
    plan = f"Plan: {budget}, at up to {speed:,} tokens/s, "
    if training.epochs is None or times <= training.epochs:
        return f"{plan}at most {describe_reading(times)}."
    seconds = training.epochs * tokens / speed
    because = "" if options.epochs is not None else "; more would be learning by heart (--epochs)"
    return (
        f"{plan}but no more than {training.epochs} times through the text, "
        f"which takes {seconds:.0f} s or more{because}."
    )
