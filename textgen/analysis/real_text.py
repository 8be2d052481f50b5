"""Text that training never saw, in pieces that what a run writes can be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textgen.text.documents import Separator

PIECES = 20
_CHUNK_CHARACTERS = 5000  # the longest piece
_MOST_CHUNKS = 400  # two million characters are held at most


class RealText:
    """Text that training never saw, to be cut into pieces that samples can be compared with.

    Of a long text, chunks that are spread evenly over it. A piece never reaches from one document into
    another, as no sample does.
    """

    def __init__(self, name: str, stream: Iterable[str | Separator]) -> None:
        self.name = name
        self._chunks: list[str] = []
        every = 1
        for number, chunk in enumerate(_chunks(stream)):
            if number % every == 0:
                self._chunks.append(chunk)
            if len(self._chunks) > _MOST_CHUNKS:
                every, self._chunks = 2 * every, self._chunks[::2]

    def pieces(self, length: int, count: int = PIECES) -> list[str]:
        """At most `count` pieces of `length` characters, spread evenly; a shorter document is one whole."""
        length = max(length, 1)
        pieces = [
            chunk[start : start + length]
            for chunk in self._chunks
            for start in range(0, max(len(chunk) - length, 0) + 1, length)
        ]
        return [pieces[k * len(pieces) // count] for k in range(count)] if len(pieces) > count else pieces


def _chunks(stream: Iterable[str | Separator]) -> Iterator[str]:
    """Whole documents, and longer ones in chunks without what is left over at the end."""
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
