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
from typing import NamedTuple, Protocol

import numpy as np

from textgen.system.digests import DamagedError
from textgen.text.stored_tokens import StoredTokens, TokenArray

BLOCK_TOKENS = 2**18
MIN_BLOCKS_IN_MEMORY = 4
# The share of documents that are read without their label, so that the network can begin a text without one
# (Ho & Salimans, "Classifier-free diffusion guidance", 2022).
LABEL_DROPOUT = 0.1


class Gathered(NamedTuple):
    """Tokens (B, T) and, where documents have labels, the label (B, T) of the document that begins there.

    0: none begins there, or it has no label; k + 1: the label with index k.
    """

    tokens: np.ndarray
    labels: np.ndarray | None


class TokenSource(Protocol):
    """Tokens in the order in which an epoch reads them.

    end_of_text: the token that each document begins after; None where the text is read as one.
    """

    end_of_text: int | None

    def __len__(self) -> int:
        """The number of tokens, the same in every epoch."""
        ...

    def start_epoch(self, epoch: int, num_readers: int) -> None:
        """Take the order of an epoch, which is read at about so many places at the same time."""
        ...

    def gather(self, starts: np.ndarray, length: int) -> Gathered:
        """The tokens (B, length) from each of starts (B,) on; none may reach beyond the end."""
        ...


class StoredOrder:
    """Tokens (N,) in the order in which they are stored, in every epoch."""

    def __init__(self, tokens: TokenArray) -> None:
        self.end_of_text: int | None = None
        self._tokens = tokens
        self._fetched = _fetched(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def start_epoch(self, epoch: int, num_readers: int) -> None:
        """Nothing changes."""

    def gather(self, starts: np.ndarray, length: int) -> Gathered:
        """The tokens (B, length) from each of starts (B,) on."""
        if self._fetched is not None:
            self._fetched.expect(starts, shards_ahead=1)
        return Gathered(self._tokens[starts[:, None] + np.arange(length)], None)


@dataclass(frozen=True)
class _Block:
    """The documents of a block in the order of an epoch, each with the end-of-text before it.

    places: where each begins in the stored text, (D,). positions: where each begins in the block as it is
    read, (D,), ascending. labels: of each, (D,), as in Gathered; None without labels.
    """

    places: np.ndarray
    positions: np.ndarray
    labels: np.ndarray | None


class DocumentOrder:
    """The documents of stored tokens (N,), in an order by epoch; with end-of-text around each, N+2 tokens.

    end_of_text: the token that separates documents. labels: of each document, (D,), as in Gathered; None: the
    documents have none. shuffle: a new order each epoch, which follows from seed and epoch; else as stored.
    blocks: as document_blocks finds them; None: they are looked for, all over the text.

    A place is an index into the stored tokens plus one: place 0 stands for the end-of-text before the first
    document, which is not stored.
    """

    def __init__(
        self,
        tokens: TokenArray,
        end_of_text: int,
        seed: int,
        *,
        labels: TokenArray | None = None,
        shuffle: bool = True,
        block_tokens: int = BLOCK_TOKENS,
        blocks: np.ndarray | None = None,
    ) -> None:
        self._tokens, self._fetched = tokens, _fetched(tokens)
        self.end_of_text: int | None = end_of_text
        self._seed = seed
        self._labels = labels
        self._shuffle = shuffle
        if blocks is None:
            blocks = document_blocks(tokens, end_of_text, block_tokens, counted=labels is not None)
        self._bounds, self._first_documents = blocks
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self.start_epoch(0, 1)

    def __len__(self) -> int:
        return len(self._tokens) + 2

    def start_epoch(self, epoch: int, num_readers: int) -> None:
        """Draw the order of an epoch. num_readers: how many places will be read at the same time."""
        self._epoch = epoch
        self._blocks.clear()
        self._blocks_in_memory = num_readers + MIN_BLOCKS_IN_MEMORY
        self._order = self._permutation(0, len(self._bounds) - 1)
        # Where each block begins as it is read, and at last the end-of-text after the last document.
        self._starts = np.concatenate([[0], np.cumsum(np.diff(self._bounds)[self._order])])

    def gather(self, starts: np.ndarray, length: int) -> Gathered:
        """The tokens (B, length) from each of starts (B,) on, and the labels of documents."""
        if len(self._order) == 1:
            places, labels = self._within(0, starts[:, None] + np.arange(length))
        else:
            rows = [self._row(int(start), int(start) + length) for start in starts]
            places, labels = (np.stack(parts) for parts in zip(*rows, strict=True))
        tokens: np.ndarray = self._tokens[np.maximum(places - 1, 0)]
        tokens[places == 0] = self.end_of_text
        return Gathered(tokens, None if self._labels is None else labels)

    def _row(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """The places of tokens start..stop, as they are read, and labels; they may be of several blocks."""
        last_block = len(self._order) - 1
        ends = np.searchsorted(self._starts, (start, stop - 1), side="right") - 1
        first, last = np.minimum(ends, last_block).tolist()
        bounds = [start, *self._starts[first + 1 : last + 1].tolist(), stop]
        pieces = zip(range(first, last + 1), itertools.pairwise(bounds), strict=True)
        found = [self._within(index, np.arange(*piece)) for index, piece in pieces]
        places, labels = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return places, labels

    def _within(self, index: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places of tokens of the block that is read index-th, and labels; positions as they are read.

        The end-of-text after the last document counts as part of the last block.
        """
        number = int(self._order[index])
        if self._fetched is not None and number not in self._blocks:
            self._expect(index)
        block = self._block(number)
        within = positions - self._starts[index]
        documents = np.searchsorted(block.positions, within, side="right") - 1
        offsets = within - block.positions[documents]
        places = block.places[documents] + offsets
        is_end = positions == self._starts[-1]
        places[is_end] = 0
        if block.labels is None:
            return places, np.zeros(0, np.int64)
        return places, np.where((offsets == 0) & ~is_end, block.labels[documents], 0)

    def _block(self, number: int) -> _Block:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        places = self._ends(number)
        lengths = np.diff(places, append=self._bounds[number + 1])
        order = self._permutation(1 + number, len(places))
        labels = None
        if self._labels is not None:
            first = self._first_documents[number]
            labels = self._labels[first : first + len(places)][order].astype(np.int64)
            labels[self._rng(1 + number, 1).random(len(labels)) < LABEL_DROPOUT] = 0
        block = _Block(places[order], np.cumsum(lengths[order]) - lengths[order], labels)
        self._blocks[number] = block
        if len(self._blocks) > self._blocks_in_memory:
            self._blocks.popitem(last=False)
        return block

    def _expect(self, index: int) -> None:
        """Fetch the block that is read index-th, and the next, in the background."""
        assert self._fetched is not None
        numbers = self._order[index : index + 2]
        ends = np.concatenate([self._bounds[numbers], self._bounds[numbers + 1] - 2])
        self._fetched.expect(np.clip(ends, 0, len(self._fetched) - 1))
        if (labels := _fetched(self._labels)) is not None:
            labels.expect(self._first_documents[numbers])

    def _ends(self, number: int) -> np.ndarray:
        """The places of the end-of-texts of a block, with each of which a document begins."""
        assert self.end_of_text is not None
        return _ends(self._tokens, self.end_of_text, *self._bounds[number : number + 2].tolist())

    def _permutation(self, stream: int, count: int) -> np.ndarray:
        return self._rng(stream).permutation(count) if self._shuffle else np.arange(count)

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._epoch, *stream])


def _fetched(tokens: TokenArray | None) -> StoredTokens | None:
    """Tokens, where their shards are fetched; else None."""
    return tokens if isinstance(tokens, StoredTokens) and tokens.is_fetched else None


def document_blocks(
    tokens: TokenArray, end_of_text: int, block_tokens: int = BLOCK_TOKENS, *, counted: bool = True
) -> np.ndarray:
    """The places where blocks of whole documents begin, and last one beyond the last token's, (2, K) int64.

    Below them is how many documents begin before each; 0, unless they are `counted`, which reads all tokens.
    A block has about block_tokens tokens, or one longer document.
    """
    places = [0]
    while (end := _find(tokens, end_of_text, places[-1] + block_tokens)) is not None:
        places.append(end + 1)
    bounds = np.array([*places, len(tokens) + 1])
    counts = np.zeros(len(bounds), np.int64)
    if counted:
        counts[1:] = [len(_ends(tokens, end_of_text, *pair)) for pair in itertools.pairwise(bounds.tolist())]
    return np.stack([bounds, counts.cumsum()])


def require_blocks(blocks: np.ndarray, num_tokens: int) -> None:
    """Raise DamagedError for what cannot be document_blocks of so many tokens."""
    if blocks.dtype != np.int64 or blocks.ndim != 2 or blocks.shape[0] != 2 or blocks.shape[1] < 2:
        raise DamagedError("not blocks of documents")
    ends = (*blocks[:, 0].tolist(), int(blocks[0, -1]))
    if ends != (0, 0, num_tokens + 1) or (np.diff(blocks[0]) < 1).any() or (np.diff(blocks[1]) < 0).any():
        raise DamagedError("not blocks of these documents")


def _ends(tokens: TokenArray, end_of_text: int, start: int, stop: int) -> np.ndarray:
    """The places of the end-of-texts from one place to another, with each of which a document begins."""
    stored = max(start, 1) + np.flatnonzero(tokens[max(start, 1) - 1 : stop - 1] == end_of_text)
    return stored if start else np.concatenate([[0], stored])


def _find(tokens: TokenArray, token: int, start: int) -> int | None:
    """Where a token occurs first from start on; None where it does not."""
    for begin in range(start, len(tokens), 4096):
        found = np.flatnonzero(tokens[begin : begin + 4096] == token)
        if len(found):
            return begin + int(found[0])
    return None
