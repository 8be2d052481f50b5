"""What the user reads before the first step: the text, the model, and what was chosen, a line each."""

from __future__ import annotations

from typing import Any

import numpy as np

from textgen.run import Run, describe
from textgen.settings.config import RunConfig, TrainingConfig
from textgen.settings.given import Section
from textgen.system.device import cpu_gains_by_bfloat16, cpu_multiplies_bfloat16
from textgen.training.planning.configs import BatchShape, requested_batches
from textgen.training.planning.data import PreparedText
from textgen.training.schedule import describe_reading

# From this fraction of unknown tokens on, new weights would probably do better than another run's.
MOSTLY_NEW = 0.5


def start_notes(
    text: PreparedText,
    config: RunConfig,
    training: Section[TrainingConfig],
    batches: BatchShape,
    source: Run | None,
) -> tuple[str, ...]:
    """All notes, those of the text first."""
    notes = [*text.notes, _corpus_note(text, config), _model_note(config)]
    notes += _batch_notes(requested_batches(training), batches, text.train_tokens)
    notes += _precision_notes(config.training)
    if config.training.minutes is not None:
        notes.append(_plan_note(config.training, config.measured, training))
    if source is not None:
        # The ids of tokens that came later follow those that the other run knew.
        known = text.vocab.token_ids[: source.config.model.model_vocab_size]
        notes += _new_token_notes(source, known, text.store.counts)
    if _has_windows_line_ends(text):
        notes.append(
            r"The text has Windows line ends (\r\n), which are learnt as they are: write them so in "
            "--prompt and --stop, or convert the text first."
        )
    return tuple(notes)


def _corpus_note(text: PreparedText, config: RunConfig) -> str:
    train, val = text.store.size("train"), text.store.size("val")
    return (
        f"Corpus: {train.characters:,} characters to train on, {val.characters:,} to validate on; "
        f"{config.data.tokenizer} tokens, {config.model.model_vocab_size:,} distinct."
    )


def _model_note(config: RunConfig) -> str:
    return f"Model: {config.measured['parameters']:,} parameters; {describe(config)}."


def _batch_notes(requested: BatchShape, fitted: BatchShape, train_tokens: int) -> list[str]:
    if fitted == requested:
        return []
    return [
        f"The corpus is small ({train_tokens:,} tokens), so a batch shrinks from "
        f"{requested.batch_size} x {requested.seq_len} to {fitted.batch_size} x {fitted.seq_len} tokens."
    ]


def _precision_notes(training: TrainingConfig) -> list[str]:
    if (training.device, training.precision) != ("cpu", "bfloat16") or cpu_gains_by_bfloat16():
        return []
    if cpu_multiplies_bfloat16():
        return ["This processor multiplies bfloat16 slower than float32: --precision float32 is faster."]
    return [
        "This processor has no bfloat16 instructions and emulates them: --precision float32 is much faster."
    ]


def _plan_note(training: TrainingConfig, measured: dict[str, Any], given: Section[TrainingConfig]) -> str:
    """What a budget in minutes amounts to on this machine."""
    assert training.minutes is not None
    speed, tokens = measured["probed_tokens_per_second"], measured["train_tokens"]
    times = speed * 60 * training.minutes / tokens
    unnamed = "" if "minutes" in given else "no budget given (--minutes), so "
    # The probe takes no optimizer steps and does not validate, and other programs may slow the machine later.
    plan = f"Plan: {unnamed}about {training.minutes:g} minutes on this machine, at up to {speed:,} tokens/s, "
    if training.epochs is None or times <= training.epochs:
        return f"{plan}at most {describe_reading(times)}."
    seconds = training.epochs * tokens / speed
    because = "" if "epochs" in given else "; more would overfit (--epochs)"
    return (
        f"{plan}but no more than {training.epochs} times through the text, "
        f"which takes {seconds:.0f} s or more{because}."
    )


def _new_token_notes(source: Run, known: np.ndarray, counts: np.ndarray) -> list[str]:
    """How much of the text another run's network has never seen: its token ids, and the counts of all."""
    new = counts.sum() - counts[known].sum()
    if not new:
        return []
    share = new / counts.sum()
    advice = "; a new run would probably do better" if share > MOSTLY_NEW else ""
    return [f"{share:.1%} of its tokens are new to {source.path}, which learns them here{advice}."]


def _has_windows_line_ends(text: PreparedText) -> bool:
    """Whether the first piece of the training text has them."""
    return "\r\n" in next((piece for piece in text.corpus.stream("train") if isinstance(piece, str)), "")
