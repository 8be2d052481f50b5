"""Encoding text to token ids, MB of UTF-8 per second, against tutorial code and the `tokenizers` library."""

from __future__ import annotations

import multiprocessing
import random
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Comparison, Goal, alternate
from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus
from textgen.text.documents import PIECE_CHARACTERS
from textgen.text.store import TokenStore
from textgen.text.tokenizer import Tokenizer

MEGABYTE = 1e6
STATUS = Path("/proc/self/status")  # Linux only
LATIN = "etaoinshrdlucmfwypvbgkjqxz"
HAN = "".join(map(chr, range(0x4E00, 0x4E00 + 1500)))
CHARACTER_GOAL, BYTE_GOAL = Goal("ours", 100), Goal("ours", 300)
LIBRARY_GOAL = Goal("ratio", 0.9)
MEMORY_GOAL = Goal("ours", 300, at_most=True)


def measure(*, rounds: int, only: str) -> Iterator[Comparison]:
    """Measure every case whose name contains `only`."""
    cases: dict[str, Callable[[str, int], Comparison]] = {
        "char, English-like": lambda case, rounds: _characters(case, english(20e6), rounds),
        "char, Chinese-like": lambda case, rounds: _characters(case, chinese(20e6), rounds),
        "byte, English-like": lambda case, rounds: _bytes(case, english(20e6), rounds),
        "byte, Chinese-like": lambda case, rounds: _bytes(case, chinese(20e6), rounds),
        "bpe, English-like": lambda case, rounds: _subwords(case, english(8e6), rounds),
        "bpe, Chinese-like": lambda case, rounds: _subwords(case, chinese(8e6), rounds),
        "char, from 100 MB file to files of ids": _store,
    }
    if STATUS.exists():
        cases["char, memory for 50 MB"] = lambda case, rounds: _memory(case, "char")
        cases["bpe, memory for 50 MB"] = lambda case, rounds: _memory(case, "bpe")
    for case, compare in cases.items():
        if only in case:
            yield compare(case, rounds)


def english(num_bytes: float) -> str:
    """ASCII text: lines of words separated by spaces, a few very frequent and most rare."""
    return _text(int(num_bytes), LATIN, longest=9, gaps=(" ", ", ", ".\n"))


def chinese(num_bytes: float) -> str:
    """Lines of three-byte characters that form words, without spaces."""
    return _text(int(num_bytes / 3), HAN, longest=3, gaps=("", "，", "。\n"))


def _text(num_characters: int, letters: str, *, longest: int, gaps: tuple[str, ...]) -> str:
    rng = random.Random(0)
    frequency = [1 / rank for rank in range(1, len(letters) + 1)]
    words = ["".join(rng.choices(letters, frequency, k=rng.randint(1, longest))) for _ in range(20_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]  # Zipf's law
    drawn = rng.choices(words, weights, k=400_000)
    text = "".join(map(str.__add__, drawn, rng.choices(gaps, (10, 1, 1), k=len(drawn))))
    return (text * (num_characters // len(text) + 1))[:num_characters]


def _pieces(text: str, size: int = PIECE_CHARACTERS) -> list[str]:
    """A text in pieces, as a corpus yields it."""
    return [text[start : start + size] for start in range(0, len(text), size)]


def _exhaust(stream: Iterable[object]) -> None:
    for _ in stream:
        pass


def _speed(case: str, against: str, text: str, ours: float, theirs: float, goal: Goal | None) -> Comparison:
    """A comparison in megabytes per second, from the seconds that each takes for a text."""
    megabytes = len(text.encode()) / MEGABYTE
    return Comparison(case, against, "MB/s", megabytes / ours, megabytes / theirs, goal)


def _characters(case: str, text: str, rounds: int) -> Comparison:
    pieces = _pieces(text)
    tokenizer = Tokenizer.train("char", pieces)
    ids = {character: number for number, character in enumerate(sorted(set(text)))}
    ours, theirs = alternate(
        lambda: _exhaust(tokenizer.encode_stream(pieces)),
        lambda: [ids[character] for character in text],
        rounds=rounds,
    )
    return _speed(case, "[stoi[c] for c in text]", text, ours, theirs, CHARACTER_GOAL)


def _bytes(case: str, text: str, rounds: int) -> Comparison:
    pieces = _pieces(text)
    tokenizer = Tokenizer.train("byte", pieces)
    ours, theirs = alternate(
        lambda: _exhaust(tokenizer.encode_stream(pieces)), lambda: list(text.encode()), rounds=rounds
    )
    return _speed(case, "list(text.encode())", text, ours, theirs, BYTE_GOAL)


def _subwords(case: str, text: str, rounds: int) -> Comparison:
    """Against the library alone, on all cores, in the chunk size that is fastest; its ids are not read."""
    pieces = _pieces(text)
    tokenizer = Tokenizer.train("bpe", pieces)
    library = tokenizer._library
    lines = text.splitlines(keepends=True)
    calls = [
        partial(library.encode_batch, lines),
        partial(library.encode_batch, _pieces(text, 2**11)),
        partial(library.encode_batch_fast, lines),
        *(partial(library.encode_batch_fast, _pieces(text, 2**power)) for power in (10, 11, 12, 14, 16)),
    ]
    trial = alternate(*calls, rounds=1)
    best = calls[trial.index(min(trial))]
    ours, theirs = alternate(lambda: _exhaust(tokenizer.encode_stream(pieces)), best, rounds=rounds)
    return _speed(case, "encode_batch, best chunks", text, ours, theirs, LIBRARY_GOAL)


def _store(case: str, rounds: int) -> Comparison:
    """From a text file to a file of ids: the vocabulary, hashing, counting words, encoding, writing."""
    text = english(100e6)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "corpus.txt"
        path.write_text(text, encoding="utf-8")
        made = iter(range(10**6))

        def ours() -> None:
            corpus = Corpus(DataConfig(corpus=(str(path),)))
            tokenizer = Tokenizer.train("char", corpus.stream("train"))
            TokenStore.open_or_build(corpus, tokenizer, folder / f"cache-{next(made)}")

        def theirs() -> None:
            data = path.read_text(encoding="utf-8")
            ids = {character: number for number, character in enumerate(sorted(set(data)))}
            cut = int(len(data) * 0.9)
            for part in (data[:cut], data[cut:]):
                np.array([ids[character] for character in part], np.uint16).tofile(folder / "theirs.bin")

        ours_seconds, theirs_seconds = alternate(ours, theirs, rounds=min(rounds, 3))
    return _speed(case, "read, loop, tofile", text, ours_seconds, theirs_seconds, None)


def _memory(case: str, kind: str) -> Comparison:
    """Anonymous memory that encoding takes beyond the text's own, each in its own process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as processes:
        ours, theirs = (processes.submit(_growth, kind, who).result() for who in ("ours", "theirs"))
    against = {"char": "[stoi[c] for c in text]", "bpe": "encode_batch of all lines"}[kind]
    return Comparison(case, against, "MB", ours, theirs, MEMORY_GOAL)


def _growth(kind: str, who: str) -> float:
    """Megabytes by which anonymous memory grows while a text is encoded, at its peak."""
    text = english(50e6)
    pieces = _pieces(text)
    tokenizer = Tokenizer.train(kind, pieces[:16])
    ids = {character: number for number, character in enumerate(sorted(set(text)))}
    work: dict[tuple[str, str], Callable[[], object]] = {
        ("char", "theirs"): lambda: [ids[character] for character in text],
        ("bpe", "theirs"): lambda: tokenizer._library.encode_batch(text.splitlines(keepends=True)),
    }
    encode = work.get((kind, who), lambda: _exhaust(tokenizer.encode_stream(pieces)))
    before, done, seen = _anonymous_megabytes(), threading.Event(), [0.0]

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(_anonymous_megabytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    encode()
    done.set()
    watcher.join()
    return max(seen) - before


def _anonymous_megabytes() -> float:
    """This process's memory that no file backs, as Linux reports it."""
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MEGABYTE for line in lines if "RssAnon" in line)
