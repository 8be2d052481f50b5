"""The order in which training reads a text: as it is stored, or with its documents in a new order each epoch.

    stored     Anna . Bert . Cleo . Dora                .  end-of-text
    epoch 0    . Cleo . Anna . Dora . Bert .
    epoch 1    . Bert . Cleo . Dora . Anna .

A large text is shuffled in two steps, so that memory stays bounded: blocks of documents that follow each
other are read in a new order, and so are the documents within each block. The order follows from seed and
epoch alone.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

import numpy as np

BLOCK_TOKENS = 2**18
MIN_BLOCKS_IN_MEMORY = 4


class TokenSource(Protocol):
    """Tokens in the order in which an epoch reads them."""

    def __len__(self) -> int:
        """The number of tokens, the same in every epoch."""
        ...

    def start_epoch(self, epoch: int, num_readers: int) -> None:
        """Take the order of an epoch, which is read at about so many places at the same time."""
        ...

    def gather(self, starts: np.ndarray, length: int) -> np.ndarray:
        """The tokens (B, length) from each of starts (B,) on; none may reach beyond the end."""
        ...


class StoredOrder:
    """Tokens (N,) in the order in which they are stored, in every epoch."""

    def __init__(self, tokens: np.ndarray) -> None:
        self._tokens = np.asarray(tokens)  # a memmap is slower to index than the array it is

    def __len__(self) -> int:
        return len(self._tokens)

    def start_epoch(self, epoch: int, num_readers: int) -> None:
        """Nothing changes."""

    def gather(self, starts: np.ndarray, length: int) -> np.ndarray:
        """The tokens (B, length) from each of starts (B,) on."""
        gathered: np.ndarray = self._tokens[starts[:, None] + np.arange(length)]
        return gathered


@dataclass(frozen=True)
class _Block:
    """The documents of a block in the order of an epoch, each with the end-of-text after it.

    stored: the stored token at which each begins, (D,). read: at which token of the block, as it is read,
    each begins, (D,), ascending.
    """

    stored: np.ndarray
    read: np.ndarray


class ShuffledDocuments:
    """The documents of stored tokens (N,), in another order each epoch; with end-of-text around each, N+2.

    end_of_text: the token that separates documents. The order follows from seed and epoch.
    """

    def __init__(
        self, tokens: np.ndarray, end_of_text: int, seed: int, *, block_tokens: int = BLOCK_TOKENS
    ) -> None:
        self._tokens = np.asarray(tokens)
        self._end_of_text = end_of_text
        self._seed = seed
        # Each block is a range of whole documents with their end-of-text. That of the last one is not stored,
        # but read as if it stood at N.
        self._bounds = _block_bounds(self._tokens, end_of_text, block_tokens)
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self.start_epoch(0, 1)

    def __len__(self) -> int:
        return len(self._tokens) + 2

    def start_epoch(self, epoch: int, num_readers: int) -> None:
        """Draw the order of an epoch. num_readers: how many places will be read at the same time."""
        self._epoch = epoch
        self._blocks.clear()
        self._blocks_in_memory = num_readers + MIN_BLOCKS_IN_MEMORY
        self._order = np.random.default_rng([self._seed, epoch, 0]).permutation(len(self._bounds) - 1)
        sizes = np.diff(self._bounds)[self._order]
        # Where each block begins as it is read: an end-of-text comes before the first document.
        self._starts = 1 + np.concatenate([[0], np.cumsum(sizes)])

    def gather(self, starts: np.ndarray, length: int) -> np.ndarray:
        """The tokens (B, length) from each of starts (B,) on."""
        if len(self._order) == 1:
            places = self._places(0, starts[:, None] + np.arange(length))
        else:
            places = np.stack([self._row(int(start), int(start) + length) for start in starts])
        tokens: np.ndarray = self._tokens[np.minimum(places, len(self._tokens) - 1)]
        tokens[places == len(self._tokens)] = self._end_of_text
        return tokens

    def _row(self, start: int, stop: int) -> np.ndarray:
        """Where the tokens start..stop, as they are read, are stored; they may be of several blocks."""
        ends = (max(start, 1), max(stop - 1, 1))  # the end-of-text at 0 counts as part of the first block
        first, last = np.searchsorted(self._starts, ends, side="right").tolist()
        bounds = [start, *self._starts[first:last].tolist(), stop]
        pieces = zip(range(first - 1, last), itertools.pairwise(bounds), strict=True)
        return np.concatenate([self._places(index, np.arange(*piece)) for index, piece in pieces])

    def _places(self, index: int, positions: np.ndarray) -> np.ndarray:
        """Where tokens of the block that is read index-th are stored, by their positions as they are read.

        N stands for an end-of-text that is not stored: the one before all documents, and the last one.
        """
        block = self._block(int(self._order[index]))
        within = positions - self._starts[index]
        documents = np.searchsorted(block.read, within, side="right") - 1
        places: np.ndarray = block.stored[documents] + within - block.read[documents]
        places[positions == 0] = len(self._tokens)
        return places

    def _block(self, number: int) -> _Block:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        start, end = int(self._bounds[number]), int(self._bounds[number + 1])
        ends = start + 1 + np.flatnonzero(self._tokens[start:end] == self._end_of_text)
        if end > len(self._tokens):
            ends = np.append(ends, end)
        stored = np.concatenate([[start], ends[:-1]])
        order = np.random.default_rng([self._seed, self._epoch, 1 + number]).permutation(len(stored))
        lengths = (ends - stored)[order]
        block = _Block(stored[order], np.cumsum(lengths) - lengths)
        self._blocks[number] = block
        if len(self._blocks) > self._blocks_in_memory:
            self._blocks.popitem(last=False)
        return block


def _block_bounds(tokens: np.ndarray, end_of_text: int, block_tokens: int) -> np.ndarray:
    """Where blocks of whole documents begin, and at last one token beyond the end: that of an end-of-text.

    A block has about block_tokens tokens, or one longer document.
    """
    bounds = [0]
    while bounds[-1] + block_tokens < len(tokens):
        end = _find(tokens, end_of_text, bounds[-1] + block_tokens)
        if end is None or end + 1 == len(tokens):
            break
        bounds.append(end + 1)
    return np.array([*bounds, len(tokens) + 1])


def _find(tokens: np.ndarray, token: int, start: int) -> int | None:
    """Where a token occurs first from start on; None where it does not."""
    for begin in itertools.takewhile(lambda begin: begin < len(tokens), itertools.count(start, 4096)):
        found = np.flatnonzero(tokens[begin : begin + 4096] == token)
        if len(found):
            return begin + int(found[0])
    return None
