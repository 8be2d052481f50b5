"""Evenly spaced blocks of a long text, written to a file one after another.

    text    ████░░░░░░░░████░░░░░░░░████░░░░░░░░        file: ████╳████╳████╳

A short text is one block. In the file, a DOCUMENT byte marks the end of a document or of a block; at the end
of a document, one GAP byte follows for each character of the separator. Neither byte occurs in UTF-8, so no
match of a text can extend across them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from textgen.text.documents import Separator, TextSize

DOCUMENT, GAP = b"\xfe", b"\xff"


@dataclass(frozen=True)
class Block:
    """Where a block begins, in the file and in the text.

    start: byte offset in the file. offset: characters of the text before the block, separators included.
    document: counted from 1. line: counted from 1 within its document.
    """

    start: int
    offset: int
    document: int
    line: int


def spread_blocks(size: TextSize, largest: int, count: int) -> list[tuple[int, int]]:
    """The span of each block as (start, stop) in characters, ascending.

    A text of at most `largest` bytes is one block; a longer one has `count` equally long blocks that come to
    about `largest` bytes.
    """
    if size.bytes <= largest:
        return [(0, size.characters)]
    length = size.characters * largest // (size.bytes * count)
    starts = [size.characters * k // count for k in range(count)]
    return [(start, start + length) for start in starts]


def copy_blocks(
    stream: Iterable[str | Separator], spans: Iterable[tuple[int, int]], file: BinaryIO
) -> list[Block]:
    """Write the characters of a text stream that lie in the spans to a file, in UTF-8.

    spans: (start, stop) in characters, separators included, ascending. Returns where each block begins.
    """
    pending = list(spans)[::-1]  # the next one last
    blocks: list[Block] = []
    inside = False  # whether the block of the next span has begun
    offset, document, line = 0, 1, 1
    for item in stream:
        if isinstance(item, Separator):
            if inside:
                file.write(DOCUMENT + GAP * item.characters)
            offset, document, line = offset + item.characters, document + 1, 1
            continue
        end = offset + len(item)
        while pending and pending[-1][0] < end:
            start, stop = pending[-1]
            first = max(start - offset, 0)
            if not inside:
                blocks.append(Block(file.tell(), offset + first, document, line + item.count("\n", 0, first)))
            # A span may have ended within the separator before this piece.
            file.write(item[first : max(stop - offset, first)].encode())
            inside = stop > end
            if inside:
                break
            file.write(DOCUMENT)
            pending.pop()
        offset, line = end, line + item.count("\n")
    return blocks
