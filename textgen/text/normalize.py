"""Unicode normalization of a text that arrives in blocks.

block            the caf e | ◌́ is open          "|" is where a block ends
normalized, nfc  the caf   | é is open           what the next block may still change is held back
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import Literal

from textgen.text.documents import Separator

_Name = Literal["NFC", "NFD", "NFKC", "NFKD"]
_NAMES: dict[str, _Name] = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC", "nfkd": "NFKD"}
_FORM_CHARACTERS = 2**20  # of the beginning of a text, which say in which form it is


def normalize(text: str, form: str | None) -> str:
    """A whole text in a form: nfc, nfd, nfkc or nfkd; None: as it is."""
    return text if form is None or text.isascii() else unicodedata.normalize(_NAMES[form], text)


def normalized(blocks: Iterable[str], form: str | None) -> Iterator[str]:
    """A text that arrives in blocks in a form, as if it were normalized as a whole; None: as it is.

    What further text could change is held back: at most what follows the last line end of a block.
    """
    if form is None:
        yield from blocks
        return
    held = ""
    for block in blocks:
        cut = _last_cut(block, form)
        if cut is None:
            held += block
            continue
        if ready := normalize(held + block[:cut], form):
            yield ready
        held = block[cut:]
    if held:
        yield normalize(held, form)


def form_of(text: str) -> str | None:
    """`nfc` or `nfd` if a text is in one of these forms and not in the other; else None."""
    if text.isascii():
        return None
    composed, decomposed = unicodedata.is_normalized("NFC", text), unicodedata.is_normalized("NFD", text)
    return None if composed == decomposed else "nfc" if composed else "nfd"


def form_of_stream(stream: Iterable[str | Separator]) -> str | None:
    """The form of a text stream, as form_of, by its beginning."""
    taken: list[str] = []
    num_taken = 0
    for item in stream:
        if isinstance(item, str):
            taken.append(item)
            num_taken += len(item)
        if num_taken >= _FORM_CHARACTERS:
            break
    return form_of("".join(taken))


def _last_cut(block: str, form: str) -> int | None:
    """The last place in a block such that text before and after it can be normalized separately."""
    if block.endswith("\n"):  # which composes with nothing
        return len(block)
    for position in range(len(block) - 1, -1, -1):
        if _begins_anew(block[position], form):
            return position
    return None


@lru_cache(maxsize=2**12)
def _begins_anew(character: str, form: str) -> bool:
    """Whether a character never composes or changes places with those before it.

    It must not begin with a combining mark once it is decomposed, nor with the second half of a character.
    """
    first = unicodedata.normalize("NFKD" if "k" in form else "NFD", character)[0]
    return unicodedata.combining(first) == 0 and (first.isascii() or first not in _second_halves())


@cache
def _second_halves() -> frozenset[str]:
    """The characters with which others compose: the last of each canonical decomposition, and of Hangul."""
    last = set(map(chr, (*range(0x1161, 0x1176), *range(0x11A7, 0x11C3))))  # vowels, and final consonants
    for code in range(0x80, sys.maxunicode + 1):
        decomposition = unicodedata.decomposition(chr(code))
        if " " in decomposition and not decomposition.startswith("<"):
            last.add(chr(int(decomposition.rsplit(" ", 1)[1], 16)))
    return frozenset(last)
