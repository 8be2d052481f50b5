"""What a run makes of a text, in every unit that people use."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textgen.config import DynamicConfig
from textgen.evaluation.adaptation import adapt, named
from textgen.evaluation.evaluate import Loss, evaluate
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.text.beginning import start_row
from textgen.text.documents import TextSize
from textgen.text.store import Progress, TokenStore


@dataclass(frozen=True)
class Report:
    """The loss of a whole text in every unit that people use; each says between what it can be compared."""

    loss: Loss
    size: TextSize

    @property
    def bits_per_character(self) -> float:
        """Bits for a character of the original text; comparable between tokenizers."""
        return self.loss.total_nats / math.log(2) / self.size.characters

    @property
    def bits_per_byte(self) -> float:
        """Bits for a UTF-8 byte of the original text; comparable between tokenizers."""
        return self.loss.total_nats / math.log(2) / self.size.bytes

    @property
    def perplexity_per_token(self) -> float:
        """exp of nats per token; comparable only under one tokenizer."""
        return _exp(self.loss.nats_per_token)

    @property
    def perplexity_per_word(self) -> float:
        """exp of nats per word, a word being a run of characters between white space."""
        return _exp(self.loss.total_nats / self.size.words) if self.size.words else math.inf

    @property
    def by_unit(self) -> dict[str, float]:
        """The figures by what they are measured in."""
        return {
            "nats/token": self.loss.nats_per_token,
            "bits/character": self.bits_per_character,
            "bits/byte": self.bits_per_byte,
            "perplexity per token": self.perplexity_per_token,
            "perplexity per word": self.perplexity_per_word,
        }

    def as_dict(self) -> dict[str, float | int | None]:
        """The figures by name, with their units in the names; None for one beyond what a float holds."""
        figures = {
            "nats_per_token": self.loss.nats_per_token,
            "bits_per_character": self.bits_per_character,
            "bits_per_byte": self.bits_per_byte,
            "perplexity_per_token": self.perplexity_per_token,
            "perplexity_per_word": self.perplexity_per_word,
            "tokens": self.loss.tokens,
            "unseen_tokens": self.loss.unseen_tokens,
            "characters": self.size.characters,
            "bytes": self.size.bytes,
            "words": self.size.words,
        }
        return {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}

    def lines(self) -> list[str]:
        """The figures for a person."""
        unseen = self.loss.unseen_tokens
        return [
            f"{self.loss.nats_per_token:.4f} nats/token",
            f"{self.bits_per_character:.4f} bits/character",
            f"{self.bits_per_byte:.4f} bits/byte",
            f"{self.perplexity_per_token:.3f} perplexity per token, {self.perplexity_per_word:.4g} per word",
            f"{self.loss.tokens:,} tokens, {self.size.characters:,} characters, {self.size.bytes:,} bytes; "
            f"{unseen:,} tokens that training never saw",
        ]


@dataclass(frozen=True)
class DynamicReport:
    """The same text twice: under the weights as trained, and under weights that follow it."""

    static: Report
    dynamic: Report
    config: DynamicConfig

    def as_dict(self) -> dict[str, Any]:
        """The static figures as Report gives them, and under `dynamic` the others with their settings."""
        settings = dataclasses.asdict(self.config)
        return self.static.as_dict() | {"dynamic": self.dynamic.as_dict() | {"settings": settings}}

    def lines(self) -> list[str]:
        """The figures for a person, static and dynamic beside each other."""
        lines = [f"{'static':>10} {'dynamic':>10}"]
        for unit, static in self.static.by_unit.items():
            lines.append(f"{static:10.5g} {self.dynamic.by_unit[unit]:10.5g} {unit}")
        return [*lines, self.static.lines()[-1], f"dynamic: {describe_dynamic(self.config)}"]


def describe_dynamic(config: DynamicConfig) -> str:
    """How weights follow a text, in one line."""
    return (
        f"{config.method}, rate {config.rate:g}, windows of {config.window} tokens, "
        f"decay {config.decay:g}, gradient norm at most {config.clip_norm:g}"
    )


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf  # exp(710) is beyond a float64


def evaluate_run(
    run: Run,
    store: TokenStore,
    part: str,
    *,
    device: str,
    reset_every: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """The best weights of a run on a whole part of a store, in float32 and one lane, the state carried over
    it all.

    reset_every: see `evaluate`. progress is called with (what is done, tokens read, tokens in all).
    """
    model = LanguageModel.from_pretrained(run.path).to(device)
    loss = evaluate(
        model,
        store.tokens(part),
        vocab_size=run.tokenizer.vocab_size,
        start_row=start_row(model.rows, run.tokenizer),
        reset_every=reset_every,
        progress=named(f"evaluating on {part}", progress),
    )
    return Report(loss, store.size(part))


def evaluate_run_dynamically(
    run: Run,
    store: TokenStore,
    part: str,
    config: DynamicConfig,
    *,
    device: str,
    training_store: Callable[[], TokenStore],
    progress: Progress | None = None,
) -> DynamicReport:
    """As evaluate_run, and again with weights that follow the text.

    training_store opens the text that the run was trained on; it is called for the method `rms` alone.

    Raises TrainingError when the weights leave all bounds, and what training_store raises.
    """
    adaptation = adapt(
        run, store, part, config, device=device, training_store=training_store, progress=progress
    )
    size = store.size(part)
    return DynamicReport(Report(adaptation.static, size), Report(adaptation.dynamic, size), config)
