"""SHA-256 digests of files, which show that their bytes are as they were written.

They do not show who wrote them: whoever can change a file can write its digest too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BLOCK_BYTES = 64 * 2**20
_READ_BYTES = 2**18
SEAL = "sha256"  # the field of a sealed object that holds its digest


class DamagedError(ValueError):
    """What a file holds is not what was written."""


def file_digest(path: Path) -> str:
    """The digest of a file. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def block_digests(path: Path, block_bytes: int = BLOCK_BYTES) -> list[str]:
    """The digest of each block of a file; the last block may be shorter. Raises OSError."""
    digests, digest, left = list[str](), hashlib.sha256(), block_bytes
    with path.open("rb") as file:
        while read := file.read(min(left, _READ_BYTES)):
            digest.update(read)
            left -= len(read)
            if left == 0:
                digests.append(digest.hexdigest())
                digest, left = hashlib.sha256(), block_bytes
    return digests if left == block_bytes else [*digests, digest.hexdigest()]


def require_files(folder: Path, digests: Mapping[str, str]) -> None:
    """Raise DamagedError unless each named file of a folder has its digest; OSError where there is none."""
    for name, digest in digests.items():
        if file_digest(folder / name) != digest:
            raise DamagedError(f"{name} has changed since it was written")


class CheckedBlocks:
    """Bytes that are checked block by block, each when it is first asked for.

    content: all bytes. digests: as block_digests returns them. unchecked: the numbers of blocks that are yet
    to be checked, which is changed; None: all.
    """

    def __init__(
        self,
        content: memoryview,
        digests: Sequence[str],
        block_bytes: int = BLOCK_BYTES,
        unchecked: set[int] | None = None,
    ) -> None:
        if len(digests) != -(-len(content) // block_bytes):
            raise DamagedError(f"{len(digests)} digests for {len(content)} bytes")
        self._content = content
        self._digests = digests
        self.block_bytes = block_bytes
        self._unchecked = set(range(len(digests))) if unchecked is None else unchecked

    @property
    def are_checked(self) -> bool:
        """Whether all blocks have been checked."""
        return not self._unchecked

    def require(self, numbers: Iterable[int]) -> None:
        """Check some blocks, by their number from 0. Raises DamagedError."""
        for number in self._unchecked.intersection(numbers):
            begin = number * self.block_bytes
            block = self._content[begin : begin + self.block_bytes]
            if hashlib.sha256(block).hexdigest() != self._digests[number]:
                raise DamagedError(f"block {number} has changed since it was written")
            self._unchecked.remove(number)


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """An object for a JSON file with a digest of itself in it."""
    return {**content, SEAL: _digest_of(content)}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Whether an object has a digest of itself; those of earlier versions have none."""
    return SEAL in content


def unsealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A sealed object without its digest. Raises DamagedError where it has none, or another one."""
    inner = {name: value for name, value in content.items() if name != SEAL}
    if content.get(SEAL) != _digest_of(inner):
        raise DamagedError("it has changed since it was written")
    return inner


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
