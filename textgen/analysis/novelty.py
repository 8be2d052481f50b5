"""Novelty: how much of a text is copied word for word from the training text, next to real text.

Real text repeats itself too: names, phrases, forms of address. So the figures of a run's samples are compared
with those of text that training never saw, in pieces as long as the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from textgen.analysis.real_text import RealText
from textgen.generation.generator import Generator
from textgen.settings.config import NoveltyConfig, SampleConfig
from textgen.text.copies import Copies, Match

SHOWN_CHARACTERS = 200  # of a copy, when printed


@dataclass(frozen=True)
class Novelty:
    """What of one text occurs word for word in the training text.

    `longest` is the longest copy, the first of equals; None if not even a character occurs there.
    `copied_characters` counts the characters in copies of at least the chosen length.
    """

    characters: int
    copied_characters: int
    longest: Match | None

    @property
    def longest_characters(self) -> int:
        """The length of the longest copy."""
        return 0 if self.longest is None else len(self.longest.text)

    @property
    def copied_share(self) -> float:
        """The share of characters in copies of at least the chosen length; 0 for an empty text."""
        return self.copied_characters / self.characters if self.characters else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, with the place of the longest copy: character, document and line."""
        return {
            "characters": self.characters,
            "copied_characters": self.copied_characters,
            "copied_share": self.copied_share,
            "longest_characters": self.longest_characters,
            "longest": None if self.longest is None else asdict(self.longest),
        }


def measure_novelty(text: str, copies: Copies, length: int) -> Novelty:
    """Find what a text copies from the training text; `length`: the fewest characters that count."""
    lengths = copies.lengths(text)
    copied = np.zeros(len(text), bool)
    for end in np.flatnonzero(lengths >= length).tolist():
        copied[end + 1 - lengths[end] : end + 1] = True
    longest = None
    if lengths.any():
        end = int(lengths.argmax()) + 1
        longest = copies.find(text[end - lengths[end - 1] : end])
    return Novelty(len(text), int(np.count_nonzero(copied)), longest)


@dataclass(frozen=True)
class NoveltyReport:
    """Samples and pieces of real text, both looked up in the same training text.

    `length` is the fewest characters that count as a copy, `indexed_share` the share of the
    training text that was searched. `as_dict` has everything, `reference` what one sample is compared with.
    """

    samples: Sequence[Novelty]
    real: Sequence[Novelty]
    real_name: str
    length: int
    indexed_share: float

    def as_dict(self) -> dict[str, Any]:
        """The figures by name; each sample has its own."""
        samples = _means(self.samples) | {"each": [sample.as_dict() for sample in self.samples]}
        return self.reference() | {"samples": samples}

    def reference(self) -> dict[str, Any]:
        """The figures of real text, with which a sample is compared."""
        real_text = {"name": self.real_name} | _means(self.real)
        return {"length": self.length, "indexed_share": self.indexed_share, "real_text": real_text}


@dataclass(frozen=True)
class NoveltyMeter:
    """Measures texts against a training text, next to real text.

    `length` is the fewest characters that count as a copy. `file` is the name of the training
    text's only file; None if there are several.
    """

    copies: Copies
    real: RealText
    length: int
    file: str | None = None

    def report(self, texts: Sequence[str]) -> NoveltyReport:
        """Measure samples, at least one, and real text in pieces of their mean length."""
        pieces = self.real.pieces(round(sum(map(len, texts)) / len(texts)))
        return NoveltyReport(
            samples=[measure_novelty(text, self.copies, self.length) for text in texts],
            real=[measure_novelty(text, self.copies, self.length) for text in pieces],
            real_name=self.real.name,
            length=self.length,
            indexed_share=self.copies.indexed_share,
        )

    def report_on(self, generator: Generator, config: NoveltyConfig) -> NoveltyReport:
        """Measure what a generator writes without a prompt, and real text."""
        sampling = SampleConfig(max_new_tokens=config.tokens, temperature=config.temperature)
        samples = generator.generate(num_samples=config.samples, seed=config.seed, config=sampling)
        return self.report([sample.text for sample in samples])

    def lines(self, report: NoveltyReport) -> list[str]:
        """A table of means to print, samples next to real text."""
        one, other = _means(report.samples), _means(report.real)
        rows = [
            ("texts", "d", "texts"),
            ("mean_characters", ",.0f", "characters each, on average"),
            ("mean_longest_characters", ".1f", "characters in the longest copy of each, on average"),
            ("most_longest_characters", "d", "characters in the longest copy of all"),
            ("copied_share", ".2%", f"of all characters in copies of {report.length} or more"),
        ]
        width = max(10, len(report.real_name))
        lines = [f"{'samples':>{width}} {report.real_name:>{width}} word for word as in the training text"]
        lines += [
            f"{one[name]:{width}{form}} {other[name]:{width}{form}} {what}" for name, form, what in rows
        ]
        longest = max(report.samples, key=lambda sample: sample.longest_characters)
        return [*lines, f"longest copy of all: {self._describe(longest)}", *self.copies.remarks()]

    def lines_of_each(self, report: NoveltyReport) -> list[str]:
        """Lines to print about every sample, and a last one about real text."""
        lines = []
        for number, sample in enumerate(report.samples, start=1):
            name = f"sample {number}: " if len(report.samples) > 1 else ""
            lines.append(f"{name}longest copy: {self._describe(sample)}")
            lines.append(
                f"{name}{sample.copied_share:.1%} of its {sample.characters:,} characters "
                f"in copies of {report.length} or more"
            )
        real = _means(report.real)
        lines.append(
            f"real text ({report.real_name}), {real['mean_characters']:,.0f} characters at a time: "
            f"longest copy {real['mean_longest_characters']:.1f} characters on average, "
            f"{real['most_longest_characters']} at most; "
            f"{real['copied_share']:.1%} in copies of {report.length} or more"
        )
        return [*lines, *self.copies.remarks()]

    def _describe(self, novelty: Novelty) -> str:
        """The longest copy in one line, with its place in the training text."""
        if novelty.longest is None:
            return "none; no character of it occurs in the training text"
        text, first = novelty.longest.text, novelty.longest.first
        place = f"line {first.line:,}"
        if self.copies.documents > 1:
            place += f" of document {first.document:,}"
        if self.file is not None:
            place += f" of {self.file}"
        times = f", {novelty.longest.occurrences:,} times" if novelty.longest.occurrences > 1 else ""
        shown = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
        return (
            f"{len(text):,} characters, at character {first.offset:,} of the training text ({place}){times}: "
            f"{shown!r}"
        )


def _means(group: Sequence[Novelty]) -> dict[str, Any]:
    """Figures of several texts; a share is of all their characters."""
    longest = [novelty.longest_characters for novelty in group]
    characters = sum(novelty.characters for novelty in group)
    return {
        "texts": len(group),
        "mean_characters": characters / max(len(group), 1),
        "mean_longest_characters": sum(longest) / max(len(group), 1),
        "most_longest_characters": max(longest, default=0),
        "copied_share": sum(novelty.copied_characters for novelty in group) / max(characters, 1),
    }
