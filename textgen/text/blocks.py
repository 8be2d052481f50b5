"""Blocks of a long text, spread evenly over it, written one after the other.

    text    ████░░░░░░░░████░░░░░░░░████░░░░░░░░        written: ████╳████╳████╳

A text that is short enough is one block. In what is written, DOCUMENT begins the separator between two
documents and ends a block, and a GAP follows it for each character of the separator: bytes that no UTF-8
holds, so no segment of text reaches across.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from textgen.text.documents import Separator, TextSize

DOCUMENT, GAP = b"\xfe", b"\xff"


@dataclass(frozen=True)
class Block:
    """Where a block begins: at which byte of what is written, and in the text, of which `offset` is in
    characters, documents and lines are counted from 1, and lines within their document."""

    start: int
    offset: int
    document: int
    line: int


def spread_blocks(size: TextSize, largest: int, count: int) -> list[tuple[int, int]]:
    """The characters (start, stop) of each block: of all the text, or of about `largest` bytes of it."""
    if size.bytes <= largest:
        return [(0, size.characters)]
    length = size.characters * largest // (size.bytes * count)
    starts = [size.characters * k // count for k in range(count)]
    return [(start, start + length) for start in starts]


def copy_blocks(
    stream: Iterable[str | Separator], spans: Iterable[tuple[int, int]], file: BinaryIO
) -> list[Block]:
    """Write the characters of a stream that are in spans, which ascend. Returns where the blocks begin."""
    waiting = list(spans)[::-1]  # the next one last
    blocks: list[Block] = []
    inside = False  # whether the next one's block has begun
    offset, document, line = 0, 1, 1
    for item in stream:
        if isinstance(item, Separator):
            if inside:
                file.write(DOCUMENT + GAP * item.characters)
            offset, document, line = offset + item.characters, document + 1, 1
            continue
        end = offset + len(item)
        while waiting and waiting[-1][0] < end:
            start, stop = waiting[-1]
            first = max(start - offset, 0)
            if not inside:
                blocks.append(Block(file.tell(), offset + first, document, line + item.count("\n", 0, first)))
            # A span may have ended within the separator before this piece.
            file.write(item[first : max(stop - offset, first)].encode())
            inside = stop > end
            if inside:
                break
            file.write(DOCUMENT)
            waiting.pop()
        offset, line = end, line + item.count("\n")
    return blocks
