"""Scoring, characters per second on one CPU thread, against `evaluate`, which uses torch's layers.

Untrained networks with a vocabulary of 65 characters. "one text" carries the state over the whole text, so it
is read character by character; "lines" are scored separately, several at a time, as `textgen score --lines`
does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import torch

from benchmarks.measure import Comparison, Goal, alternate
from benchmarks.sampling import CHARACTERS, UNIT, make_model, make_tokenizer, our_engine
from textgen.evaluation.evaluate import evaluate
from textgen.evaluation.score import Scorer
from textgen.evaluation.scored_lines import score_each_line
from textgen.evaluation.summary import summarize
from textgen.models.language_model import LanguageModel

TEXT_CHARACTERS, LINE_CHARACTERS = 20_000, 50
GOALS = {256: Goal("ours", 20_000)}


def measure(*, rounds: int, only: str) -> Iterator[Comparison]:
    """Measure every case whose name contains `only`."""
    for cell in ("lstm", "gru"):
        for units in (128, 256, 512):
            for way, score in (("one text", _whole), ("lines", _by_line)):
                case = f"{cell}, {units} units, {way}"
                if only in case:
                    yield _compare(case, make_model(cell, units), score, GOALS.get(units), rounds)


def _compare(
    case: str,
    model: LanguageModel,
    score: Callable[[Scorer, str], None],
    goal: Goal | None,
    rounds: int,
) -> Comparison:
    text, tokenizer = _some_lines(), make_tokenizer()
    token_ids = tokenizer.encode(text)
    scorer = Scorer(our_engine(model), tokenizer)
    with _one_thread():
        ours, theirs = alternate(
            lambda: score(scorer, text),
            lambda: evaluate(model, token_ids, vocab_size=tokenizer.vocab_size, start_id=0),
            rounds=rounds,
        )
    return Comparison(case, "evaluate", UNIT, len(text) / ours, len(text) / theirs, goal)


def _whole(scorer: Scorer, text: str) -> None:
    summarize(scorer.read([text]))


def _by_line(scorer: Scorer, text: str) -> None:
    for _ in score_each_line(scorer, [text], "file"):
        pass


def _some_lines() -> str:
    """Random characters in lines of similar length."""
    rng = np.random.default_rng(0)
    letters = np.array(list(CHARACTERS.replace("\n", "")))
    lengths = rng.integers(LINE_CHARACTERS // 2, LINE_CHARACTERS * 3 // 2, TEXT_CHARACTERS // LINE_CHARACTERS)
    return "".join("".join(rng.choice(letters, length - 1)) + "\n" for length in lengths)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread in the block, as the engine does when it reads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
