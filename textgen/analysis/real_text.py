"""Cuts unseen text into pieces that samples can be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textgen.text.documents import Separator

PIECES = 20
_CHUNK_CHARACTERS = 5000  # the maximum length of a piece
_MAX_CHUNKS = 400  # keeps at most two million characters in memory


class RealText:
    """Text that was not trained on, called name, to compare samples with.

    Of a long text, evenly spaced chunks are kept. Like a sample, a piece never spans two documents.
    """

    def __init__(self, name: str, stream: Iterable[str | Separator]) -> None:
        self.name = name
        self._chunks: list[str] = []
        every = 1
        for number, chunk in enumerate(_chunks(stream)):
            if number % every == 0:
                self._chunks.append(chunk)
            if len(self._chunks) > _MAX_CHUNKS:
                every, self._chunks = 2 * every, self._chunks[::2]

    def pieces(self, length: int, count: int = PIECES) -> list[str]:
        """At most `count` evenly spaced pieces of `length` characters; shorter documents are kept whole."""
        length = max(length, 1)
        pieces = [
            chunk[start : start + length]
            for chunk in self._chunks
            for start in range(0, max(len(chunk) - length, 0) + 1, length)
        ]
        return [pieces[k * len(pieces) // count] for k in range(count)] if len(pieces) > count else pieces


def _chunks(stream: Iterable[str | Separator]) -> Iterator[str]:
    """Short documents whole, long ones in chunks of equal length without the remainder."""
    held, is_long = "", False
    for item in stream:
        if isinstance(item, Separator):
            if not is_long:
                yield held
            held, is_long = "", False
            continue
        held += item
        while len(held) >= _CHUNK_CHARACTERS:
            yield held[:_CHUNK_CHARACTERS]
            held, is_long = held[_CHUNK_CHARACTERS:], True
    if held and not is_long:
        yield held
