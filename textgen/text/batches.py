"""Lanes: how a long row of tokens becomes batches whose state can be carried on.

N tokens are N-1 pairs of an input and its target, the next token. An epoch turns the ring of pairs to an
offset drawn for it and lays batch_size lanes of equal length along it; a batch is one window of every lane:

    pairs        offset ┐          ┌ the wrap: the text's end, then its beginning
        ... ·  ·  ·  ·  ▼
    lane 0              ├─ window 0 ─┼─ window 1 ─┼─ 2 ─┼─ window 3 ─┼─ 4 ─┤
    lane 1              ├─ window 0 ─┼─ window 1 ─┼─ 2 ─┼─ window 3 ─┼─ 4 ─┤    the wrap falls into this lane,
    lane 2              ├─ window 0 ─┼─ window 1 ─┼─ 2 ─┼─ window 3 ─┼─ 4 ─┤    so window 2 ends there for all
    left out            fewer than batch_size pairs, others each epoch

Window k+1 of a lane continues window k, so the state that left the one may enter the other: truncated
backpropagation through time (Williams and Peng 1990). The state is zero at the start of an epoch. No pair
comes twice in an epoch; no window runs across the wrap, where the text's beginning follows on its end.

Windows that all have one length would cut the text at few places, and the gradient never reaches across a
cut. An offset for each epoch moves the cuts; on request their distances vary too (Merity, Keskar & Socher,
"Regularizing and optimizing LSTM language models", 2018). They are drawn with the epoch's offset, so that a
place in it stays two numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from textgen.errors import CorpusError
from textgen.text.model_vocab import ModelVocab

_MIN_WINDOWS_PER_EPOCH = 8
_SHORT_WINDOWS = 0.05  # of the windows are drawn around half of seq_len
_DEVIATION = 5 / 70  # of a window's length, as a share of seq_len


@dataclass(frozen=True, eq=False)
class Batch:
    """One window of every lane: inputs and targets (B, T) int64. starts_epoch: to be read from zero state."""

    inputs: np.ndarray
    targets: np.ndarray
    starts_epoch: bool


@dataclass(frozen=True)
class _Epoch:
    """How an epoch lies on the ring: its first pair, the length of a lane, where in a lane windows begin."""

    offset: int
    lane_length: int
    window_starts: np.ndarray


class StreamBatches(Iterator[Batch]):
    """Batches without end, from tokens (N,) of any integer type.

    vocab turns token ids into model ids; None leaves them as they are.

    vary_seq_len: the windows' lengths are drawn around seq_len, one in 20 around half of it.

    Raises CorpusError when there is not one pair for each lane.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        vocab: ModelVocab | None,
        batch_size: int,
        seq_len: int,
        seed: int,
        *,
        vary_seq_len: bool = False,
    ) -> None:
        if len(tokens) <= batch_size:
            raise CorpusError(
                f"{len(tokens)} tokens are too few for batch_size={batch_size}; at least {batch_size + 1} "
                "are needed. Use a smaller --batch-size."
            )
        self._tokens = np.asarray(tokens)  # a memmap is slower to index than the array it is
        self._vocab = vocab
        self._batch_size = batch_size
        self._seq_len = seq_len
        self._seed = seed
        self._vary_seq_len = vary_seq_len
        self.restore({"epoch": 0, "position": 0})

    @property
    def place(self) -> dict[str, int]:
        """Where the next batch is: its epoch, and how far into the lanes. Can be written as JSON."""
        return {"epoch": self._epoch, "position": self._position}

    def restore(self, place: Mapping[str, int]) -> None:
        """Go to a place that `place` gave, in the same tokens with the same sizes and seed."""
        self._epoch, self._position = place["epoch"], place["position"]
        self._layout = self._lay_out(self._epoch)

    @property
    def tokens_per_epoch(self) -> int:
        """How many targets an epoch has."""
        return (len(self._tokens) - 1) // self._batch_size * self._batch_size

    def _lay_out(self, epoch: int) -> _Epoch:
        num_pairs = len(self._tokens) - 1
        lane_length = num_pairs // self._batch_size
        rng = np.random.default_rng([self._seed, epoch])
        offset = int(rng.integers(num_pairs))
        lane_of_wrap, wrap = divmod(num_pairs - offset, lane_length)
        if lane_of_wrap >= self._batch_size:  # among the pairs that are left out
            wrap = 0
        before = self._cut(wrap, rng)
        after = wrap + self._cut(lane_length - wrap, rng)
        return _Epoch(offset, lane_length, np.concatenate([before, after]))

    def _cut(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """Where the windows of a piece of a lane begin."""
        if not self._vary_seq_len:
            return np.arange(0, length, self._seq_len)
        # None is shorter than a quarter of seq_len, so this many are enough.
        shortest = max(1, self._seq_len // 4)
        num_drawn = length // shortest + 1
        around = np.where(rng.random(num_drawn) < _SHORT_WINDOWS, self._seq_len / 2, self._seq_len)
        lengths = np.rint(rng.normal(around, _DEVIATION * self._seq_len)).astype(np.int64)
        # Nor longer than one and a half, for memory is planned for windows of about seq_len.
        lengths = lengths.clip(shortest, max(1, self._seq_len * 3 // 2))
        starts = np.cumsum(lengths) - lengths
        return starts[starts < length]

    def __next__(self) -> Batch:
        layout = self._layout
        index = int(np.searchsorted(layout.window_starts, self._position, side="right"))
        last = index == len(layout.window_starts)
        end = layout.lane_length if last else int(layout.window_starts[index])
        lanes = layout.offset + layout.lane_length * np.arange(self._batch_size) + self._position
        first_pairs = lanes % (len(self._tokens) - 1)
        # A pair p is tokens p and p+1, so a window of T pairs is T+1 tokens.
        ids = self._tokens[first_pairs[:, None] + np.arange(end - self._position + 1)]  # (B, T+1)
        read = ids.astype(np.int64) if self._vocab is None else self._vocab.to_model_ids(ids)
        batch = Batch(read[:, :-1], read[:, 1:], starts_epoch=self._position == 0)
        if last:
            self.restore({"epoch": self._epoch + 1, "position": 0})
        else:
            self._position = end
        return batch


def fit_batches(num_tokens: int, batch_size: int, seq_len: int) -> tuple[int, int]:
    """Shrink batch and window until a small corpus has some windows in an epoch, so that it takes some steps.

    The longer side is halved first, where 2 tokens of a window count as much as one lane.

    Raises CorpusError when there is not one pair of tokens.
    """
    num_pairs = num_tokens - 1
    if num_pairs < 1:
        raise CorpusError(
            f"{num_tokens} tokens are too few to train on: at least 2 are needed; give more text"
        )
    while batch_size * seq_len * _MIN_WINDOWS_PER_EPOCH > num_pairs and (batch_size > 1 or seq_len > 1):
        if seq_len > 2 * batch_size or batch_size == 1:
            seq_len = max(1, seq_len // 2)
        else:
            batch_size //= 2
    return batch_size, seq_len
