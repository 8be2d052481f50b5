"""Which whole documents a text stream holds: eight bytes a document, whatever their length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from textgen.text.documents import Separator


class KnownDocuments:
    """The documents of a text stream, without the line ends around each.

    They are kept as 64-bit hashes, so that one text in 10^19 / number of documents is taken for one of them.
    """

    def __init__(self, stream: Iterable[str | Separator]) -> None:
        hashes: list[int] = []
        pieces: list[str] = []
        for item in stream:
            if isinstance(item, Separator):
                hashes.append(_hash("".join(pieces)))
                pieces = []
            else:
                pieces.append(item)
        hashes.append(_hash("".join(pieces)))
        self._hashes = np.unique(np.array(hashes, np.uint64))

    def __contains__(self, document: str) -> bool:
        place = int(self._hashes.searchsorted(np.uint64(_hash(document))))
        return place < len(self._hashes) and int(self._hashes[place]) == _hash(document)


def _hash(document: str) -> int:
    digest = hashlib.blake2b(document.strip("\r\n").encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
