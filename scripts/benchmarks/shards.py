"""Reading batches from a store of many shards and from one of a single file, in per cent of a training step.

The step is that of an LSTM of 256 units, 32 x 64 tokens; each batch is of 32 places that are spread over all
shards, as in training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import Comparison, Goal, alternate
from benchmarks.training import new_trainer
from textgen.errors import CorpusError
from textgen.system.memory import keep_memory
from textgen.text.batches import SequenceBatches
from textgen.text.manifest import shard_of
from textgen.text.shuffle import DocumentOrder
from textgen.text.stored_tokens import StoredTokens

SHARDS, SHARD_TOKENS = 200, 2**18
END_OF_TEXT, DOCUMENT_TOKENS = 0, 200
BATCHES = 20  # for one timing


def measure(*, rounds: int, only: str) -> Iterator[Comparison]:
    """Measure every case whose name contains `only`."""
    keep_memory()
    cases = {
        f"{SHARDS} shards, text in its order": False,
        f"{SHARDS} shards, documents shuffled": True,
    }
    for case, shuffled in cases.items():
        if only in case:
            yield _against_one_file(case, shuffled, rounds)


def _against_one_file(case: str, shuffled: bool, rounds: int) -> Comparison:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        ids = rng.integers(1, 200, SHARDS * SHARD_TOKENS).astype(np.uint16)
        ids[rng.integers(0, len(ids), len(ids) // DOCUMENT_TOKENS)] = END_OF_TEXT
        readers = [
            _batches(_store(folder, f"{number}-of-{count}", ids, count), shuffled)
            for number, count in enumerate((SHARDS, 1))
        ]
        trainer = new_trainer(name, hidden_size=256, batch_size=32, seq_len=64, cell="lstm")
        many, one, step = alternate(
            *(partial(_read, batches) for batches in readers),
            lambda: [trainer.advance() for _ in range(BATCHES)],
            rounds=rounds,
        )
    shares = 100 * many / step, 100 * one / step
    return Comparison(case, "one file", "% of a step", *shares, Goal("difference", 2, at_most=True))


def _store(folder: Path, name: str, ids: np.ndarray, count: int) -> StoredTokens:
    """The ids in so many files, all of which have been checked, as they are after the first epoch."""
    shards = []
    for number, part in enumerate(np.split(ids, count)):
        path = folder / f"{name}-{number}.bin"
        part.tofile(path)
        shards.append(shard_of(path, ids.dtype))
    stored = StoredTokens(
        folder.joinpath, shards, ids.dtype, damaged=lambda path, error: CorpusError(f"{path}: {error}")
    )
    for start in range(0, len(stored), SHARD_TOKENS):
        stored[start : start + SHARD_TOKENS]
    return stored


def _batches(tokens: StoredTokens, shuffled: bool) -> SequenceBatches:
    source = DocumentOrder(tokens, END_OF_TEXT, seed=0) if shuffled else tokens
    return SequenceBatches(source, None, 32, 64, seed=0)


def _read(batches: SequenceBatches) -> None:
    for _ in range(BATCHES):
        next(batches)
