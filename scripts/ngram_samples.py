"""What the n-gram companion of a run does to its samples: the same seeds with and without it.

For each seed, one text is drawn without a prompt from the network alone, and one from the mixture. The table
shows, for both and for pieces of the validation text of the same length:

    words      share of their words that occur in the training text
    copied     share of their characters in copies of 20 characters or more from the training text
    longest    characters in the longest copy of each text, on average
    repeated   share of their characters in stretches of 20 or more that occurred earlier in the same text

Example:
    textgen train data/faq.txt --steps 300 --seed 1 --run runs/faq
    python scripts/ngram_samples.py runs/faq --output samples.txt
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from benchmarks.command import OutputFile, Script
from benchmarks.measure import markdown

from textgen.analysis.novelty import measure_novelty
from textgen.analysis.real_text import RealText
from textgen.api import load
from textgen.settings.config import SampleConfig
from textgen.text.copies import Copies
from textgen.text.store import default_cache_dir

WORD = re.compile(r"[^\W\d_]+")
STRETCH = 20  # characters of a copy, and of a repetition
FIRST_SEED = 1


class Figures(NamedTuple):
    """Means over texts, weighted by their words and characters."""

    words: float
    copied: float
    longest: float
    repeated: float


def repeated_share(text: str, stretch: int = STRETCH) -> float:
    """The share of characters in stretches of at least this length that occurred earlier in the text.

    >>> repeated_share("abcabcab", stretch=3)
    0.625
    """
    seen: set[str] = set()
    repeated = np.zeros(len(text), bool)
    for start in range(len(text) - stretch + 1):
        piece = text[start : start + stretch]
        if piece in seen:
            repeated[start : start + stretch] = True
        seen.add(piece)
    return float(repeated.mean()) if text else 0.0


def figures(texts: Sequence[str], known: set[str], copies: Copies) -> Figures:
    """The figures of texts, given the words of the training text and an index of it."""
    words = [word for text in texts for word in WORD.findall(text)]
    novelties = [measure_novelty(text, copies, STRETCH) for text in texts]
    sizes = [len(text) for text in texts]
    return Figures(
        words=sum(word in known for word in words) / max(len(words), 1),
        copied=sum(novelty.copied_characters for novelty in novelties) / max(sum(sizes), 1),
        longest=float(np.mean([novelty.longest_characters for novelty in novelties])),
        repeated=float(np.average([repeated_share(text) for text in texts], weights=sizes)),
    )


@click.command(cls=Script, help=__doc__)
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--samples", default=10, show_default=True, help="How many texts of each kind.")
@click.option("--tokens", default=1000, show_default=True, help="Length of a text.")
@click.option("--temperature", default=SampleConfig.temperature, show_default=True, help="As in sample.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="As in sample.")
@click.option("--output", type=OutputFile(), help="Also write the texts, in pairs, to this file.")
def main(
    run: Path, samples: int, tokens: int, temperature: float, cache_dir: Path | None, output: Path | None
) -> None:
    """Print the table."""
    models = {"network alone": load(run, ngram=False), "with n-grams": load(run)}
    if not models["with n-grams"].run.has_companion:
        raise click.UsageError(f"{run}: has no n-grams; `textgen ngram {run}` adds them")
    corpus = models["with n-grams"].run.open_corpus()
    copies = Copies.open_or_build(corpus, cache_dir or default_cache_dir())
    known = {word for item in corpus.stream("train") if isinstance(item, str) for word in WORD.findall(item)}
    seeds = range(FIRST_SEED, FIRST_SEED + samples)
    settings = {"max_new_tokens": tokens, "temperature": temperature}
    drawn = {
        name: [model.generate(seed=seed, **settings).text for seed in seeds] for name, model in models.items()
    }
    length = round(np.mean([len(text) for texts in drawn.values() for text in texts]))
    real = RealText("val", corpus.stream("val")).pieces(length)
    table = [["", "words", "copied", "longest", "repeated"]]
    for name, texts in (*drawn.items(), ("validation text", real)):
        found = figures(texts, known, copies)
        shares = (
            f"{found.words:.1%}",
            f"{found.copied:.1%}",
            f"{found.longest:.0f}",
            f"{found.repeated:.1%}",
        )
        table.append([name, *shares])
    click.echo("\n".join(markdown(table)))
    if output is not None:
        pairs = zip(seeds, *drawn.values(), strict=True)
        parts = [
            f"===== seed {seed}: {name}\n{text}\n"
            for seed, *texts in pairs
            for name, text in zip(drawn, texts, strict=True)
        ]
        output.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
