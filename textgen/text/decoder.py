"""From ids back to text, one id at a time, never half a character.

A character may be spread over several tokens. Its first bytes are kept until the last one comes; what is
incomplete at the end, or is no UTF-8, becomes U+FFFD.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

_REPLACEMENT = "\ufffd"


class Decoder(Protocol):
    """Turns a growing sequence of ids into text as it grows."""

    def push(self, token_id: int) -> str:
        """The text that this id completes; empty while a character is incomplete."""

    def peek(self, token_id: int) -> str:
        """All that would come from here on if this id were the last, but for an incomplete character.

        Nothing changes. It is more than `push` would give where that waits for what follows.
        """

    def flush(self) -> str:
        """What was kept, at the end; the decoder then starts afresh."""


class ByteDecoder:
    """For tokenizers each of whose tokens stands for certain bytes."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """The text that this id completes."""
        return self._utf8.decode(self._token_bytes[token_id])

    def peek(self, token_id: int) -> str:
        """All that would come if this id were the last."""
        before = self._utf8.getstate()
        text = self._utf8.decode(self._token_bytes[token_id])
        self._utf8.setstate(before)
        return text

    def flush(self) -> str:
        """What was kept."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text


class WindowDecoder:
    """For tokenizers whose tokens mean something only together: what a new id adds to the text of a few.

    The window begins with the ids of the last text given, since what a token looks like can depend on whether
    another stands before it.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._restart()

    def _restart(self) -> None:
        self._ids: list[int] = []
        self._num_given = 0  # how many of them have been given as text

    def push(self, token_id: int) -> str:
        """The text that this id completes."""
        self._ids.append(token_id)
        text = self._added()
        if not text or text.endswith(_REPLACEMENT):
            return ""
        self._ids = self._ids[self._num_given :]
        self._num_given = len(self._ids)
        return text

    def peek(self, token_id: int) -> str:
        """All that would come if this id were the last."""
        self._ids.append(token_id)
        text = self._added()
        self._ids.pop()
        return text.rstrip(_REPLACEMENT)

    def flush(self) -> str:
        """What was kept."""
        text = self._added()
        self._restart()
        return text

    def _added(self) -> str:
        given = self._decode(self._ids[: self._num_given])
        return self._decode(self._ids)[len(given) :]
