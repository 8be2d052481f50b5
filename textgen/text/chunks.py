"""Cutting a stream of text into chunks that encode to the same tokens as the whole document in one call.

A tokenizer first splits text into pre-tokens, from left to right, and then encodes each one separately. A cut
between two pre-tokens is safe when the split on either side does not depend on the text on the other side:

- Between a letter and a space, a line end, or a Chinese comma or full stop. None of the patterns used here
  has a match that spans this boundary, or that ends before it and looks ahead past it.
- Between anything and a space or a line end, in textgen's own splits: there, white space only continues a
  pre-token that white space began.
- At a boundary of the tokenizer's own split that is far enough from the end that more text cannot move it: a
  split cannot look further than its longest match. Not inside a run of white space, though: that may be split
  differently before a word than at the end of the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from tokenizers import pre_tokenizers

from textgen.text.documents import Separator

CHUNK_CHARACTERS = 1500  # the library encodes both longer and shorter texts more slowly

# Consecutive items of a text stream, encoded in one call.
Piece = list[str | Separator]

# The last safe place to cut a text that may continue, as a character index; 0 when none is known.
Cut = Callable[[str], int]

# Both patterns find the last match in a text: the greedy .* takes everything and backtracks from the end.
_AFTER_LETTER = re.compile(r"(?s:.*)(?:[A-Za-z](?=[ \n])|[一-龥](?=[ \n，。]))")
# U+180E and U+200B are white space in other versions of Unicode than Python's.
_BEFORE_SPACE = re.compile(r"(?s:.*)(?:[^\s\u180e\u200b](?=[ \n])|[一-龥](?=[，。]))")


def cut_nowhere(text: str) -> int:
    """The cut for tokenizers that must encode each document in one call."""
    return 0


def cut_anywhere(text: str) -> int:
    """The cut for tokenizers that encode each character separately."""
    return len(text)


def cut_after_letter(text: str) -> int:
    """Cut at the last place between a letter and a character that always ends a word."""
    match = _AFTER_LETTER.match(text)
    return match.end() if match else 0


def holds_a_cut(token: str) -> bool:
    """Whether `cut_after_letter` could cut inside this token, or next to it where it includes white space."""
    return _AFTER_LETTER.match(token) is not None or any(map(str.isspace, token))


def cut_by_split(split: pre_tokenizers.PreTokenizer, longest: int) -> Cut:
    """A cut for one of textgen's own splits, whose matches look at no more than `longest` characters."""

    def cut(text: str) -> int:
        if match := _BEFORE_SPACE.match(text):
            return match.end()
        ends = [end for _, (_, end) in split.pre_tokenize_str(text) if end <= len(text) - longest]
        safe = (end for end in reversed(ends) if not text[end - 1].isspace() or text[end] in " \t\r\n")
        return next(safe, 0)

    return cut


def chunks(
    stream: Iterable[str | Separator], cut: Cut, size: int = CHUNK_CHARACTERS, *, unbuffered: bool = False
) -> Iterator[str | Separator]:
    """Regroup a text stream into strings of about `size` characters, or more where `cut` finds no place.

    unbuffered: yield shorter strings as soon as they can be cut, instead of collecting `size` characters.
    """
    least = 0 if unbuffered else size
    held: list[str] = []
    num_held = 0
    wanted = least  # characters to collect before looking for a place to cut
    for item in _slices(stream, size):
        if isinstance(item, Separator):
            if num_held:
                yield "".join(held)
            yield item
            held, num_held, wanted = [], 0, least
            continue
        held.append(item)
        num_held += len(item)
        if num_held < wanted:
            continue
        text = "".join(held)
        position = cut(text)
        if position:
            yield text[:position]
        held, num_held = [text[position:]], len(text) - position
        # Where there is no place, look again when there is twice as much, so that the total work is linear.
        wanted = max(least, 2 * num_held)
    if num_held:
        yield "".join(held)


def _slices(stream: Iterable[str | Separator], size: int) -> Iterator[str | Separator]:
    for item in stream:
        if isinstance(item, Separator):
            yield item
        else:
            yield from (item[start : start + size] for start in range(0, len(item), size))


def batches(stream: Iterable[str | Separator], size: int) -> Iterator[Piece]:
    """Group a text stream into batches of `size` characters or a little more; a separator counts as one."""
    batch: Piece = []
    num_characters = 0
    for item in stream:
        batch.append(item)
        num_characters += 1 if isinstance(item, Separator) else len(item)
        if num_characters >= size:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch
