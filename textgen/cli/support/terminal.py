"""Text for a terminal: coloured by its bits, and with control characters made visible."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise

from textgen.system.terminal import CONTROL_PICTURES

# The least bits of each colour, doubling: a character needs a few bits, a subword many. Text below the first
# is not coloured. A colour is a pair of foreground and background of the 256, so that it is readable on dark
# and light terminals, and gets darker with the bits, so that the order shows without telling hues apart.
BITS = (1, 2, 4, 8, 16)
PAINTS = tuple(
    f"\x1b[38;5;{foreground};48;5;{background}m"
    for foreground, background in ((16, 229), (16, 221), (16, 208), (231, 160), (231, 53))
)
RESET = "\x1b[0m"
TAB, NEWLINE = "→   ", "↵"


def escaped(text: str) -> str:
    """A text as a JSON string in which every character that is not printable is an escape.

    >>> print(escaped("naïve" + chr(27) + chr(0x9B)))
    "naïve\\u001b\\u009b"
    """
    string = json.dumps(text, ensure_ascii=False)
    if string.isprintable():
        return string
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in string)


def legend() -> str:
    """What the colours mean, in one line."""
    names = [f"below {BITS[0]}", *(f"{low} to {high}" for low, high in pairwise(BITS))]
    names.append(f"from {BITS[-1]}")
    return "bits: " + " ".join(
        _painted(f" {name} ", step) if step else name for step, name in enumerate(names)
    )


def coloured(segments: Iterable[tuple[str, float]]) -> Iterator[str]:
    """Segments of text with their bits, as coloured text; neighbours of one colour share the escape codes."""
    gathered, current = "", 0
    for text, bits in segments:
        step = bisect_right(BITS, bits)
        if step != current and gathered:
            yield _painted(gathered, current)
            gathered = ""
        gathered, current = gathered + text, step
    if gathered:
        yield _painted(gathered, current)


def _painted(text: str, step: int) -> str:
    shown = "".join(map(_shown, text))
    if not step:
        return shown
    # A background colour that is still on at the end of a line would fill the rest of the row.
    rows = [f"{row}{NEWLINE}" for row in shown.split("\n")]
    rows[-1] = rows[-1].removesuffix(NEWLINE)
    return "\n".join(f"{PAINTS[step - 1]}{row}{RESET}" if row else "" for row in rows)


def _shown(character: str) -> str:
    """The character, or a symbol if it is not printable; a newline stays."""
    if character.isprintable() or character == "\n":
        return character
    code = ord(character)
    if character == "\t":
        return TAB
    return chr(CONTROL_PICTURES + code) if code < 0x20 else f"<U+{code:04X}>"
