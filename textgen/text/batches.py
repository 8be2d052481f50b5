"""Batches for truncated backpropagation through time, cut from sequences of tokens that are read in parallel.

N tokens, in the order of the epoch (shuffle.py), make N-1 pairs of an input and its target, the next token.
An epoch treats the pairs as a ring, starts at a random offset and cuts batch_size sequences of equal length;
a batch is one window of each:

    pairs        offset ┐          ┌ the wrap: the end of the text, followed by its beginning
        ... ·  ·  ·  ·  ▼
    sequence 0          ├─ window 0 ─┼─ window 1 ─┼─ 2 ─┼─ window 3 ─┼─ 4 ─┤
    sequence 1          ├─ window 0 ─┼─ window 1 ─┼─ 2 ─┼─ window 3 ─┼─ 4 ─┤    the wrap is in this sequence,
    sequence 2          ├─ window 0 ─┼─ window 1 ─┼─ 2 ─┼─ window 3 ─┼─ 4 ─┤    so window 2 ends there in all
    left out            fewer than batch_size pairs, different ones each epoch

Window k+1 of a sequence continues window k, so the state after one window is the initial state of the next:
truncated backpropagation through time (Williams and Peng 1990). The state is zero at the start of an epoch.
No pair occurs twice in an epoch, and no window crosses the wrap.

No gradient flows across the boundary between two windows, so the boundaries should not always fall in the
same places. The offset of each epoch moves them; optionally the window lengths vary too (Merity, Keskar &
Socher, "Regularizing and optimizing LSTM language models", 2018). Offset and lengths are drawn from seed and
epoch alone, so that two numbers, epoch and position, are enough to resume.

Shapes: B batch_size (one row per sequence), T window length, V model vocabulary.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from textgen.errors import CorpusError
from textgen.text.model_vocab import ModelVocab
from textgen.text.shuffle import StoredOrder, TokenSource
from textgen.text.stored_tokens import TokenArray

_MIN_WINDOWS_PER_EPOCH = 8
_SHORT_WINDOW_SHARE = 0.05  # of the windows have lengths drawn around half of seq_len
_LENGTH_DEVIATION = 5 / 70  # standard deviation of a window's length, as a share of seq_len


@dataclass(frozen=True)
class Rows:
    """The sequences start, start + 1, ..., stop - 1 of a batch of `total`."""

    start: int
    stop: int
    total: int

    @classmethod
    def whole(cls, total: int) -> Rows:
        """All sequences of a batch."""
        return cls(0, total, total)

    def __len__(self) -> int:
        return self.stop - self.start

    def divided(self, parts: int) -> list[Rows]:
        """Consecutive parts of these rows, none more than one row longer than another.

        >>> [(part.start, part.stop) for part in Rows.whole(5).divided(2)]
        [(0, 2), (2, 5)]
        """
        bounds = [self.start + len(self) * part // parts for part in range(parts + 1)]
        return [Rows(start, stop, self.total) for start, stop in itertools.pairwise(bounds)]


@dataclass(frozen=True, eq=False)
class Batch:
    """One window of every sequence: inputs and targets, both (B, T) int64.

    starts_epoch: the first batch of an epoch, to be read from a zero state. starts_document: the sequences
    (B,) bool whose window begins with a document, to be read from a zero state too, as a text is read that
    stands alone; None where the text is read as one. part: the rows of a larger batch that these are; None:
    the whole batch is here.
    """

    inputs: np.ndarray
    targets: np.ndarray
    starts_epoch: bool
    starts_document: np.ndarray | None = None
    part: Rows | None = None

    @property
    def rows(self) -> Rows:
        """Which sequences of the whole batch these are."""
        return self.part or Rows.whole(len(self.inputs))

    @property
    def total_tokens(self) -> int:
        """The number of targets in the whole batch."""
        return self.rows.total * int(self.targets.shape[1])


@dataclass(frozen=True)
class _Epoch:
    """The layout of an epoch on the ring of pairs.

    offset: the first pair of sequence 0. pairs_per_sequence: the length of a sequence. window_starts: where
    windows begin within a sequence, in pairs, ascending.
    """

    offset: int
    pairs_per_sequence: int
    window_starts: np.ndarray


class SequenceBatches(Iterator[Batch]):
    """An endless iterator over batches, epoch after epoch, from token ids (N,) of any integer type.

    tokens: an array, which is read in its order in every epoch, or a source that has an order of its own.
    vocab maps token ids to model ids; None leaves the ids unchanged. Where a document has a label, the input
    is the model id of the start token with that label. vary_seq_len: window lengths are drawn around seq_len,
    a few of them around half of it, instead of all being seq_len. part: the sequences to read, when other
    processes read the others of the batch; None: all.

    Raises CorpusError when there are fewer pairs than sequences.
    """

    def __init__(
        self,
        tokens: TokenArray | TokenSource,
        vocab: ModelVocab | None,
        batch_size: int,
        seq_len: int,
        seed: int,
        *,
        vary_seq_len: bool = False,
        part: Rows | None = None,
    ) -> None:
        self._source = StoredOrder(tokens) if isinstance(tokens, TokenArray) else tokens
        if len(self._source) <= batch_size:
            raise CorpusError(
                f"{len(self._source)} tokens are too few for batch_size={batch_size}; at least "
                f"{batch_size + 1} are needed. Use a smaller --batch-size."
            )
        self._vocab = vocab
        self._batch_size = batch_size
        self._seq_len = seq_len
        self._seed = seed
        self._vary_seq_len = vary_seq_len
        self._part = part
        self._rows = part or Rows.whole(batch_size)
        self.restore({"epoch": 0, "position": 0})

    @property
    def place(self) -> dict[str, int]:
        """Where the next batch begins: epoch, and position within a sequence in pairs. JSON serializable."""
        return {"epoch": self._epoch, "position": self._position}

    def restore(self, place: Mapping[str, int]) -> None:
        """Continue from a `place` of an iterator over the same tokens with the same sizes and seed.

        Raises ValueError for a place that is not in the text.
        """
        pairs_per_sequence = (len(self._source) - 1) // self._batch_size
        if place["epoch"] < 0 or not 0 <= place["position"] < pairs_per_sequence:
            raise ValueError(f"{dict(place)} is not a place in the text")
        self._epoch, self._position = place["epoch"], place["position"]
        self._layout = self._draw_layout(self._epoch)
        self._source.start_epoch(self._epoch, len(self._rows))

    @property
    def tokens_per_epoch(self) -> int:
        """The number of targets in an epoch."""
        return (len(self._source) - 1) // self._batch_size * self._batch_size

    def _draw_layout(self, epoch: int) -> _Epoch:
        num_pairs = len(self._source) - 1
        pairs_per_sequence = num_pairs // self._batch_size
        rng = np.random.default_rng([self._seed, epoch])
        offset = int(rng.integers(num_pairs))
        sequence_of_wrap, wrap = divmod(num_pairs - offset, pairs_per_sequence)
        if sequence_of_wrap >= self._batch_size:  # the wrap is among the pairs that are left out
            wrap = 0
        before = self._draw_window_starts(wrap, rng)
        after = wrap + self._draw_window_starts(pairs_per_sequence - wrap, rng)
        return _Epoch(offset, pairs_per_sequence, np.concatenate([before, after]))

    def _draw_window_starts(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """Where windows begin in a part of a sequence, `length` pairs long, that no window may leave."""
        if not self._vary_seq_len:
            return np.arange(0, length, self._seq_len)
        # No window is shorter than a quarter of seq_len, so this many are enough.
        shortest = max(1, self._seq_len // 4)
        num_drawn = length // shortest + 1
        means = np.where(rng.random(num_drawn) < _SHORT_WINDOW_SHARE, self._seq_len / 2, self._seq_len)
        lengths = np.rint(rng.normal(means, _LENGTH_DEVIATION * self._seq_len)).astype(np.int64)
        # Nor longer than one and a half times seq_len: memory is planned for windows of about seq_len.
        lengths = lengths.clip(shortest, max(1, self._seq_len * 3 // 2))
        starts = np.cumsum(lengths) - lengths
        return starts[starts < length]

    def __next__(self) -> Batch:
        layout = self._layout
        index = int(np.searchsorted(layout.window_starts, self._position, side="right"))
        last = index == len(layout.window_starts)
        end = layout.pairs_per_sequence if last else int(layout.window_starts[index])
        sequences = np.arange(self._rows.start, self._rows.stop)  # (B,)
        along_ring = layout.offset + layout.pairs_per_sequence * sequences + self._position
        first_pairs = along_ring % (len(self._source) - 1)  # (B,)
        # Pair p is tokens p and p+1, so a window of T pairs is T+1 tokens.
        ids, labels = self._source.gather(first_pairs, end - self._position + 1)  # (B, T+1)
        model_ids = ids.astype(np.int64) if self._vocab is None else self._vocab.to_model_ids(ids)
        inputs = model_ids[:, :-1]
        if labels is not None:
            assert self._vocab is not None
            inputs = self._vocab.with_labels(inputs, labels[:, :-1])
        end_of_text = self._source.end_of_text
        batch = Batch(
            inputs,
            model_ids[:, 1:],
            starts_epoch=self._position == 0,
            starts_document=None if end_of_text is None else ids[:, 0] == end_of_text,
            part=self._part,
        )
        if last:
            self.restore({"epoch": self._epoch + 1, "position": 0})
        else:
            self._position = end
        return batch


def fit_batches(num_tokens: int, batch_size: int, seq_len: int) -> tuple[int, int]:
    """Shrink batch_size and seq_len until an epoch over num_tokens has at least a few steps.

    Whichever is larger is halved first, counting 2 tokens of seq_len as one of batch_size. Returns batch_size
    and seq_len, unchanged for a corpus that is large enough.

    Raises CorpusError for fewer than 2 tokens.
    """
    num_pairs = num_tokens - 1
    if num_pairs < 1:
        raise CorpusError(
            f"{num_tokens} tokens are too few to train on: at least 2 are needed. Add more text."
        )
    while batch_size * seq_len * _MIN_WINDOWS_PER_EPOCH > num_pairs and (batch_size > 1 or seq_len > 1):
        if seq_len > 2 * batch_size or batch_size == 1:
            seq_len = max(1, seq_len // 2)
        else:
            batch_size //= 2
    return batch_size, seq_len
