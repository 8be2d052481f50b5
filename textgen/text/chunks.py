"""Where a stream of text may be cut so that the tokens stay those of each document encoded in one call.

A tokenizer first splits text into pre-tokens, from left to right, and then encodes each by itself. A cut
between two pre-tokens is safe when neither what comes before it nor what comes after it needs to see across:

- Between a letter and a space, a line end, or a Chinese comma or full stop. None of the patterns used here
  has a match that crosses from one to the other, or that ends before it and looks past it.
- Between anything and a space or a line end, in the splits that textgen makes itself: there only white space
  begins what white space goes on with.
- At a boundary of the tokenizer's own split that lies far enough before the end for more text not to move it:
  a split whose matches are all short cannot see further than its longest match. But a run of white space may
  be split otherwise when a word follows than when the text ends, so not between the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from tokenizers import pre_tokenizers

from textgen.text.documents import Separator

CHUNK_CHARACTERS = 1500  # the library encodes longer texts more slowly, and shorter ones

Piece = list[str | Separator]

# Given a text that goes on: where it may be cut, or 0 where nothing is known to be safe.
Cut = Callable[[str], int]

# The last such place of a text: what comes before it takes all there is and gives it back from the end.
_AFTER_LETTER = re.compile(r"(?s:.*)(?:[A-Za-z](?=[ \n])|[一-龥](?=[ \n，。]))")
# The two named were white space in other versions of Unicode than Python's.
_BEFORE_SPACE = re.compile(r"(?s:.*)(?:[^\s\u180e\u200b](?=[ \n])|[一-龥](?=[，。]))")


def cut_nowhere(text: str) -> int:
    """For tokenizers that must see a document whole."""
    return 0


def cut_anywhere(text: str) -> int:
    """For tokenizers that encode each character by itself."""
    return len(text)


def cut_after_letter(text: str) -> int:
    """The last place between a letter and what always ends a word."""
    match = _AFTER_LETTER.match(text)
    return match.end() if match else 0


def holds_a_cut(token: str) -> bool:
    """Whether `cut_after_letter` may cut within this token, or beside it where it takes in white space."""
    return _AFTER_LETTER.match(token) is not None or any(map(str.isspace, token))


def cut_by_split(split: pre_tokenizers.PreTokenizer, longest: int) -> Cut:
    """A cut for a split of textgen's own, none of whose matches looks at more than `longest` characters."""

    def cut(text: str) -> int:
        if match := _BEFORE_SPACE.match(text):
            return match.end()
        ends = [end for _, (_, end) in split.pre_tokenize_str(text) if end <= len(text) - longest]
        safe = (end for end in reversed(ends) if not text[end - 1].isspace() or text[end] in " \t\r\n")
        return next(safe, 0)

    return cut


def chunks(
    stream: Iterable[str | Separator], cut: Cut, size: int = CHUNK_CHARACTERS, *, at_once: bool = False
) -> Iterator[str | Separator]:
    """The same stream in other pieces: about `size` characters where `cut` finds a place, else more.

    at_once: what comes in shorter pieces is given on as soon as it can be, and not gathered.
    """
    least = 0 if at_once else size
    held: list[str] = []
    num_held = 0
    wanted = least  # characters to gather before looking for a place
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
        # Where there is no place, look again when there is twice as much: looking then costs little in all.
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
    """A stream in batches of `size` characters or a little more."""
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
