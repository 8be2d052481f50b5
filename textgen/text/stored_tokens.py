"""Token ids in a file, mapped into memory and checked against the digests of its blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import CorpusError
from textgen.system.digests import BLOCK_BYTES, CheckedBlocks, DamagedError

_ITERATED = 2**16  # tokens that are read at a time when iterating


class StoredTokens:
    """Token ids (N,), read-only; indexing gives arrays, as with one of NumPy.

    A block of the file is checked when a token of it is first read, the first block at once.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[Any], digests: Sequence[str], block_bytes: int = BLOCK_BYTES
    ) -> None:
        """Map a file. Raises OSError, and ValueError when its size or its first block is damaged."""
        self._path = path
        # A memmap is slower to index than the array it is.
        self._ids = np.asarray(np.memmap(path, dtype, "r"))
        self._blocks = CheckedBlocks(self._ids.data.cast("B"), digests, block_bytes)
        self._blocks.require([0])

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The unsigned integer type of the ids."""
        return self._ids.dtype

    @property
    def are_checked(self) -> bool:
        """Whether all blocks have been checked."""
        return self._blocks.are_checked

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        """Some ids, as an array of the shape of an index array. Raises CorpusError for a damaged block."""
        if not self._blocks.are_checked:
            self._require(index)
        chosen: np.ndarray = self._ids[index]
        return chosen

    def __iter__(self) -> Iterator[np.integer]:
        for start in range(0, len(self), _ITERATED):
            yield from self[start : start + _ITERATED]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All ids. Raises CorpusError for a damaged block."""
        self._require(slice(None))
        return np.array(self._ids, dtype=dtype, copy=copy)

    def _require(self, index: slice | np.ndarray) -> None:
        ids_per_block = self._blocks.block_bytes // self._ids.itemsize
        try:
            if isinstance(index, slice):
                start, stop, _ = index.indices(len(self._ids))
                self._blocks.require(range(start // ids_per_block, -(-stop // ids_per_block)))
            else:
                self._blocks.require(np.unique(index // ids_per_block).tolist())
        except DamagedError as error:
            # Without this file the folder counts as missing, and is built again.
            (self._path.parent / "meta.json").unlink(missing_ok=True)
            raise CorpusError(
                f"{self._path}: {error}; start the command again, and the text is encoded again"
            ) from error


TokenArray = np.ndarray | StoredTokens
