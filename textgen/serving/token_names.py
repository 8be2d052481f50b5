"""Names of tokens in JSON: one for each token id, and never the same for two.

    " the"              a token of whole characters is named by its text
    "bytes:\\xe2\\x82"    one that is no valid UTF-8, by its bytes
    "bytes:\\x61"        the byte "a" of a tokenizer that also has the character "a"

So the alternatives of a token can be the keys of a JSON object.
"""

from __future__ import annotations

from collections import defaultdict

from textgen.errors import TokenizerError
from textgen.generation.healing import spellings_of
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

_BYTES = "bytes:"


class TokenNames:
    """The names of a tokenizer's tokens, and the bytes that they stand for, by token id."""

    def __init__(self, tokenizer: Tokenizer, vocab: ModelVocab) -> None:
        self._bytes = _contents(tokenizer, vocab)
        self._names = _names(tokenizer, self._bytes)

    def __len__(self) -> int:
        """How many tokens there are."""
        return len(self._names)

    def __getitem__(self, token_id: int) -> str:
        """The name of a token."""
        return self._names[token_id]

    def bytes_of(self, token_id: int) -> bytes:
        """What a token stands for."""
        return self._bytes[token_id]

    def piece(self, token_id: int) -> str | list[int]:
        """A token's text, or its bytes as numbers where they are no valid UTF-8."""
        content = self._bytes[token_id]
        text = _text(content)
        return list(content) if text is None else text


def _contents(tokenizer: Tokenizer, vocab: ModelVocab) -> list[bytes]:
    """The bytes that each token stands for, by id.

    Where a tokenizer of other tools has no fixed ones, those that it adds to a text, or those of its name.
    """
    if tokenizer.token_bytes is not None:
        return tokenizer.token_bytes
    spellings = spellings_of(tokenizer, vocab)
    assert spellings is not None  # it is neither of characters nor of bytes
    return [
        spellings.of(token_id) or tokenizer.token_text(token_id).encode()
        for token_id in range(tokenizer.vocab_size)
    ]


def _names(tokenizer: Tokenizer, contents: list[bytes]) -> list[str]:
    ids_of = defaultdict[bytes, list[int]](list)
    for token_id, content in enumerate(contents):
        ids_of[content].append(token_id)
    names = [""] * len(contents)
    for content, token_ids in ids_of.items():
        text = _text(content)
        if text is not None and text and not text.startswith(_BYTES):
            # Of several with one text, the token that the tokenizer writes it with.
            named = token_ids[0] if len(token_ids) == 1 else _usual(tokenizer, text, token_ids)
            names[named] = text
        else:
            named = None
        others = [token_id for token_id in token_ids if token_id != named]
        escaped = _BYTES + "".join(f"\\x{byte:02x}" for byte in content)
        for number, token_id in enumerate(others):
            names[token_id] = escaped if content and not number else f"{escaped}#{token_id}"
    return names


def _text(content: bytes) -> str | None:
    """The text of some bytes; None where they are no valid UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _usual(tokenizer: Tokenizer, text: str, token_ids: list[int]) -> int:
    """The token among several with the same text that encoding the text gives; else the first."""
    try:
        found = tokenizer.encode(text).tolist()
    except TokenizerError:  # the name of end-of-text
        found = []
    return found[0] if len(found) == 1 and found[0] in token_ids else token_ids[0]
