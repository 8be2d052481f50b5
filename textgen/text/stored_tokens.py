"""Token ids in files, the shards of a store, mapped into memory and checked against digests of their blocks.

A shard is opened when a token of it is first read. Only so many are open at a time, those that were read
last, because a process may have only so many open files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import CorpusError
from textgen.system.digests import BLOCK_BYTES, CheckedBlocks, DamagedError
from textgen.text.manifest import Shard, require_shard

_ITERATED = 2**16  # tokens that are read at a time when iterating
MOST_OPEN = 128  # files; more than the sequences of most batches, and half of what some systems allow

# Where a shard is on this machine, by its name. Raises OSError, or CorpusError for one that cannot be had.
Locate = Callable[[str], Path]


class StoredTokens:
    """Token ids (N,), read-only; indexing gives arrays, as with one of NumPy. There may be more than 2**32.

    A block of a file is checked when a token of it is first read, the first block of the first file at once.
    """

    def __init__(
        self,
        locate: Locate,
        shards: Sequence[Shard],
        dtype: np.dtype[Any],
        block_bytes: int = BLOCK_BYTES,
        *,
        damaged: Callable[[Path, Exception], CorpusError],
        most_open: int = MOST_OPEN,
    ) -> None:
        """Open the first shard. damaged: makes the error for one that is missing, or not as it was written.

        Raises OSError, and ValueError when the first shard has another size or its first block is damaged.
        """
        self._locate, self._shards, self._dtype, self._damaged = locate, shards, dtype, damaged
        self._block_bytes, self._most_open = block_bytes, most_open
        self._starts = np.concatenate([[0], np.cumsum([shard.length for shard in shards], dtype=np.int64)])
        self._start_list: list[int] = self._starts.tolist()  # which is quicker to search for one position
        self._unchecked = [set(range(len(shard.blocks))) for shard in shards]
        self._num_unchecked = len(shards)  # shards of which a block is unchecked
        self._open: OrderedDict[int, tuple[np.ndarray, CheckedBlocks]] = OrderedDict()
        self._opened(0)[1].require([0])
        self._note_checked(0)

    def __len__(self) -> int:
        return self._start_list[-1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The unsigned integer type of the ids."""
        return self._dtype

    @property
    def are_checked(self) -> bool:
        """Whether all blocks have been checked."""
        return not self._num_unchecked

    @property
    def num_shards(self) -> int:
        """How many files there are."""
        return len(self._shards)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        """Some ids, as an array of the shape of an index array.

        Raises CorpusError for a shard that is missing or damaged, IndexError for one that does not exist.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._between(start, max(start, stop))
            index = np.arange(start, stop, step)
        if len(self._shards) == 1:
            ids = self._checked(0, index)
            chosen: np.ndarray = ids[index]
            return chosen
        return self._gathered(index)

    def _between(self, start: int, stop: int) -> np.ndarray:
        first = min(bisect_right(self._start_list, start) - 1, len(self._shards) - 1)
        pieces, begin = list[np.ndarray](), start
        for number in range(first, len(self._shards)):
            before, end = self._start_list[number], min(stop, self._start_list[number + 1])
            if begin < end or not pieces:
                within = slice(begin - before, max(begin, end) - before)
                pieces.append(self._checked(number, within)[within])
            begin = end
            if end == stop:
                break
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _gathered(self, index: np.ndarray) -> np.ndarray:
        """The ids at any positions, each shard read once."""
        flat = np.asarray(index).ravel()
        if flat.size and (flat.min() < 0 or flat.max() >= len(self)):
            raise IndexError(f"positions {flat.min()} to {flat.max()} of {len(self)} tokens")
        numbers = np.searchsorted(self._starts, flat, side="right") - 1
        order = np.argsort(numbers, kind="stable")
        present, begins = np.unique(numbers[order], return_index=True)
        chosen = np.empty(flat.shape, self._dtype)
        for number, places in zip(present.tolist(), np.split(order, begins[1:]), strict=True):
            within = flat[places] - self._start_list[number]
            chosen[places] = self._checked(number, within)[within]
        return chosen.reshape(index.shape)

    def __iter__(self) -> Iterator[np.integer]:
        for start in range(0, len(self), _ITERATED):
            yield from self[start : start + _ITERATED]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All ids; of several shards, a copy in memory. Raises CorpusError for a damaged block."""
        return np.array(self[:], dtype=dtype, copy=copy)

    def _checked(self, number: int, index: slice | np.ndarray) -> np.ndarray:
        """The ids of a shard, of which the blocks at an index have been checked. Raises CorpusError."""
        try:
            ids, blocks = self._opened(number)
            if blocks.are_checked:
                return ids
            ids_per_block = self._block_bytes // self._dtype.itemsize
            if isinstance(index, slice):
                blocks.require(range(index.start // ids_per_block, -(-index.stop // ids_per_block)))
            else:
                blocks.require(np.unique(index // ids_per_block).tolist())
        except (OSError, DamagedError) as error:
            raise self._damaged(self._locate(self._shards[number].name), error) from error
        self._note_checked(number)
        return ids

    def _note_checked(self, number: int) -> None:
        if not self._unchecked[number]:
            self._num_unchecked -= 1

    def _opened(self, number: int) -> tuple[np.ndarray, CheckedBlocks]:
        """A shard, opened if it is not. Raises OSError, DamagedError."""
        if (found := self._open.get(number)) is not None:
            self._open.move_to_end(number)
            return found
        shard = self._shards[number]
        path = self._locate(shard.name)
        require_shard(path, shard, self._dtype)
        # A memmap is slower to index than the array it is.
        ids = np.asarray(np.memmap(path, self._dtype, "r"))
        blocks = CheckedBlocks(ids.data.cast("B"), shard.blocks, self._block_bytes, self._unchecked[number])
        self._open[number] = ids, blocks
        if len(self._open) > self._most_open:
            self._open.popitem(last=False)
        return ids, blocks


TokenArray = np.ndarray | StoredTokens
