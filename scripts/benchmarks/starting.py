"""Start-up, in seconds from the start of the process, against Python or `import torch` alone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.encoding import english
from benchmarks.measure import Comparison, Goal, alternate
from textgen.cli import COMMANDS

HELP_GOAL = Goal("difference", 0.15, at_most=True)
TRAIN_GOAL = Goal("difference", 1.0, at_most=True)

# The first step begins when training reads its first batch; the process ends there.
UP_TO_THE_FIRST_STEP = """
import os, sys
from textgen.text.batches import SequenceBatches
SequenceBatches.__next__ = lambda self: os._exit(42)
from textgen.cli import main
main()
"""
IMPORT_TORCH = "import os, torch; os._exit(42)"


def measure(*, rounds: int, only: str) -> Iterator[Comparison]:
    """Measure every case whose name contains `only`."""
    for arguments in (["--help"], *([command, "--help"] for command in COMMANDS)):
        case = " ".join(["textgen", *arguments])
        if only in case:
            show_help = partial(_run, "-m", "textgen", *arguments)
            ours, theirs = alternate(show_help, partial(_run, "-c", "pass"), rounds=3 * rounds)
            yield Comparison(case, "python -c pass", "s", ours, theirs, HELP_GOAL)
    with tempfile.TemporaryDirectory() as name:
        corpus = Path(name) / "corpus.txt"
        corpus.write_text(english(1e6), encoding="utf-8")
        for case, options, goal in (
            ("textgen train, 1 MB, to the first step", [], TRAIN_GOAL),
            ("textgen train --steps 1, to the first step", ["--steps", "1"], TRAIN_GOAL),
            ("textgen train --tokenizer bpe, to the first step", ["--tokenizer", "bpe"], None),
        ):
            if only in case:
                yield _training(case, corpus, options, goal, rounds)


def _training(case: str, corpus: Path, options: list[str], goal: Goal | None, rounds: int) -> Comparison:
    """A new run with a new cache folder each time, so that the text is encoded each time."""
    folders = (corpus.parent / "-".join([*options, str(number)]) for number in count())

    def train() -> None:
        folder = next(folders)
        places = ["--run", str(folder / "run"), "--cache-dir", str(folder / "cache")]
        _run("-c", UP_TO_THE_FIRST_STEP, "train", str(corpus), *places, *options, exit_code=42)

    ours, theirs = alternate(train, partial(_run, "-c", IMPORT_TORCH, exit_code=42), rounds=rounds)
    return Comparison(case, "import torch", "s", ours, theirs, goal)


def _run(*arguments: str, exit_code: int = 0) -> None:
    """Run Python with these arguments. Raises RuntimeError for any other exit code."""
    finished = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if finished.returncode != exit_code:
        raise RuntimeError(f"exit code {finished.returncode}: {finished.stderr}")
