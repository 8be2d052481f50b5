"""What token healing is worth: prompts that end within a word, continued with and without it.

The prompts are from a run's validation text, each cut at a random place within a random word of four letters
or more. Each is continued, and its first word is read off: `words` is the share that occur anywhere in the
run's text, `same` the share that are the word that was cut.

Example:
    textgen train data/faq.txt --tokenizer bpe --steps 300 --seed 1 --run runs/bpe
    python scripts/cut_words.py runs/bpe
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from benchmarks.command import Script

from textgen.api import TextModel, load
from textgen.settings.config import SampleConfig

WORD = re.compile(r"[^\W\d_]+")
SHORTEST = 4  # letters of a word that is cut
CONTEXT = 200  # characters before the word
NEW_TOKENS = 12


class Cut(NamedTuple):
    """A prompt that ends within a word: the text before the word, its letters up to the cut, all of it."""

    before: str
    begun: str
    word: str


def cut_words(text: str, number: int, rng: np.random.Generator) -> list[Cut]:
    """Cut a text within that many different words."""
    words = [match for match in WORD.finditer(text) if len(match.group()) >= SHORTEST]
    found = []
    for index in rng.choice(len(words), number, replace=False).tolist():
        word, start = words[index].group(), words[index].start()
        cut = int(rng.integers(1, len(word)))
        found.append(Cut(text[max(start - CONTEXT, 0) : start], word[:cut], word))
    return found


def completed(model: TextModel, cut: Cut, config: SampleConfig, seed: int) -> str:
    """The first word of the continuation, with the letters that the prompt has of it."""
    sample = model.generate(cut.before + cut.begun, seed=seed, **vars(config))
    whole = WORD.match(cut.begun + sample.text)
    assert whole is not None  # it begins with letters
    return whole.group()


@click.command(cls=Script, help=__doc__)
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option("--prompts", default=200, show_default=True, help="How many words to cut.")
@click.option("--seed", default=1, show_default=True, help="Of the cuts.")
def main(run: Path, prompts: int, seed: int) -> None:
    """Print the table."""
    model = load(run)
    corpus = model.run.open_corpus()
    train, val = (
        "".join(item for item in corpus.stream(part) if isinstance(item, str)) for part in ("train", "val")
    )
    known = set(WORD.findall(train)) | set(WORD.findall(val))
    cuts = cut_words(val, prompts, np.random.default_rng(seed))
    click.echo(f"{'temperature':>11}  {'healing':<7}  {'words':>6}  {'same':>6}")
    for temperature in (SampleConfig.temperature, 0):
        for heal in (False, True):
            config = SampleConfig(max_new_tokens=NEW_TOKENS, temperature=temperature, heal=heal)
            words = [completed(model, cut, config, number) for number, cut in enumerate(cuts)]
            is_word = np.mean([word in known for word in words])
            is_same = np.mean([word == cut.word for word, cut in zip(words, cuts, strict=True)])
            click.echo(f"{temperature:>11}  {'on' if heal else 'off':<7}  {is_word:>6.1%}  {is_same:>6.1%}")


if __name__ == "__main__":
    main()
