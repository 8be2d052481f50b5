"""The lines printed before the first step: the text, the model, and what was chosen."""

from __future__ import annotations

from typing import Any

import numpy as np

from textgen.run import Run, describe
from textgen.settings.config import RunConfig, TrainingConfig
from textgen.settings.given import Section
from textgen.system.device import cpu_gains_by_bfloat16, cpu_multiplies_bfloat16
from textgen.training.planning.configs import BatchShape, requested_batches
from textgen.training.planning.counting import counting_plan
from textgen.training.planning.data import PreparedText
from textgen.training.schedule import describe_passes

# From this fraction of new tokens on, training from scratch would probably do better than fine-tuning.
MOSTLY_NEW = 0.5


def start_notes(
    text: PreparedText,
    config: RunConfig,
    training: Section[TrainingConfig],
    batches: BatchShape,
    source: Run | None,
) -> tuple[str, ...]:
    """All notes, those of the text first."""
    notes = [*text.notes, _corpus_note(text, config), *_validation_notes(text, config), _model_note(config)]
    notes += _batch_notes(requested_batches(training), batches, text.train_tokens)
    notes += _precision_notes(config.training)
    if config.training.minutes is not None:
        notes.append(_plan_note(config.training, config.measured, training))
    if config.training.ngram and text.val_tokens:
        notes += counting_plan(text.train_tokens, config.training.minutes).notes()
    if source is not None:
        # The model vocabulary begins with that of the other run; new tokens follow.
        known = text.vocab.token_ids[: source.config.model.model_vocab_size]
        notes += _new_token_notes(source, known, text.store.counts)
    if _has_windows_line_ends(text):
        notes.append(
            r"The text has Windows line ends (\r\n), and the model learns them: use \r\n in --prompt and "
            "--stop, or convert the text first."
        )
    return tuple(notes)


def _corpus_note(text: PreparedText, config: RunConfig) -> str:
    train = text.store.size("train")
    return (
        f"Corpus: {train.characters:,} characters for training, {_validation(text, config)}; "
        f"tokenizer {config.data.tokenizer}, {config.model.model_vocab_size:,} distinct tokens."
    )


def _validation(text: PreparedText, config: RunConfig) -> str:
    """What validation reads, in words."""
    if not text.val_tokens:
        return "none for validation"
    characters = text.store.size("val").characters
    by_hash = config.data.holds_out and config.data.val_order == "hash"
    return f"{characters:,} for validation{' (documents chosen by hash)' if by_hash else ''}"


def _validation_notes(text: PreparedText, config: RunConfig) -> list[str]:
    if not text.val_tokens:
        return [
            "Training without validation: the last weights are kept, and nothing stops training when it "
            "overfits."
        ]
    read, held_out = text.store.size("val").characters, text.corpus.held_out_characters
    if config.data.val_characters is None or held_out <= config.data.val_characters:
        return []
    return [
        f"Validation reads {read:,} of the {held_out:,} characters that are held out, spread over them "
        "(--val-characters)."
    ]


def _model_note(config: RunConfig) -> str:
    return f"Model: {config.measured['parameters']:,} parameters; {describe(config)}."


def _batch_notes(requested: BatchShape, fitted: BatchShape, train_tokens: int) -> list[str]:
    if fitted == requested:
        return []
    return [
        f"The corpus is small ({train_tokens:,} tokens), so batches shrink from "
        f"{requested.batch_size} x {requested.seq_len} to {fitted.batch_size} x {fitted.seq_len} tokens."
    ]


def _precision_notes(training: TrainingConfig) -> list[str]:
    if (training.device, training.precision) != ("cpu", "bfloat16") or cpu_gains_by_bfloat16():
        return []
    if cpu_multiplies_bfloat16():
        return ["bfloat16 is slower than float32 on this processor: --precision float32 is faster."]
    return ["bfloat16 is emulated on this processor: --precision float32 is much faster."]


def _plan_note(training: TrainingConfig, measured: dict[str, Any], given: Section[TrainingConfig]) -> str:
    """What a budget in minutes amounts to on this machine."""
    assert training.minutes is not None
    speed, tokens = measured["probed_tokens_per_second"], measured["train_tokens"]
    times = speed * 60 * training.minutes / tokens
    default = "" if "minutes" in given else " (the default; change it with --minutes)"
    # The probe takes no optimizer steps and does not validate, and other programs may slow the machine later.
    minutes = f"{training.minutes:g} minute{'s' * (training.minutes != 1)}"
    plan = f"Plan: {minutes}{default}, at up to {speed:,} tokens/s"
    if training.epochs is None or times <= training.epochs:
        return f"{plan}: at most {describe_passes(times)}."
    seconds = training.epochs * tokens / speed
    because = "" if "epochs" in given else "; more would overfit (--epochs)"
    return (
        f"{plan}, but no more than {training.epochs} times through the text, "
        f"which takes {seconds:.0f} s or more{because}."
    )


def _new_token_notes(source: Run, known: np.ndarray, counts: np.ndarray) -> list[str]:
    """The share of the text that is new to another run.

    known: the token ids of its model vocabulary. counts: of every token id in the text.
    """
    new = counts.sum() - counts[known].sum()
    if not new:
        return []
    share = new / counts.sum()
    advice = "; training from scratch would probably do better" if share > MOSTLY_NEW else ""
    return [f"{share:.1%} of the tokens are new to {source.path} and have no trained weights yet{advice}."]


def _has_windows_line_ends(text: PreparedText) -> bool:
    """Whether the first piece of the training text has Windows line ends."""
    return "\r\n" in next((piece for piece in text.corpus.stream("train") if isinstance(piece, str)), "")
