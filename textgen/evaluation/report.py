"""The loss of a run on a text, in all common units."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textgen.evaluation.cross_entropy import Loss
from textgen.settings.config import DynamicConfig
from textgen.text.documents import TextSize

BITS = 1 / math.log(2)  # bits per nat


@dataclass(frozen=True)
class Report:
    """The loss on a text in all common units; each property says what it can be compared across.

    size: of the text that was read. unread_tokens: those that were left out, for lack of time.
    """

    loss: Loss
    size: TextSize
    unread_tokens: int = 0

    @property
    def bits_per_character(self) -> float:
        """Bits per character of the original text; comparable between tokenizers."""
        return self.loss.total_nats * BITS / self.size.characters

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte of the original text; comparable between tokenizers."""
        return self.loss.total_nats * BITS / self.size.bytes

    @property
    def perplexity_per_token(self) -> float:
        """exp of nats per token; comparable only with the same tokenizer."""
        return _exp(self.loss.nats_per_token)

    @property
    def perplexity_per_word(self) -> float:
        """exp of nats per word, a word being a run of characters other than white space."""
        return _exp(self.loss.total_nats / self.size.words) if self.size.words else math.inf

    @property
    def by_unit(self) -> dict[str, float]:
        """The figures by unit."""
        return {
            "nats/token": self.loss.nats_per_token,
            "bits/character": self.bits_per_character,
            "bits/byte": self.bits_per_byte,
            "perplexity per token": self.perplexity_per_token,
            "perplexity per word": self.perplexity_per_word,
        }

    def as_dict(self) -> dict[str, float | int | None]:
        """The figures by name, with the unit in the name; None for a figure that is infinite or NaN."""
        figures = {
            "nats_per_token": self.loss.nats_per_token,
            "bits_per_character": self.bits_per_character,
            "bits_per_byte": self.bits_per_byte,
            "perplexity_per_token": self.perplexity_per_token,
            "perplexity_per_word": self.perplexity_per_word,
            "tokens": self.loss.tokens,
            "unseen_tokens": self.loss.unseen_tokens,
            "unread_tokens": self.unread_tokens,
            "characters": self.size.characters,
            "bytes": self.size.bytes,
            "words": self.size.words,
        }
        return {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}

    def lines(self) -> list[str]:
        """The figures as lines to print."""
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
class MixtureReport:
    """The reports of one text under the network alone, under n-grams alone, and under both together.

    Together they are what the run predicts by default. weight: of the network in the mixture, from 0 to 1.
    """

    network: Report
    ngrams: Report
    together: Report
    weight: float

    def as_dict(self) -> dict[str, Any]:
        """The figures of both together as in Report, and under `network` and `ngrams` those of each alone."""
        alone = {"network": self.network.as_dict(), "ngrams": self.ngrams.as_dict()}
        return self.together.as_dict() | {"network_weight": self.weight} | alone

    def lines(self) -> list[str]:
        """The figures as lines to print, side by side."""
        return [
            *_table(_columns(self)),
            self.network.lines()[-1],
            f"The run predicts with both together; weight of the network: {self.weight:.2f}. "
            "--no-ngram: the network alone.",
        ]


@dataclass(frozen=True)
class DynamicReport:
    """The reports of one text under a run as it was trained (static) and by dynamic evaluation (dynamic).

    With n-grams both are of network, n-grams and mixture; the n-grams of the dynamic one learn too.
    """

    static: Report | MixtureReport
    dynamic: Report | MixtureReport
    config: DynamicConfig

    def as_dict(self) -> dict[str, Any]:
        """The static figures as in their report, and under `dynamic` the dynamic ones with their settings."""
        settings = dataclasses.asdict(self.config)
        return self.static.as_dict() | {"dynamic": self.dynamic.as_dict() | {"settings": settings}}

    def lines(self) -> list[str]:
        """The figures as lines to print, static and dynamic side by side."""
        columns = [*_columns(self.static), *_columns(self.dynamic)]
        each = len(columns) // 2
        lines = [" ".join(f"{name:>{11 * each - 1}}" for name in ("static", "dynamic"))]
        names, *figures = _table(columns)
        lines += [names, *figures] if each > 1 else figures
        lines += [columns[0][1].lines()[-1], f"dynamic: {describe_dynamic(self.config)}"]
        if isinstance(self.static, MixtureReport) and isinstance(self.dynamic, MixtureReport):
            how = "at best " if self.config.network_weight is None else ""
            weights = f"{self.static.weight:.2f}, dynamic {how}{self.dynamic.weight:.2f}"
            lines.append(f"weight of the network in the mixture: {weights}")
        return lines


def _columns(report: Report | MixtureReport) -> list[tuple[str, Report]]:
    """The reports to print side by side, with their names."""
    if isinstance(report, Report):
        return [("network", report)]
    return [("network", report.network), ("n-grams", report.ngrams), ("together", report.together)]


def _table(columns: Sequence[tuple[str, Report]]) -> list[str]:
    """The figures of reports side by side: a line of their names, and one for each unit."""
    lines = [" ".join(f"{name:>10}" for name, _ in columns)]
    for unit in columns[0][1].by_unit:
        lines.append(" ".join(f"{report.by_unit[unit]:10.5g}" for _, report in columns) + f" {unit}")
    return lines


def describe_dynamic(config: DynamicConfig) -> str:
    """The settings of dynamic evaluation in one line."""
    return (
        f"{config.method}, rate {config.rate:g}, windows of {config.window} tokens, "
        f"decay {config.decay:g}, gradient norm at most {config.clip_norm:g}, "
        f"{'mixed with' if config.mix else 'without'} the trained weights"
    )


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf  # exp(710) overflows a float64


def describe_loss(nats_per_token: float, characters_per_token: float) -> str:
    """A loss in nats per token and in bits per character, given the mean number of characters per token."""
    bits_per_character = nats_per_token * BITS / characters_per_token
    return f"{nats_per_token:.4f} nats/token, {bits_per_character:.4f} bits/character"
