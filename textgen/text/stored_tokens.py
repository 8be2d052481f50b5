"""Token ids in files, the shards of a store, mapped into memory and checked against digests of their blocks.

A shard is opened when a token of it is first read. Only so many are open at a time, those that were read
last, because a process may have only so many open files. A shard may have to be fetched first; then it is
locked while it is open, so that no process removes it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from textgen.errors import CorpusError
from textgen.system.digests import BLOCK_BYTES, CheckedBlocks, DamagedError
from textgen.system.locks import lock_while_alive
from textgen.text.manifest import Shard, require_shard

_ITERATED = 2**16  # tokens that are read at a time when iterating
MOST_OPEN = 128  # files; more than the sequences of most batches, and half of what some systems allow

_FEW_OPEN = 8  # of shards that are fetched, where nobody has said at how many places they are read
_TRIES = 3  # to open a file that another process may remove before it is locked

# Where a shard is on this machine, by its name. Raises OSError, or CorpusError for one that cannot be had.
Locate = Callable[[str], Path]


class ShardSource(Protocol):
    """Where shards are fetched from, as RemoteShards does."""

    def locate(self, name: str) -> Path: ...  # noqa: D102
    def expect(self, names: Iterable[str]) -> None: ...  # noqa: D102
    def adopt(self, reader: Any) -> None: ...  # noqa: D102
    def touch(self, name: str) -> None: ...  # noqa: D102


class StoredTokens:
    """Token ids (N,), read-only; indexing gives arrays, as with one of NumPy. There may be more than 2**32.

    A block of a file is checked when a token of it is first read, the first block of the first file at once,
    unless shards are fetched.
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
        source: ShardSource | None = None,
        is_checked: bool = False,
    ) -> None:
        """Open the first shard. damaged: makes the error for one that is missing, or not as it was written.

        source: where shards are fetched from, instead of `locate`; then none is opened yet. is_checked:
        whether all that was written has just been checked.

        Raises OSError, and ValueError when the first shard has another size or its first block is damaged.
        """
        self._locate, self._shards, self._dtype, self._damaged = locate, shards, dtype, damaged
        self._block_bytes, self._most_open = block_bytes, most_open
        self._starts = np.concatenate([[0], np.cumsum([shard.length for shard in shards], dtype=np.int64)])
        self._start_list: list[int] = self._starts.tolist()  # which is quicker to search for one position
        self._unchecked = [set(() if is_checked else range(len(shard.blocks))) for shard in shards]
        self._num_unchecked = 0 if is_checked else len(shards)  # shards of which a block is unchecked
        self._open: OrderedDict[int, tuple[np.ndarray, CheckedBlocks]] = OrderedDict()
        self._source = source
        self._expected = set[int]()  # since a shard was last opened
        self._in_order = -1  # the last shard of those that slices read in order
        if source is not None:
            source.adopt(self)
            self._locate, self._most_open = source.locate, _FEW_OPEN
            return
        try:
            self._opened(0)[1].require([0])
        except DamagedError as error:
            raise DamagedError(f"{shards[0].name}: {error}") from None
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
    def is_fetched(self) -> bool:
        """Whether shards have to be fetched, so that it helps to say which will be read."""
        return self._source is not None

    @property
    def num_open(self) -> int:
        """How many shards are open."""
        return len(self._open)

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

    def read_at(self, places: int) -> None:
        """Keep open what is read at so many places at the same time, where shards are fetched."""
        if self._source is not None:
            self._most_open = min(places, MOST_OPEN)

    def expect(self, positions: np.ndarray, *, shards_ahead: int = 0) -> None:
        """Fetch the shards of some positions in the background, or those so many shards after them."""
        if self._source is not None:
            numbers = np.searchsorted(self._starts, positions, side="right") - 1 + shards_ahead
            self._expect(np.unique(numbers % len(self._shards)).tolist())

    def _expect(self, numbers: Iterable[int]) -> None:
        assert self._source is not None
        new = [number for number in numbers if number not in self._open and number not in self._expected]
        self._expected.update(new)
        if new:
            self._source.expect([self._shards[number].name for number in new])

    def close_oldest(self) -> None:
        """Close the shard that was read least recently."""
        number, _ = self._open.popitem(last=False)
        if self._source is not None:
            self._source.touch(self._shards[number].name)

    def _between(self, start: int, stop: int) -> np.ndarray:
        first = min(bisect_right(self._start_list, start) - 1, len(self._shards) - 1)
        pieces, begin = list[np.ndarray](), start
        for number in range(first, len(self._shards)):
            before, end = self._start_list[number], min(stop, self._start_list[number + 1])
            if begin < end or not pieces:
                within = slice(begin - before, max(begin, end) - before)
                if self._source is not None:
                    self._expect_next(number)
                piece = self._checked(number, within)[within]
                # A view would keep the shard locked in the cache, and with it all others of a long slice.
                pieces.append(piece if self._source is None else piece.copy())
            begin = end
            if end == stop:
                break
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def _expect_next(self, number: int) -> None:
        """Fetch the shard after one that slices read, if they seem to read all in order."""
        if number == self._in_order + 1 < len(self._shards) - 1:
            self._expect([number, number + 1])
        if number in (self._in_order, self._in_order + 1) or number == 0:
            self._in_order = number

    def _gathered(self, index: np.ndarray) -> np.ndarray:
        """The ids at any positions, each shard read once."""
        flat = np.asarray(index).ravel()
        if flat.size and (flat.min() < 0 or flat.max() >= len(self)):
            raise IndexError(f"positions {flat.min()} to {flat.max()} of {len(self)} tokens")
        numbers = np.searchsorted(self._starts, flat, side="right") - 1
        order = np.argsort(numbers, kind="stable")
        present, begins = np.unique(numbers[order], return_index=True)
        chosen = np.empty(flat.shape, self._dtype)
        if self._source is not None:
            self._expect(present.tolist())  # several at a time
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
        """A shard, opened if it is not. Raises OSError, DamagedError, CorpusError."""
        if (found := self._open.get(number)) is not None:
            self._open.move_to_end(number)
            return found
        shard = self._shards[number]
        ids = self._mapped(shard)
        blocks = CheckedBlocks(ids.data.cast("B"), shard.blocks, self._block_bytes, self._unchecked[number])
        self._open[number] = ids, blocks
        if len(self._open) > self._most_open:
            self.close_oldest()
        return ids, blocks

    def _mapped(self, shard: Shard) -> np.ndarray:
        """The ids of a shard, mapped into memory, and locked where it is fetched."""
        for tries in range(_TRIES):
            path = self._locate(shard.name)
            try:
                require_shard(path, shard, self._dtype)
                # A memmap is slower to index than the array it is.
                ids = np.asarray(np.memmap(path, self._dtype, "r"))
                break
            except FileNotFoundError:
                if self._source is None or tries == _TRIES - 1:
                    raise
        if self._source is not None:
            self._expected.clear()
            lock_while_alive(ids, path)
        return ids


TokenArray = np.ndarray | StoredTokens
