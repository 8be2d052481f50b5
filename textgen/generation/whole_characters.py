"""Whole characters: a token that cannot continue the character begun is never drawn.

With byte fallback and bpe the UTF-8 bytes of a character may be spread over several tokens. `pending` is what
is there of the last character: b"" between characters.

    pending  b""        "a", lead bytes, whole words    but no continuation bytes
    pending  b"\\xe0"     continuation bytes a0 to bf      but no lead byte, no "a", no end-of-text

Shapes: V model vocabulary.
"""

from __future__ import annotations

import codecs
from functools import lru_cache

import numpy as np

from textgen.generation.processors import LogitsProcessor
from textgen.generation.prompt import Prompt
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

_LONGEST = 4  # bytes of a character in UTF-8
# Lead bytes after which only some continuation bytes may follow: others would make a longer form of a
# character that has a shorter one, a surrogate, or a number beyond Unicode.
_STRICT = (b"\xe0", b"\xed", b"\xf0", b"\xf4")
_BY_MISSING = {1: b"\xc3", 2: b"\xe1", 3: b"\xf1"}  # a lead byte by the number of bytes that must follow it


def pending_bytes(text: bytes) -> bytes:
    """The bytes of the character that is not complete at the end of some bytes; b"" where there is none.

    >>> pending_bytes("aé".encode()[:2])
    b'\\xc3'
    >>> pending_bytes("aé".encode())
    b''
    """
    for length in range(1, min(len(text), _LONGEST - 1) + 1):
        if _can_follow(b"", text[-length:]) and _is_incomplete(text[-length:]):
            return text[-length:]
    return b""


def _can_follow(pending: bytes, added: bytes) -> bool:
    """Whether some bytes go on from those pending as UTF-8 does."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(pending + added)
    except UnicodeDecodeError:
        return False
    # Of a surrogate, Python refuses only the last byte.
    incomplete, _ = decoder.getstate()
    return not b"\xed\xa0" <= incomplete < b"\xee"


def _is_incomplete(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def _like(pending: bytes) -> bytes:
    """One of eight pending bytes that exactly the same may follow: b"", or a single lead byte.

    >>> _like("語".encode()[:2]) == _like("é".encode()[:1])
    True
    """
    if not pending or pending in _STRICT:
        return pending
    length = 2 + (pending[0] >= 0xE0) + (pending[0] >= 0xF0)
    return _BY_MISSING[length - len(pending)]


class CharacterRules:
    """Which tokens may follow which pending bytes, for one tokenizer and model vocabulary.

    token_bytes: by model id, what each token stands for; that of end-of-text does not count.
    """

    def __init__(self, token_bytes: list[bytes], end_of_text_id: int | None) -> None:
        self.token_bytes = token_bytes
        self._end_of_text_id = end_of_text_id
        self._masks: dict[bytes, np.ndarray] = {}

    def __call__(self, prompt: Prompt) -> LogitsProcessor:
        """The processor of one text: a ProcessorFactory."""
        return WholeCharacters(self, prompt)

    def mask(self, pending: bytes) -> np.ndarray:
        """The tokens that may follow, (V,) bool: those after which the character can be completed."""
        if not self._masks:
            self._masks = self._make_masks()
        return self._masks[_like(pending)]

    def _make_masks(self) -> dict[bytes, np.ndarray]:
        """The masks by `_like`."""
        kinds = (b"", *_STRICT, *_BY_MISSING.values())
        after = {pending: self._after(pending) for pending in kinds}
        # A token may complete one character and begin the next, so tokens can lead in a circle that never
        # ends: what can be completed is found from its end, b"".
        whole, num_before = {b""}, 0
        while num_before < len(whole):
            num_before = len(whole)
            whole |= {pending for pending in kinds if not whole.isdisjoint(after[pending].values())}
        masks = {pending: np.zeros(len(self.token_bytes), dtype=bool) for pending in kinds}
        for pending, mask in masks.items():
            mask[[model_id for model_id, follows in after[pending].items() if follows in whole]] = True
        if self._end_of_text_id is not None:
            masks[b""][self._end_of_text_id] = True
        return masks

    def _after(self, pending: bytes) -> dict[int, bytes]:
        """What is pending after each token that goes on as UTF-8 does, by model id and `_like`."""
        return {
            model_id: _like(pending_bytes(pending + added))
            for model_id, added in enumerate(self.token_bytes)
            if model_id != self._end_of_text_id and _can_follow(pending, added)
        }


class WholeCharacters(LogitsProcessor):
    """Refuses a token that would leave a broken character in one text."""

    def __init__(self, rules: CharacterRules, prompt: Prompt) -> None:
        token_bytes = prompt.tokenizer.token_bytes
        assert token_bytes is not None  # there would be no rules
        last = prompt.token_ids[-_LONGEST:].tolist()
        self._rules = rules
        self._pending = pending_bytes(b"".join(token_bytes[token_id] for token_id in last))

    def allows(self, model_id: int) -> bool:
        """As LogitsProcessor.allows."""
        return bool(self._rules.mask(self._pending)[model_id])

    def mask(self) -> np.ndarray:
        """As LogitsProcessor.mask."""
        return self._rules.mask(self._pending)

    def accept(self, model_id: int) -> None:
        """As LogitsProcessor.accept."""
        self._pending = pending_bytes(self._pending + self._rules.token_bytes[model_id])


@lru_cache(maxsize=8)
def character_rules(tokenizer: Tokenizer, vocab: ModelVocab) -> CharacterRules | None:
    """The rules for a tokenizer and the tokens that training saw.

    None where no token is part of a character, and for a tokenizer.json of another program, whose tokens do
    not stand for fixed bytes.
    """
    if tokenizer.token_bytes is None:
        return None
    by_model_id = [tokenizer.token_bytes[token_id] for token_id in vocab.token_ids.tolist()]
    if not any(map(_is_incomplete, by_model_id)):
        return None
    (found,) = np.flatnonzero(vocab.token_ids == tokenizer.end_of_text_id)[:1].tolist() or [None]
    return CharacterRules(by_model_id, found)
