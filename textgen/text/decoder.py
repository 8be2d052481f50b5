"""Incremental decoding: token ids to text, one id at a time, in whole characters.

The bytes of a character may be spread over several tokens. An incomplete character is buffered until its last
byte arrives; one that is incomplete at the end, and bytes that are not UTF-8, become U+FFFD.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

_REPLACEMENT = "\ufffd"


class Decoder(Protocol):
    """Decodes token ids to text incrementally."""

    def push(self, token_id: int) -> str:
        """Append an id and return the text that it completes; empty while a character is incomplete."""

    def peek(self, token_id: int) -> str:
        """The text that would still be returned if this id were the last, without an incomplete character.

        The state does not change. This can be more than `push` returns, when `push` waits for the next id.
        """

    def flush(self) -> str:
        """End the text: return what is buffered and reset the decoder."""


class ByteDecoder:
    """The decoder for tokenizers in which every token stands for fixed bytes."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        """Append an id and return the text that it completes."""
        return self._utf8.decode(self._token_bytes[token_id])

    def peek(self, token_id: int) -> str:
        """The text that would still be returned if this id were the last."""
        before = self._utf8.getstate()
        text = self._utf8.decode(self._token_bytes[token_id])
        self._utf8.setstate(before)
        return text

    def flush(self) -> str:
        """Return what is buffered and reset the decoder."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text


class WindowDecoder:
    """The decoder for any other tokenizer: decodes a window of recent ids and returns what a new id adds.

    The window begins with the ids of the text that was returned last, since the text of a token can depend on
    the token before it.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._reset()

    def _reset(self) -> None:
        self._ids: list[int] = []
        self._num_returned = 0  # how many of them have been returned as text

    def push(self, token_id: int) -> str:
        """Append an id and return the text that it completes."""
        self._ids.append(token_id)
        text = self._added()
        if not text or text.endswith(_REPLACEMENT):
            return ""
        self._ids = self._ids[self._num_returned :]
        self._num_returned = len(self._ids)
        return text

    def peek(self, token_id: int) -> str:
        """The text that would still be returned if this id were the last."""
        self._ids.append(token_id)
        text = self._added()
        self._ids.pop()
        return text.rstrip(_REPLACEMENT)

    def flush(self) -> str:
        """Return what is buffered and reset the decoder."""
        text = self._added()
        self._reset()
        return text

    def _added(self) -> str:
        returned = self._decode(self._ids[: self._num_returned])
        return self._decode(self._ids)[len(returned) :]


class SkippingDecoder:
    """A decoder that leaves out the first characters of what another one returns."""

    def __init__(self, decoder: Decoder, num_skipped: int) -> None:
        self._decoder = decoder
        self._num_left = num_skipped  # characters still to be left out

    def push(self, token_id: int) -> str:
        """Append an id and return the text that it completes."""
        return self._skip(self._decoder.push(token_id))

    def peek(self, token_id: int) -> str:
        """The text that would still be returned if this id were the last."""
        return self._decoder.peek(token_id)[self._num_left :]

    def flush(self) -> str:
        """Return what is buffered and reset the decoder."""
        return self._skip(self._decoder.flush())

    def _skip(self, text: str) -> str:
        skipped = min(len(text), self._num_left)
        self._num_left -= skipped
        return text[skipped:]
