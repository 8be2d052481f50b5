"""Walking the contexts of an n-gram model, and the distributions of their next tokens.

A context is an n-gram that others continue; context 0 is the empty one. They are numbered level by level, and the
n-grams that continue them, the entries, too. Where a text is, is the longest context that it ends with: with
each token it goes to the one that the entry of that token names, and where there is no entry, by suffix links
to shorter contexts, until there is one.

Shapes: B texts, C contexts, E entries, V vocab_size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from textgen.ngram.tables import Level, discounted

_DENSE_BYTES = 4 * 2**20  # distributions of the shortest contexts that are computed ahead
_ROWS_AT_ONCE = 2**22  # probabilities that are computed at a time


class Automaton:
    """Contexts and entries of an n-gram model.

    gamma: (C,) the weight of the distribution of the context that is a token shorter. suffix: (C,) that context.
    first: (C + 1,) where the entries of a context begin. keys: (E,) context x V + token, ascending. probabilities:
    (E,) what an entry adds. target: (E,) the longest context that its n-gram ends with.
    """

    def __init__(self, levels: Sequence[Level], discounts: np.ndarray, vocab_size: int) -> None:
        """Number the contexts. Raises ValueError where an n-gram is without one of its ends."""
        self.vocab_size = vocab_size
        sizes = [1, *(np.count_nonzero(level.children) for level in levels[:-1])]
        self.num_contexts = sum(sizes)
        self._level_begins = np.cumsum([0, *sizes])  # the first context of each length
        entries = [len(level.tokens) for level in levels]
        self._key_type = np.uint32 if self.num_contexts * vocab_size + vocab_size < 2**32 else np.int64
        self.gamma = np.ones(self.num_contexts, np.float32)
        self.suffix = np.zeros(self.num_contexts, np.int32)
        self.first = np.zeros(self.num_contexts + 1, np.int64)
        self.keys = np.zeros(sum(entries), self._key_type)
        self.probabilities = np.zeros(sum(entries), np.float32)
        self.target = np.zeros(sum(entries), np.int32)
        fan = np.array(entries[:1])  # of each context of the level above, how many entries
        dropped = np.zeros(1)
        context = entry = 0
        for k, level in enumerate(levels):
            self._add(level, fan, dropped, discounts[k], context, entry)
            context += len(fan)
            self._link(level, fan, context, entry)
            entry += len(level.tokens)
            if level.children is not None and level.dropped is not None:
                inner = level.children > 0
                fan, dropped = level.children[inner].astype(np.int64), level.dropped[inner]
        self._dense = self._dense_rows(sizes)
        # Single numbers are read from these in a fraction of the time.
        self._views = tuple(
            memoryview(array) for array in (self.first, self.keys, self.target, self.suffix, self.gamma)
        )

    def _add(
        self,
        level: Level,
        fan: np.ndarray,
        dropped: np.ndarray,
        discounts: np.ndarray,
        context: int,
        entry: int,
    ) -> None:
        """The entries of the contexts of one level, which begin with this context and this entry."""
        size = len(fan)
        begins = np.concatenate([[0], np.cumsum(fan)])
        self.first[context : context + size + 1] = entry + begins
        owner = np.repeat(np.arange(size), fan)
        mass = discounted(level.counts, discounts)
        counts = np.bincount(owner, level.counts, size)
        total = counts + dropped
        total[total == 0] = 1
        kept = np.bincount(owner, mass, size)
        # What the discounts took and what pruning dropped goes to shorter contexts.
        self.gamma[context : context + size] = np.where(fan > 0, (counts - kept + dropped) / total, 1)
        here = slice(entry, entry + len(level.tokens))
        self.probabilities[here] = mass / total[owner]
        self.keys[here] = (owner + context) * self.vocab_size + level.tokens

    def _link(self, level: Level, fan: np.ndarray, next_context: int, entry: int) -> None:
        """Suffix links of the contexts that the entries of a level are, and the targets of its entries."""
        size = len(level.tokens)
        here = slice(entry, entry + size)
        shorter = np.zeros(size, np.int64)  # the target of the same n-gram without its first token
        if entry:
            owner = np.repeat(np.arange(next_context - len(fan), next_context), fan)
            found, exists = self._find(self.suffix[owner], level.tokens, entry)
            if not exists.all():
                raise ValueError("an n-gram is without the one that it ends with")
            shorter = self.target[found]
        self.target[here] = shorter
        if level.children is not None:
            inner = np.flatnonzero(level.children)
            numbers = np.arange(next_context, next_context + len(inner))
            self.target[entry + inner] = numbers
            self.suffix[numbers] = shorter[inner]

    def _find(
        self, contexts: np.ndarray, tokens: np.ndarray, entries: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The entry of each token below V in its context, and whether there is one, among the first entries."""
        keys = self.keys[:entries]
        wanted = (contexts.astype(np.int64) * self.vocab_size + tokens).astype(self._key_type)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return found, keys[found] == wanted

    def _dense_rows(self, sizes: Sequence[int]) -> np.ndarray:
        """The distributions of the contexts of the first levels, as many levels as fit: (contexts, V)."""
        limit = max(1, _DENSE_BYTES // (4 * self.vocab_size))
        count = 1
        for size in sizes[1:]:
            if count + size > limit:
                break
            count += size
        rows = np.full((count, self.vocab_size), 1 / self.vocab_size, np.float32)
        begin = 0
        for size in sizes:
            end = begin + size
            if end > count:
                break
            if begin:
                rows[begin:end] = rows[self.suffix[begin:end]]
            rows[begin:end] *= self.gamma[begin:end, None]
            here = slice(self.first[begin], self.first[end])
            rows.reshape(-1)[self.keys[here]] += self.probabilities[here]
            begin = end
        return rows

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        arrays = (self.first, self.keys, self.target, self.suffix, self.gamma, self.probabilities)
        return sum(array.nbytes for array in arrays) + self._dense.nbytes

    def advance(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The longest context after one more token each. contexts (B,), tokens (B,) 0 or more."""
        return np.array(
            [self._next(*pair) for pair in zip(contexts.tolist(), tokens.tolist(), strict=True)], np.int32
        )

    def _next(self, context: int, token: int) -> int:
        first, keys, target, suffix, _ = self._views
        if token >= self.vocab_size:
            return 0
        while True:
            wanted, end = context * self.vocab_size + token, first[context + 1]
            entry = bisect_left(keys, wanted, first[context], end)
            if entry < end and keys[entry] == wanted:
                return int(target[entry])
            if not context:
                return 0
            context = suffix[context]

    def walk(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The longest context after each token. contexts (B,), tokens (B, T) 0 or more; (B, T) int32.

        All tokens together, one length of contexts after the other: a context that ends with a token continues one
        that is a token shorter, and ends with the token before.
        """
        longest = np.zeros(tokens.shape, np.int32)
        before = self._ending(contexts)  # (order, B)
        known = tokens < self.vocab_size
        shorter = np.zeros(tokens.shape, np.int32)
        for length in range(1, len(self._level_begins) - 1):
            previous = np.concatenate([before[length - 1][:, None], shorter[:, :-1]], 1)
            shorter = np.full(tokens.shape, -1, np.int32)
            places = np.nonzero((previous >= 0) & known)
            if not len(places[0]) or not len(self.keys):
                break
            found, exists = self._find(previous[places], tokens[places])
            target = self.target[found]
            exists &= target >= self._level_begins[length]
            shorter[places] = np.where(exists, target, -1)
            longest = np.where(shorter >= 0, shorter, longest)
        return longest

    def _ending(self, contexts: np.ndarray) -> np.ndarray:
        """The contexts of each length that texts end with, -1 for none: (order, B)."""
        ending = np.full((len(self._level_begins) - 1, len(contexts)), -1, np.int32)
        ending[0] = 0
        while len(inner := np.flatnonzero(contexts)):
            length = np.searchsorted(self._level_begins, contexts[inner], "right") - 1
            ending[length, inner] = contexts[inner]
            contexts = np.where(contexts > 0, self.suffix[contexts], 0)
        return ending

    def rows(self, contexts: np.ndarray) -> np.ndarray:
        """The distribution of the next token in each context (B,): (B, V) float32."""
        if len(contexts) == 1:
            return self._row(int(contexts[0]))[None]
        rows = np.empty((len(contexts), self.vocab_size), np.float32)
        step = max(1, _ROWS_AT_ONCE // self.vocab_size)
        for begin in range(0, len(contexts), step):
            rows[begin : begin + step] = self._rows(contexts[begin : begin + step])
        return rows

    def _row(self, context: int) -> np.ndarray:
        first, _, _, suffix, gamma = self._views
        chain = []
        while context >= len(self._dense):
            chain.append(context)
            context = suffix[context]
        row = self._dense[context].copy()
        for context in reversed(chain):
            here = slice(first[context], first[context + 1])
            row *= np.float32(gamma[context])
            row[self.keys[here] - context * self.vocab_size] += self.probabilities[here]
        return row

    def _rows(self, contexts: np.ndarray) -> np.ndarray:
        size = self.vocab_size
        current = contexts.copy()
        weight = np.ones(len(contexts), np.float32)
        texts, owners, weights = [], [], []
        while len(deep := np.flatnonzero(current >= len(self._dense))):
            chosen = current[deep]
            texts.append(deep)
            owners.append(chosen)
            weights.append(weight[deep])
            weight[deep] *= self.gamma[chosen]
            current[deep] = self.suffix[chosen]
        rows = self._dense[current]
        rows *= weight[:, None]
        if texts:
            text, owner = np.concatenate(texts), np.concatenate(owners).astype(np.int64)
            begin = self.first[owner]
            count = self.first[owner + 1] - begin
            entry = np.repeat(begin - np.cumsum(count) + count, count) + np.arange(count.sum())
            place = self.keys[entry] + np.repeat((text - owner) * size, count)
            added = self.probabilities[entry] * np.repeat(np.concatenate(weights), count)
            rows += np.bincount(place, added, rows.size).reshape(rows.shape)
        return rows
