"""The contexts of an n-gram model, their probabilities, and how a text walks from one to the next.

A context is an n-gram that others continue; context 0 is the empty one. The n-grams that continue it are its
entries. Both are numbered level by level. The state of a text is the longest context that it ends with. A
token leads to the context that its entry names; where a context has no such entry, suffix links lead to
shorter ones until one has.

Probabilities are in back-off form: an entry has all of the probability of its token, with what shorter
contexts give. A token that has no entry has its probability in the context without the first token, times
gamma, the share that the entries leave to it.

Shapes: B batch (number of texts), T time, C contexts, E entries, V vocab_size.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from textgen.ngram.tables import Level, discounted, smallest

_SMALL_BATCH = 12  # texts that are faster to walk one by one than together
_SMALLEST = np.finfo(np.float64).tiny  # instead of a probability of 0, which only rounding gives


class Automaton:
    """Contexts and entries of an n-gram model.

    suffix: (C,) each context without its first token. wider: (C,) the longest context with more entries that
    is left of each when tokens are taken off its beginning, or the empty one. log_weight: (C,) the logarithm
    of the weight of the distribution there: the gammas between, multiplied.
    first: (C + 1,) where the entries of each context begin. keys: (E,) context x V + token, ascending.
    tokens: (E,). log_probs: (E,) the logarithm of the probability of the token in the context.
    target: (E,) the longest context that the n-gram ends with.
    level_begins: (order + 1,) the first context of each length from 0 on, and C.
    """

    def __init__(self, levels: Sequence[Level], discounts: np.ndarray, vocab_size: int) -> None:
        """Number contexts and entries. discounts (order, 3).

        Raises ValueError where an n-gram is there without the one that it ends with.
        """
        self.vocab_size = vocab_size
        inner = [int((level.children > 0).sum()) for level in levels if level.children is not None]
        self.level_begins = np.cumsum([0, 1, *inner])
        contexts, entries = int(self.level_begins[-1]), sum(len(level.tokens) for level in levels)
        self._key_type = np.dtype(np.uint32 if (contexts + 1) * vocab_size < 2**32 else np.int64)
        self.suffix = np.zeros(contexts, np.int32)
        self.wider = np.zeros(contexts, np.int32)
        self.log_weight = np.zeros(contexts, np.float32)
        self.first = np.zeros(contexts + 1, np.int32 if entries < 2**31 else np.int64)
        self.keys = np.zeros(entries, self._key_type)
        self.tokens = np.zeros(entries, smallest(vocab_size - 1))
        self.target = np.zeros(entries, np.int32)
        # Of each context of the level above: how many entries it has, and what pruning dropped.
        fan, dropped = np.array([len(levels[0].tokens)]), np.zeros(1)
        probabilities = np.zeros(entries)
        entry = 0
        for k, level in enumerate(levels):
            here = slice(entry, entry + len(level.tokens))
            owner = np.repeat(np.arange(self.level_begins[k], self.level_begins[k + 1]), fan)
            self.first[self.level_begins[k] + 1 : self.level_begins[k + 1] + 1] = entry + np.cumsum(fan)
            self.keys[here] = owner * vocab_size + level.tokens
            self.tokens[here] = level.tokens
            found = self._link(level, owner, k, here)
            owner -= self.level_begins[k]
            share, gamma = _shares(level, owner, dropped, discounts[k])
            shorter = probabilities[found] if k else 1 / vocab_size
            probabilities[here] = share + gamma[owner] * shorter
            self._widen(slice(self.level_begins[k], self.level_begins[k + 1]), fan, np.log(gamma))
            entry = here.stop
            if level.children is not None and level.dropped is not None:
                continued = level.children > 0
                fan, dropped = level.children[continued].astype(np.int64), level.dropped[continued]
        np.log(np.maximum(probabilities, _SMALLEST, out=probabilities), out=probabilities)
        self.log_probs = probabilities.astype(np.float32)
        # Single numbers are read from memory views in a fraction of the time.
        self._first, self._tokens = self.first.data, self.tokens.data
        self._target, self._suffix = self.target.data, self.suffix.data

    def _link(self, level: Level, owner: np.ndarray, k: int, here: slice) -> np.ndarray:
        """Targets of the entries of the contexts of k tokens; suffix links of those that are contexts too.

        Returns the entry of the same token in the context without the first one, where k is above 0.
        """
        target, found = self.target[here], np.zeros(0, np.int64)
        if k:
            found, exists = self.find(self.suffix[owner], level.tokens, here.start)
            if not exists.all():
                raise ValueError("an n-gram is there without the one that it ends with")
            target[:] = self.target[found]
        if level.children is not None:
            inner = np.flatnonzero(level.children)
            contexts = np.arange(self.level_begins[k + 1], self.level_begins[k + 2])
            if k and (target[inner] < self.level_begins[k]).any():
                raise ValueError("a context is there without the one that it ends with")
            self.suffix[contexts] = target[inner]
            target[inner] = contexts
        return found

    def _widen(self, here: slice, fan: np.ndarray, log_gamma: np.ndarray) -> None:
        """Link the contexts of one level to wider ones. fan: how many entries each has.

        The tokens of a context's entries are among those of its suffix, so that they are the same tokens
        where they are as many: then nothing of the suffix is left but its gamma.
        """
        suffix = self.suffix[here]
        stops = (suffix == 0) | (np.subtract(self.first[suffix + 1], self.first[suffix]) > fan)
        self.wider[here] = np.where(stops, suffix, self.wider[suffix])
        self.log_weight[here] = log_gamma + np.where(stops, 0, self.log_weight[suffix])

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        of_contexts = (self.suffix, self.wider, self.log_weight, self.first)
        of_entries = (self.keys, self.tokens, self.log_probs, self.target)
        return sum(array.nbytes for array in of_contexts + of_entries)

    def find(
        self, contexts: np.ndarray, tokens: np.ndarray, entries: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The entry of each token below V in its context, and whether there is one.

        entries: search only so many, the first ones; None: all.
        """
        keys = self.keys[:entries]
        if not len(keys):
            return np.zeros(contexts.shape, np.int64), np.zeros(contexts.shape, bool)
        wanted = (contexts.astype(np.int64) * self.vocab_size + tokens).astype(self._key_type)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return found, keys[found] == wanted

    def advance(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The longest context after one more token of each text. contexts (B,), tokens (B,) 0 or more."""
        if len(contexts) <= _SMALL_BATCH:
            pairs = zip(contexts.tolist(), tokens.tolist(), strict=True)
            return np.array([self.next(context, token) for context, token in pairs], np.int32)
        longest = np.zeros(len(contexts), np.int32)
        texts = np.flatnonzero(tokens < self.vocab_size)
        contexts, tokens = contexts[texts], tokens[texts]
        while len(texts):
            found, exists = self.find(contexts, tokens)
            longest[texts[exists]] = self.target[found[exists]]
            shorten = ~exists & (contexts > 0)
            texts, contexts, tokens = texts[shorten], self.suffix[contexts[shorten]], tokens[shorten]
        return longest

    def next(self, context: int, token: int) -> int:
        """`advance` for one text, faster."""
        if token >= self.vocab_size:
            return 0
        first, tokens = self._first, self._tokens
        while True:
            end = first[context + 1]
            entry = bisect_left(tokens, token, first[context], end)
            if entry < end and tokens[entry] == token:
                return self._target[entry]
            if not context:
                return 0
            context = self._suffix[context]

    def walk(self, contexts: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """The longest context after each token. contexts (B,), tokens (B, T) 0 or more; (B, T) int32.

        For all tokens at once, by length of the contexts: a context that ends with a token continues a
        shorter one that ends with the token before.
        """
        longest = np.zeros(tokens.shape, np.int32)
        shorter = np.zeros(tokens.shape, np.int32)
        before = self._ending(contexts)  # (order, B)
        known = tokens < self.vocab_size
        for length in range(1, len(before)):
            previous = np.concatenate([before[length - 1][:, None], shorter[:, :-1]], 1)
            places = np.nonzero((previous >= 0) & known)
            found, exists = self.find(previous[places], tokens[places])
            exists[exists] = self.target[found[exists]] >= self.level_begins[length]
            shorter = np.full(tokens.shape, -1, np.int32)
            ends = tuple(place[exists] for place in places)
            shorter[ends] = longest[ends] = self.target[found[exists]]
        return longest

    def _ending(self, contexts: np.ndarray) -> np.ndarray:
        """The contexts of each length that texts end with, -1 for none: (order, B)."""
        ending = np.full((len(self.level_begins) - 1, len(contexts)), -1, np.int32)
        while len(contexts):
            length = np.searchsorted(self.level_begins, contexts, "right") - 1
            ending[length, np.arange(len(contexts))] = contexts
            if not contexts.any():
                break
            contexts = self.suffix[contexts]
        return ending


def _shares(
    level: Level, owner: np.ndarray, dropped: np.ndarray, discounts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What is left of each count after its discount, as a share of all in its context, and gamma.

    owner: the context of each n-gram of a level, by its number among those of the level. dropped: of each
    context, the sum of the counts that were pruned.
    """
    size = len(dropped)
    mass = discounted(level.counts, discounts)
    counts = np.bincount(owner, level.counts, size)
    total = np.maximum(counts + dropped, 1)  # 0 only where no text was counted
    left = counts - np.bincount(owner, mass, size) + dropped
    gamma = np.where(counts > 0, np.maximum(left / total, _SMALLEST), 1)
    return mass / total[owner], gamma
