"""Counting in shards: the same counts, in bounded memory. What they are is tested in test_model.py."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from textgen.ngram import counting
from textgen.ngram.model import NGramModel


def text(vocab_size: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    tokens: np.ndarray = np.minimum(rng.geometric(0.1, size) - 1, vocab_size - 1)
    tokens[size // 2 :] = tokens[: size - size // 2]  # so that long n-grams occur again
    return tokens


@pytest.mark.parametrize(("name", "size"), [("_SHARD", 500), ("_SHARD", 1), ("_TABLE_BYTES", 0)])
@pytest.mark.parametrize("vocab_size", [30, 5000])
def test_shards_and_tables_of_any_size_give_the_same_counts(
    monkeypatch: pytest.MonkeyPatch, name: str, size: int, vocab_size: int
) -> None:
    tokens = text(vocab_size, 10_000)
    expected = NGramModel.train(tokens, vocab_size, 7, start_id=3).to_arrays()
    monkeypatch.setattr(counting, name, size)
    found = NGramModel.train(tokens, vocab_size, 7, start_id=3).to_arrays()
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


MEASURE = """
import resource
import numpy as np
from textgen.ngram.model import NGramModel

rng = np.random.default_rng(0)
tokens = np.empty({size}, np.uint8)
words = [rng.integers(0, 64, length, np.uint8) for length in rng.integers(2, 12, 20_000)]
place = 0
for word in np.minimum(rng.zipf(1.2, {size}) - 1, 19_999):
    piece = words[word][: {size} - place]
    tokens[place : place + len(piece)] = piece
    place += len(piece)
    if place == {size}:
        break
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
NGramModel.train(tokens, 64, 9)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
def test_counting_takes_bounded_memory() -> None:
    code = MEASURE.format(size=2_000_000)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kilobytes = int(run.stdout) // (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 250_000
