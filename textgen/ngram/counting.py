"""The n-grams of a text and their counts, in memory that does not grow with the text beyond a limit.

The text is counted in shards: all n-grams that begin with the same few tokens. Within a shard, the places of
the text are sorted by the n-grams that begin there, so that equal n-grams of every length are adjacent.

Shapes: N tokens of the text, P places of a shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.ngram.tables import NUM_DISCOUNTS, Level, compact, discounts_of, smallest

MOST_TOKENS = 50_000_000  # that are counted of a longer text
_PIECES = 50  # how many pieces of a longer text are counted, evenly spread
_READ = 2**20  # tokens that are read at a time
_SHARD = 2**21  # places of a shard, except where more n-grams begin with one token


@dataclass(frozen=True)
class Text:
    """The tokens to count, and what share of the whole text they are.

    ids: (N,) in the smallest unsigned type; vocab_size stands for a break, which no n-gram reaches across.
    """

    ids: np.ndarray
    vocab_size: int
    share: float


@dataclass(frozen=True)
class Counts:
    """The n-grams of a text by length, those of one token first, and their discounts (order, 3).

    frequencies: for each length, how often each n-gram occurs; a level's own counts are those of Kneser-Ney.
    """

    levels: list[Level]
    frequencies: list[np.ndarray]
    discounts: np.ndarray


def gather(tokens: Any, vocab_size: int, limit: int = MOST_TOKENS) -> Text:
    """Read a text to count: an array (N,), anything of a length that is sliced to arrays, or an iterable of
    arrays. Of more than `limit` tokens, evenly spread pieces are taken.

    Raises IndexError for an id below 0, TypeError for ids that are not integers.
    """
    dtype = smallest(vocab_size)
    if hasattr(tokens, "__len__") and hasattr(tokens, "dtype"):
        pieces, total = _spread(tokens, limit), len(tokens)
        kept = [_compact(piece, vocab_size, dtype) for piece in pieces]
        return Text(_joined(kept, vocab_size, dtype), vocab_size, min(1.0, limit / total) if total else 1.0)
    return _thinned((_compact(piece, vocab_size, dtype) for piece in tokens), vocab_size, dtype, limit)


def _spread(tokens: Any, limit: int) -> Iterator[np.ndarray]:
    """The whole array a piece at a time, or evenly spread pieces with a break (an empty array) between."""
    size = len(tokens)
    count, length = (1, size) if size <= limit else (_PIECES, limit // _PIECES)
    for k in range(count):
        start = size * k // count
        if k:
            yield np.zeros(0, np.int64)
        for begin in range(start, start + length, _READ):
            yield np.asarray(tokens[begin : min(begin + _READ, start + length)])


def _thinned(pieces: Iterable[np.ndarray], vocab_size: int, dtype: Any, limit: int) -> Text:
    """Text of unknown length: blocks of it, of which every other is dropped whenever there are too many."""
    size = max(1, limit // (2 * _PIECES))
    kept: list[np.ndarray] = []
    total, stride = 0, 1
    for number, block in enumerate(_blocks(pieces, size, dtype)):
        if number % stride == 0:
            kept.append(block)
        total += len(block)
        if len(kept) > 2 * _PIECES:
            kept, stride = kept[::2], 2 * stride
    counted = sum(len(block) for block in kept)
    if stride > 1:
        kept = [part for block in kept for part in (np.zeros(0, dtype), block)][1:]
    return Text(_joined(kept, vocab_size, dtype), vocab_size, counted / total if total else 1.0)


def _blocks(pieces: Iterable[np.ndarray], size: int, dtype: Any) -> Iterator[np.ndarray]:
    """The same tokens in blocks of this size, the last one shorter."""
    waiting = np.zeros(0, dtype)
    for piece in pieces:
        waiting = np.concatenate([waiting, piece])
        while len(waiting) >= size:
            yield waiting[:size].copy()
            waiting = waiting[size:]
    if len(waiting):
        yield waiting


def _compact(piece: Any, vocab_size: int, dtype: Any) -> np.ndarray:
    piece = np.asarray(piece)
    if piece.ndim != 1 or piece.dtype.kind not in "iu":
        raise TypeError(f"tokens are an array of {piece.dtype} {piece.shape}; they must be integers (N,)")
    if piece.dtype.kind == "i" and piece.min(initial=0) < 0:
        raise IndexError(f"token id {piece.min()}: ids are 0 or more")
    ids: np.ndarray = np.minimum(piece, vocab_size).astype(dtype)
    return ids


def _joined(pieces: Sequence[np.ndarray], vocab_size: int, dtype: Any) -> np.ndarray:
    """Pieces one after another; an empty one is a break."""
    gap = np.array([vocab_size], dtype)
    return np.concatenate([piece if len(piece) else gap for piece in pieces] or [np.zeros(0, dtype)])


def count(text: Text, order: int, *, start_id: int | None, prune_from: int | None) -> Counts:
    """Count all n-grams of up to `order` tokens.

    start_id: the id after which a document begins; it is the first or the last token of an n-gram, never
    within one. prune_from: from this length on, n-grams that occur once are dropped; None keeps all.
    """
    ids = text.ids
    if start_id is not None and len(ids) and ids[0] != start_id:
        ids = np.concatenate([np.array([start_id], ids.dtype), ids])
    padded = np.concatenate([ids, np.full(order, text.vocab_size, ids.dtype)])  # (N + order,)
    shards = [
        _Shard(padded, places, order, text.vocab_size, start_id).count(prune_from)
        for places in _shards(ids, text.vocab_size)
    ]
    return _merged(shards, order)


def _shards(ids: np.ndarray, vocab_size: int) -> Iterator[np.ndarray]:
    """The places of all tokens but breaks, grouped by token, ascending; rare tokens share a group."""
    sizes = np.bincount(ids, minlength=vocab_size)[:vocab_size]
    first = total = 0
    for token in range(vocab_size):
        total += int(sizes[token])
        if token + 1 == vocab_size or total + int(sizes[token + 1]) > _SHARD:
            if total:
                yield np.flatnonzero((ids >= first) & (ids <= token)).astype(np.int32)
            first, total = token + 1, 0


@dataclass
class _Counted:
    """What a shard found of one length: its kept n-grams in order, and counts of counts of all."""

    tokens: np.ndarray
    counts: np.ndarray
    frequencies: np.ndarray
    children: np.ndarray
    dropped: np.ndarray
    counts_of_counts: np.ndarray


class _Shard:
    """Counts the n-grams that begin at some places of a text (P,)."""

    def __init__(
        self, padded: np.ndarray, places: np.ndarray, order: int, vocab_size: int, start_id: int | None
    ) -> None:
        self._padded, self._order, self._end, self._start_id = padded, order, vocab_size, start_id
        self._bits = int(vocab_size).bit_length()
        self._places = self._sorted(places)

    def _digits(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """The tokens of the n-gram at each place, plus 1, token by token; 0 after its end."""
        alive = np.ones(len(places), bool)
        for offset in range(self._order):
            tokens = self._padded[places + offset]
            alive &= tokens != self._end
            yield np.where(alive, tokens + 1, 0).astype(tokens.dtype)
            if offset and self._start_id is not None:
                alive &= tokens != self._start_id

    def _sorted(self, places: np.ndarray) -> np.ndarray:
        """The places in the order of their n-grams."""
        digits = self._digits(places)
        codes, used, remaining = np.zeros(len(places), np.int64), 0, self._order
        while True:
            fitting = min(remaining, max(1, (63 - used) // self._bits))
            for _ in range(fitting):
                codes <<= self._bits
                codes |= next(digits)
            remaining -= fitting
            order = np.argsort(codes)
            if not remaining:
                return places[order]
            ordered = codes[order]
            # The codes so far, numbered, leave room for more tokens.
            codes[order] = np.cumsum(np.diff(ordered, prepend=ordered[:1]) != 0)
            used = len(places).bit_length()

    def count(self, prune_from: int | None) -> list[_Counted]:
        """Each length in turn."""
        places = self._places
        left = np.where(places > 0, self._padded[places - 1], self._end)
        changed = np.zeros(len(places), bool)
        changed[:1] = True
        found: list[_Counted] = []
        parent = np.zeros(len(places), np.int32)  # of each place: the kept n-gram one token shorter
        for length, digit in enumerate(self._digits(places), 1):
            changed[1:] |= digit[1:] != digit[:-1]
            valid = np.flatnonzero(digit)
            heads = valid[changed[valid]]  # the first place of each n-gram
            number = np.cumsum(changed[valid], dtype=np.int32) - 1  # of each valid place: its n-gram
            frequencies = np.bincount(number, minlength=len(heads))
            counts = frequencies if length == self._order else self._lefts(number, left[valid], frequencies)
            if length > 1 and self._start_id is not None:
                counts = np.where(self._padded[places[heads]] == self._start_id, frequencies, counts)
            keep = frequencies > 1 if prune_from is not None and length >= prune_from else frequencies > 0
            if found:
                above, size = found[-1], len(found[-1].tokens)
                above.children = compact(np.bincount(parent[heads[keep]], minlength=size))
                lost = heads[~keep]
                inside = parent[lost] >= 0
                dropped = np.bincount(parent[lost][inside], counts[~keep][inside], size).astype(np.int64)
                above.dropped = compact(np.where(above.children > 0, dropped, 0))
            found.append(
                _Counted(
                    digit[heads[keep]] - 1,
                    compact(counts[keep]),
                    compact(frequencies[keep]),
                    np.zeros(0, np.int64),
                    np.zeros(0, np.int64),
                    np.bincount(np.minimum(counts, 5), minlength=6)[1:5],
                )
            )
            kept_number = np.where(keep, np.cumsum(keep, dtype=np.int32) - 1, -1)
            parent = np.full(len(places), -1, np.int32)
            parent[valid] = kept_number[number]
        return found

    def _lefts(self, number: np.ndarray, left: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """How many different tokens, or beginnings of a text, precede each n-gram: its continuation count."""
        repeated = frequencies[number] > 1
        keys = (number[repeated].astype(np.int64) << self._bits) | left[repeated]
        keys.sort()
        keys = keys[np.diff(keys, prepend=-1) != 0] >> self._bits
        counts = np.bincount(keys, minlength=len(frequencies))
        return np.where(frequencies > 1, counts, frequencies)


def _merged(shards: Sequence[list[_Counted]], order: int) -> Counts:
    """The shards as one; they are in order, and no n-gram is in two of them."""
    levels, frequencies, discounts = [], [], np.zeros((order, NUM_DISCOUNTS))
    for k in range(order):
        parts = [shard[k] for shard in shards]
        levels.append(
            Level(
                _concatenated([part.tokens for part in parts]),
                _concatenated([part.counts for part in parts]),
                _concatenated([part.children for part in parts]) if k + 1 < order else None,
                _concatenated([part.dropped for part in parts]) if k + 1 < order else None,
            )
        )
        frequencies.append(_concatenated([part.frequencies for part in parts]))
        discounts[k] = discounts_of(sum((part.counts_of_counts for part in parts), np.zeros(4, np.int64)))
        for shard in shards:
            shard[k] = None  # type: ignore[call-overload]  # its memory is needed for the next
    return Counts(levels, frequencies, discounts)


def _concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    return compact(np.concatenate([*parts, np.zeros(0, np.uint8)]))
