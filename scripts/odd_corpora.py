"""Train with default settings on unusual corpora, and check that no run diverges.

The corpora are generated from a seed: one character, base64 of random bytes, DNA, emoji, a counter, lists,
tables, recipes, tunes, Thai and more. Each is trained on with `textgen train` and its defaults; some again
with other seeds, cells and tokenizers.

A run has diverged if the command fails, or if its last training loss is too high: more than 0.25 nats/token
above log V, the loss of a uniform guess among V tokens, or more than 1 nat/token above its own lowest.
Validation loss is shown but not checked, because overfitting raises it. Exits with 1 if any run diverged.

Examples:
    python scripts/odd_corpora.py
    python scripts/odd_corpora.py --minutes 0.05
    python scripts/odd_corpora.py --only base64 --only dna
"""

from __future__ import annotations

import base64
import json
import math
import random
import subprocess
import sys
import sysconfig
import tempfile
import unicodedata
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
from benchmarks.command import Script
from benchmarks.results import json_lines
from benchmarks.runs import end_together

SIZE = 100_000  # characters of most corpora
ABOVE_GUESS = 0.25  # nats per token
ABOVE_LOWEST = 1.0  # nats per token

WORDS = (
    "the of and to in is that it was for on are as with his they at be this from have or by one had".split()
)


def sentences(rng: random.Random, size: int) -> str:
    """Random words in sentences, one per line."""
    text = ""
    while len(text) < size:
        text += " ".join(rng.choices(WORDS, k=rng.randint(4, 15))).capitalize() + rng.choice(".?!") + "\n"
    return text[:size]


def one_rare_character(rng: random.Random) -> str:
    """Sentences with a character that occurs once, in the training part."""
    text = sentences(rng, SIZE)
    return text[: SIZE // 3] + "§" + text[SIZE // 3 :]


def long_repeats(rng: random.Random) -> str:
    """The same 5,000 random characters, repeated."""
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz ,.\n", k=5000)) * (SIZE // 5000)


def python_source(rng: random.Random) -> str:
    """Some files of Python's standard library."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    chosen = rng.sample(paths, min(len(paths), 20))
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in chosen)[: 3 * SIZE]


def easy_then_hard(rng: random.Random) -> str:
    """One character in the first half, random printable characters in the second."""
    return "a" * (SIZE // 2) + "".join(rng.choices([chr(code) for code in range(32, 127)], k=SIZE // 2))


def word_list(rng: random.Random) -> str:
    """Random words in alphabetical order, one per line."""
    return "\n".join(
        sorted("".join(rng.choices("abcdeilnorst", k=rng.randint(2, 10))) for _ in range(15_000))
    )


def names(rng: random.Random) -> list[str]:
    """Invented names of two to four syllables, out of eighteen."""
    syllables = [a + b for a, b in zip("bdfgklmnprstvzbdgk", "aeiouaeiouaeiouaei", strict=True)]
    return ["".join(rng.choices(syllables, k=rng.choice((2, 2, 3, 3, 4)))) for _ in range(4000)]


def table(rng: random.Random, delimiter: str) -> str:
    """Names with a number and a kind, in a table with a header."""
    rows = [f"{n}{delimiter}{name}{delimiter}{rng.choice('ab')}" for n, name in enumerate(names(rng))]
    return "\n".join([delimiter.join(("id", "text", "kind")), *rows]) + "\n"


def records(rng: random.Random) -> str:
    """JSON lines, some of which have no text."""
    texts = [name if rng.random() > 0.1 else None for name in names(rng)]
    return "".join(json.dumps({"post": {"text": text, "likes": 3}}) + "\n" for text in texts)


def recipes(rng: random.Random) -> str:
    """Blocks of a title and a few lines, a blank line between two."""
    blocks = [
        f"Soup {n}\n"
        + "".join(f"- {rng.randint(1, 9)} {rng.choice(WORDS)}\n" for _ in range(rng.randint(2, 6)))
        for n in range(1500)
    ]
    return "\n".join(blocks)


def chat(rng: random.Random) -> str:
    """Two people in turn, a line each."""
    lines = (f"{rng.choice(('Anna', 'Ben'))}: {' '.join(rng.choices(WORDS, k=5))}" for _ in range(3000))
    return "\n".join(lines)


def tunes(rng: random.Random) -> str:
    """Short tunes in ABC notation, a blank line between two."""
    bars = ("".join(rng.choices("CDEFGABcdefgab", k=8)) + "|" for _ in range(6000))
    return "\n\n".join(f"X:{n}\nK:G\n{''.join(islice(bars, 8))}" for n in range(700))


def thai(rng: random.Random) -> str:
    """Words of Thai without spaces, a line each: letters with marks above and below."""
    words = ("สวัสดี", "ครับ", "น้ำ", "ปลา", "ผู้", "ใหญ่", "บ้าน", "ที่", "นี่", "เด็ก")
    return "\n".join("".join(rng.choices(words, k=6)) for _ in range(3000))


def hindi(rng: random.Random) -> str:
    """Words of Hindi: conjuncts and vowel signs."""
    words = ("नमस्ते", "पानी", "किताब", "विद्यालय", "मित्र", "घर", "और", "है", "में", "बच्चा")
    return "\n".join(" ".join(rng.choices(words, k=5)) for _ in range(3000))


def decomposed(rng: random.Random) -> str:
    """Accented words in normalization form D."""
    words = ("été", "noël", "garçon", "über", "mañana", "façade", "là", "où")
    return unicodedata.normalize("NFD", "\n".join(" ".join(rng.choices(words, k=6)) for _ in range(3000)))


def chars(first: int, last: int, size: int = SIZE) -> Callable[[random.Random], str]:
    """A function that generates text of random characters with codes from first to last."""
    return lambda rng: "".join(chr(rng.randint(first, last)) for _ in range(size))


class Kind(NamedTuple):
    """How a corpus that is no plain text is read: the ending of its file, and options of `textgen train`."""

    ending: str = ".txt"
    options: tuple[str, ...] = ()


KINDS = {
    "names": Kind(options=("--documents", "line")),
    "names, bpe": Kind(options=("--documents", "line", "--tokenizer", "bpe")),
    "table": Kind(".csv", ("--field", "text")),
    "table with semicolons": Kind(".csv", ("--field", "text")),
    "table with tabs": Kind(".tsv", ("--field", "text")),
    "labelled table": Kind(".csv", ("--field", "text", "--label-field", "kind")),
    "records, some null": Kind(".jsonl", ("--field", "post.text")),
    "recipes": Kind(options=("--documents", "block")),
    "tunes": Kind(options=("--documents", "block")),
    "thai": Kind(options=("--documents", "line", "--tokenizer", "bpe")),
    "one name each": Kind(options=("--documents", "line", "--val-fraction", "0")),
}

CORPORA: dict[str, Callable[[random.Random], str]] = {
    "names": lambda rng: "\n".join(names(rng)),
    "names, bpe": lambda rng: "\n".join(names(rng)),
    "one name each": lambda rng: "\n".join(sorted(set(names(rng)))),
    "table": lambda rng: table(rng, ","),
    "table with semicolons": lambda rng: table(rng, ";"),
    "table with tabs": lambda rng: table(rng, "\t"),
    "labelled table": lambda rng: table(rng, ","),
    "records, some null": records,
    "recipes": recipes,
    "chat": chat,
    "tunes": tunes,
    "thai": thai,
    "hindi": hindi,
    "decomposed": decomposed,
    "Windows line ends": lambda rng: sentences(rng, SIZE).replace("\n", "\r\n"),
    "carriage returns": lambda rng: sentences(rng, SIZE).replace("\n", "\r"),
    "one character": lambda rng: "a" * SIZE,
    "two in turn": lambda rng: "ab" * (SIZE // 2),
    "only line breaks": lambda rng: "\n" * SIZE,
    "2 kB of sentences": lambda rng: sentences(rng, 2000),
    "200 characters": lambda rng: sentences(rng, 200),
    "30 characters": lambda rng: sentences(rng, 30),
    "one huge line": lambda rng: sentences(rng, 5 * SIZE).replace("\n", " "),
    "base64": lambda rng: base64.b64encode(rng.randbytes(SIZE)).decode(),
    "dna": lambda rng: "".join(rng.choices("ACGT", k=SIZE)),
    "bits": lambda rng: "".join(rng.choices("01", k=SIZE)),
    "chinese": chars(0x4E00, 0x4F00),
    "many ideographs": chars(0x4E00, 0x9FFF),
    "emoji": chars(0x1F600, 0x1F64F),
    "printable at random": chars(0x20, 0x7E),
    "one rare character": one_rare_character,
    "counter": lambda rng: "".join(f"{number}\n" for number in range(20_000)),
    "python source": python_source,
    "sorted words": word_list,
    "long repeats": long_repeats,
    "easy, then hard": easy_then_hard,
    "spaces, then a word": lambda rng: "".join(" " * rng.randint(50, 2000) + "word" for _ in range(100)),
}

# Options of `textgen train`. Each corpus is trained on with the first; the others take turns.
VARIANTS = (
    (),
    ("--cell", "gru", "--seed", "2"),
    ("--tokenizer", "byte", "--seed", "3"),
    ("--tokenizer", "bpe", "--seed", "4"),
    ("--cell", "rnn", "--seed", "5"),
    ("--tokenizer", "word", "--seed", "6"),
    ("--documents", "line", "--seed", "7"),
)


class Row(NamedTuple):
    """The result of one run; losses in nats per token, NaN where there is none."""

    corpus: str
    options: str
    guess: float
    best: float
    last: float
    rollbacks: int
    diverged: str  # the reason; "" if it did not


def plan(names: list[str], count: int) -> list[tuple[str, tuple[str, ...]]]:
    """`count` runs: each corpus with the defaults, then again with the variants in turn."""
    runs = [(name, VARIANTS[0]) for name in names]
    others = VARIANTS[1:]
    again = (
        (name, others[(index + turn) % len(others)])
        for turn in range(len(others))
        for index, name in enumerate(names)
    )
    return list(islice([*runs, *again], count))


def judge(
    name: str, options: tuple[str, ...], metrics: list[dict[str, Any]], model_vocab_size: int, error: str
) -> Row:
    """The row of a run, from its metrics and its error message ("": none)."""
    train = [record["nats_per_token"] for record in metrics if record["kind"] == "train"]
    val = [record["nats_per_token"] for record in metrics if record["kind"] == "val"]
    guess = math.log(model_vocab_size)
    diverged = error
    if not error and train[-1] > guess + ABOVE_GUESS:
        diverged = f"training loss {train[-1]:.2f}, above a uniform guess"
    elif not error and train[-1] > min(train) + ABOVE_LOWEST:
        diverged = f"training loss {train[-1]:.2f}, above the lowest, {min(train):.2f}"
    rollbacks = sum(record["kind"] == "rollback" for record in metrics)
    best, last = (min(val), val[-1]) if val else (math.nan, math.nan)
    return Row(name, " ".join(options), guess, best, last, rollbacks, diverged)


def train(name: str, options: tuple[str, ...], text: str, budget: list[str], folder: Path) -> Row:
    """Train on one text, in its own process."""
    kind = KINDS.get(name, Kind())
    corpus, run = folder / f"corpus{kind.ending}", folder / "run"
    corpus.write_text(text, encoding="utf-8", newline="")
    # A variant takes the place of the same option of the corpus; records have documents of their own.
    taken = [*zip(options[::2], options[1::2], strict=True)]
    if kind.ending != ".txt":
        taken = [(option, value) for option, value in taken if option != "--documents"]
    given = dict([*zip(kind.options[::2], kind.options[1::2], strict=True), *taken])
    options = tuple(part for pair in given.items() for part in pair)
    command = [sys.executable, "-m", "textgen", "train", str(corpus), "--run", str(run)]
    process = subprocess.run(
        [*command, *options, *budget, "--cache-dir", str(folder / "cache")],
        capture_output=True,
        text=True,
        check=False,
    )
    error = "" if process.returncode == 0 else (process.stderr.strip().splitlines() or ["no message"])[-1]
    model_vocab_size = 1
    if run.exists():
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))
        model_vocab_size = config["model"]["model_vocab_size"]
    return judge(name, options, json_lines(run / "metrics.jsonl"), model_vocab_size, error)


def line_of(row: Row) -> str:
    """A row as a line of the Markdown table."""
    return (
        f"| {row.corpus} | {row.options} | {row.guess:.3f} | {row.best:.3f} | {row.last:.3f} "
        f"| {row.rollbacks} | {row.diverged or 'no'} |"
    )


@click.command(cls=Script, help=__doc__)
@click.option("--minutes", type=float, default=0.1, show_default=True, help="Minutes of each run.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps of each run, instead of minutes.")
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Number of runs.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(CORPORA)), help="Only this one; can be repeated."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the corpora.")
def main(minutes: float, steps: int | None, runs: int, only: tuple[str, ...], seed: int) -> None:
    """Run the trainings and print the table."""
    end_together()
    budget = ["--minutes", str(minutes)] if steps is None else ["--steps", str(steps)]
    click.echo("| corpus | options | log V | best validation | last validation | rollbacks | diverged |")
    click.echo("|---|---|---|---|---|---|---|")
    rows: list[Row] = []
    for name, options in plan(list(only) or list(CORPORA), runs):
        text = CORPORA[name](random.Random(f"{seed} {name}"))
        with tempfile.TemporaryDirectory() as folder:
            rows.append(train(name, options, text, budget, Path(folder)))
        click.echo(line_of(rows[-1]))
    diverged = sum(bool(row.diverged) for row in rows)
    rolled_back = sum(row.rollbacks > 0 for row in rows)
    click.echo(f"\n{diverged} of {len(rows)} runs diverged; {rolled_back} went back at least once.")
    if diverged:
        sys.exit(1)


if __name__ == "__main__":
    main()
