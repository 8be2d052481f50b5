"""What a terminal shows: text from outside cannot act on it, because its control characters become visible.

    sys.stdout = guarded(sys.stdout)     once, where the command line starts: what is printed is made visible
    unguarded(sys.stdout).write(...)     our own colours and cursor movements, around text that is visible()

The guard lets no sequence of any kind through, rather than recognising ours: a text could imitate those.
"""

from __future__ import annotations

import io
import re
from typing import Any, TextIO, cast

CONTROL_PICTURES = 0x2400  # the Unicode symbol for control character 0, followed by those for 1..31
NEWLINE_PICTURE, _DELETE_PICTURE = "\u240a", "\u2421"
# Control characters but newline and tab, and those that reverse the order of what follows them.
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str, *, pictures: bool = True) -> str:
    r"""A text without characters that act on a terminal: symbols or escapes stand for them.

    Newlines and tabs stay. pictures: whether there are symbols for ASCII control characters, instead of
    escapes.

    >>> visible("a\x1b[2J\x9b\u202eb") == "a" + chr(0x241B) + r"[2J\u009b\u202eb"
    True
    """
    return _ACTING.sub(_picture if pictures else _escape, text)


def one_line(text: str) -> str:
    """A name or message for one line: as visible() gives it, with symbols for newlines and tabs too.

    >>> one_line("a\\nb") == "a" + chr(0x240A) + "b"
    True
    """
    return visible(re.sub("[\n\t]", _picture, text))


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code == 0x7F:
        return _DELETE_PICTURE
    return chr(CONTROL_PICTURES + code) if code < 0x20 else _escape(found)


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


class GuardedStream(io.TextIOWrapper):
    """Writes to a terminal what visible() makes of a text; a carriage return before a newline is dropped.

    A character that the terminal's encoding does not have is written as an escape.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        stream.flush()
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        self._pictures = _has_pictures(stream.encoding)
        self._held = ""  # a carriage return at the end of a piece: a newline may follow in the next one

    def write(self, text: str) -> int:
        """Write a text; returns its length, whatever was written for it."""
        whole = (self._held + text).replace("\r\n", "\n")
        self._held = "\r" if whole.endswith("\r") else ""
        super().write(visible(whole.removesuffix(self._held), pictures=self._pictures))
        return len(text)


def _has_pictures(encoding: str) -> bool:
    try:
        _DELETE_PICTURE.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


class _Unguarded:
    """A guarded stream whose `write` passes everything; all else is the stream's, so that the order stays."""

    def __init__(self, stream: GuardedStream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guarded(stream: TextIO) -> TextIO:
    """The stream to use instead of this one: a guarded one for a terminal, else the same.

    A pipe and a file get every character as it is.
    """
    if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, GuardedStream) and stream.isatty():
        return GuardedStream(stream)
    return stream


def unguarded(stream: TextIO) -> TextIO:
    """Where to write our own control sequences, and nothing from outside that is not visible()."""
    return cast(TextIO, _Unguarded(stream)) if isinstance(stream, GuardedStream) else stream
