"""The n-grams of a text and their counts.

They are counted in shards, each with all n-grams that begin with some tokens, so that memory is bounded. The
places where they begin are sorted by them; then equal n-grams of every length are adjacent:

    text  a b a c a b      places of a:  0  a b a     the first of each n-gram of
                                         4  a b       1 token: 4     2 tokens: 4 2     3 tokens: 0
                                         2  a c a

Shapes: N tokens of the text, P places of a shard, G different n-grams of one length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from textgen.ngram.reading import CountedText
from textgen.ngram.tables import NUM_DISCOUNTS, Level, compact, discounts_of

_SHARD = 2**21  # places, unless more n-grams begin with one token
# So large is a table of which token precedes which n-gram at most, in bytes; without it they are sorted.
_TABLE_BYTES = 2**26


@dataclass(frozen=True)
class Counts:
    """The n-grams of a text by length, those of one token first, and their discounts (order, 3).

    frequencies: for each length, how often each n-gram occurs. The counts of a level are those of Kneser-Ney.
    """

    levels: list[Level]
    frequencies: list[np.ndarray]
    discounts: np.ndarray


def count(text: CountedText, order: int, *, start_id: int | None, prune_from: int | None) -> Counts:
    """Count all n-grams of up to `order` tokens.

    start_id: the id after which a document begins; it is the first or the last token of an n-gram, never
    within one. prune_from: from this length on, n-grams that occur once are dropped; None keeps all.
    """
    ids = text.ids
    if start_id is not None and len(ids) and ids[0] != start_id:
        ids = np.concatenate([np.array([start_id], ids.dtype), ids])
    padded = np.concatenate([ids, np.full(order, text.vocab_size, ids.dtype)])  # (N + order,)
    counter = _Counter(padded, order, text.vocab_size, start_id, prune_from)
    return _merged([counter.count(places) for places in _shards(ids, text.vocab_size)], order)


def _shards(ids: np.ndarray, vocab_size: int) -> Iterator[np.ndarray]:
    """The places of all tokens but breaks, grouped by token, ascending; rare tokens share a group."""
    sizes = np.bincount(ids, minlength=vocab_size)[:vocab_size].tolist()
    first = total = 0
    for token, size in enumerate(sizes):
        if total and total + size > _SHARD:
            yield np.flatnonzero((ids >= first) & (ids < token)).astype(np.int32)
            first, total = token, 0
        total += size
    if total:
        yield np.flatnonzero((ids >= first) & (ids < vocab_size)).astype(np.int32)


@dataclass
class _Counted:
    """The n-grams of one length that a shard keeps, as in Level, and counts of counts of all (4,)."""

    tokens: np.ndarray
    counts: np.ndarray
    frequencies: np.ndarray
    counts_of_counts: np.ndarray
    children: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    dropped: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))


class _Counter:
    """Counts the n-grams of a text, which is followed by `order` breaks (N + order,)."""

    def __init__(
        self,
        padded: np.ndarray,
        order: int,
        vocab_size: int,
        start_id: int | None,
        prune_from: int | None,
    ) -> None:
        self._padded, self._order, self._break, self._start_id = padded, order, vocab_size, start_id
        self._prune_from = prune_from
        self._bits = int(vocab_size).bit_length()  # of a token, with one more for its end or a break

    def count(self, places: np.ndarray) -> list[_Counted]:
        """The n-grams that begin at these places (P,), by length."""
        places = self._sorted(places)
        left = np.where(places > 0, self._padded[places - 1], self._break)
        is_head = np.zeros(len(places), bool)  # whether the n-gram differs from that of the place before
        is_head[:1] = True
        # The kept n-gram without the last token, -1 where it was dropped.
        parent = np.zeros(len(places), np.int32)
        found: list[_Counted] = []
        for length, digits in enumerate(self._digits(places), 1):
            is_head[1:] |= digits[1:] != digits[:-1]
            valid = np.flatnonzero(digits)
            heads = valid[is_head[valid]]  # (G,)
            gram = np.cumsum(is_head[valid], dtype=np.int32) - 1  # the number of the n-gram there
            frequencies = np.bincount(gram, minlength=len(heads))
            counts = frequencies
            if length < self._order:
                counts = self._continuations(gram, left[valid], frequencies)
                if self._start_id is not None and length > 1:
                    counts = np.where(self._padded[places[heads]] == self._start_id, frequencies, counts)
            keep = self._kept(frequencies, length)
            if found:
                _count_children(found[-1], parent[heads], counts, keep)
            found.append(_kept_grams(digits[heads] - 1, counts, frequencies, keep))
            numbers = np.where(keep, np.cumsum(keep, dtype=np.int32) - 1, -1)
            parent = np.full(len(places), -1, np.int32)
            parent[valid] = numbers[gram]
        return found

    def _digits(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """The tokens of the n-gram at each place, plus 1, token by token (P,); 0 after its end."""
        goes_on = np.ones(len(places), bool)
        for offset in range(self._order):
            tokens = self._padded[places + offset]
            goes_on &= tokens != self._break
            yield np.where(goes_on, tokens + 1, 0).astype(tokens.dtype)
            if offset and self._start_id is not None:
                goes_on &= tokens != self._start_id

    def _sorted(self, places: np.ndarray) -> np.ndarray:
        """The places in the order of their n-grams."""
        digits = self._digits(places)
        codes, used, remaining = np.zeros(len(places), np.int64), 0, self._order
        while True:
            fitting = min(remaining, (63 - used) // self._bits)
            for _ in range(fitting):
                codes <<= self._bits
                codes |= next(digits)
            remaining -= fitting
            order = np.argsort(codes)
            if not remaining:
                return places[order]
            # Numbers of the different codes need fewer bits, which makes room for more tokens.
            ordered = codes[order]
            differs = np.zeros(len(places), bool)
            differs[1:] = ordered[1:] != ordered[:-1]
            del ordered
            codes[order] = np.cumsum(differs)
            used = len(places).bit_length()

    def _continuations(self, gram: np.ndarray, left: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """How many different tokens, or beginnings of a text, precede each n-gram (G,).

        gram, left: the number of the n-gram at each place, and the token before it.
        """
        repeated = (frequencies > 1)[gram]
        pairs = gram[repeated].astype(np.int64)
        pairs <<= self._bits
        pairs |= left[repeated]
        size = len(frequencies)
        if size << self._bits <= _TABLE_BYTES:
            precedes = np.zeros((size, 1 << self._bits), bool)
            precedes.reshape(-1)[pairs] = True
            counts = np.count_nonzero(precedes, 1)
        else:
            pairs.sort()
            counts = np.bincount(pairs[np.diff(pairs, prepend=-1) != 0] >> self._bits, minlength=size)
        return np.where(frequencies > 1, counts, frequencies)

    def _kept(self, frequencies: np.ndarray, length: int) -> np.ndarray:
        is_pruned = self._prune_from is not None and length >= self._prune_from
        kept: np.ndarray = frequencies > (1 if is_pruned else 0)
        return kept


def _count_children(above: _Counted, parent: np.ndarray, counts: np.ndarray, keep: np.ndarray) -> None:
    """Set children and dropped of n-grams from those that are a token longer: all arrays but `above` (G,)."""
    size = len(above.tokens)
    children = np.bincount(parent[keep], minlength=size)
    lost = ~keep & (parent >= 0)
    dropped = np.bincount(parent[lost], counts[lost], size).astype(np.int64)
    above.children, above.dropped = compact(children), compact(np.where(children > 0, dropped, 0))


def _kept_grams(
    tokens: np.ndarray, counts: np.ndarray, frequencies: np.ndarray, keep: np.ndarray
) -> _Counted:
    counts_of_counts = np.bincount(np.minimum(counts, 5), minlength=6)[1:5]
    return _Counted(tokens[keep], compact(counts[keep]), compact(frequencies[keep]), counts_of_counts)


def _merged(shards: Sequence[list[_Counted]], order: int) -> Counts:
    """The shards as one. They are in order, and no n-gram is in two of them."""
    levels, frequencies, discounts = [], [], np.zeros((order, NUM_DISCOUNTS))
    for k in range(order):
        # Taken out, so that their memory is free when the next length is merged.
        parts = [shard.pop(0) for shard in shards]
        tokens, counts = _joined([part.tokens for part in parts]), _joined([part.counts for part in parts])
        children = dropped = None
        if k + 1 < order:
            children = _joined([part.children for part in parts])
            dropped = _joined([part.dropped for part in parts])
        levels.append(Level(tokens, counts, children, dropped))
        frequencies.append(_joined([part.frequencies for part in parts]))
        discounts[k] = discounts_of(sum((part.counts_of_counts for part in parts), np.zeros(4, np.int64)))
    return Counts(levels, frequencies, discounts)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return compact(np.concatenate([*parts, np.zeros(0, np.uint8)]))
