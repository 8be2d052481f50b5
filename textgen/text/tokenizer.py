"""Text to ids and back. One class around the `tokenizers` library for every kind of tokenizer.

What is saved is the library's own tokenizer.json: `tokenizers.Tokenizer.from_file` reads it and gives the
same ids. For `char` a table from code point to id does the same faster; for `byte` the UTF-8 is the ids.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import tokenizers

from textgen.errors import TokenizerError
from textgen.settings.config import TOKENIZER_KINDS
from textgen.settings.option import unknown_name
from textgen.system.atomic import write_file
from textgen.text.chunks import Cut, Piece, batches, chunks, cut_anywhere, cut_by_split
from textgen.text.decoder import ByteDecoder, Decoder, WindowDecoder
from textgen.text.documents import Separator
from textgen.text.external import adopt, cut_of, encoding_errors, read_library
from textgen.text.vocabulary import (
    BYTE_TOKENS,
    LONGEST_MATCH,
    Sampled,
    kind_of,
    learn,
    named_end_of_text,
    split_of,
)

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCH_CHARACTERS = 2**18  # encoded together: a table's work stays in the processor's cache
_AHEAD = 3  # batches that the library is given at once: work for all processors, in a few dozen megabytes
_MARK = "\ud800"  # stands for end-of-text among characters: a lone surrogate, which no text can hold
_MARK_BYTES = _MARK.encode("utf-8", "surrogatepass")


class Tokenizer:
    """A tokenizer of a kind: `char`, `byte`, `bpe`, `word`, or `external` for one that was made elsewhere.

    Ids are 0..vocab_size-1. No text produces end_of_text_id: one that would is refused with a TokenizerError.
    """

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        end_of_text = named_end_of_text(json.loads(library.to_str()))
        if end_of_text is None:
            raise TokenizerError(
                "the tokenizer does not say which token is end-of-text; read it with from_file"
            )
        vocabulary = library.get_vocab()
        if end_of_text not in vocabulary:
            raise TokenizerError(
                f"the tokenizer names {end_of_text!r} as end-of-text and has no such token; it is damaged"
            )
        self._library = library
        self.kind = kind_of(library)
        self.end_of_text = end_of_text
        self.end_of_text_id = vocabulary[end_of_text]
        self.vocab_size = max(vocabulary.values()) + 1
        self._by_character = self.kind in ("char", "byte")
        if self._by_character:
            self._cut: Cut = cut_anywhere
            if self.kind == "char":
                self._id_of_code = _code_table(vocabulary, self.end_of_text_id)
        elif self.kind == "external":
            self._cut = cut_of(library)
        else:
            self._cut = cut_by_split(split_of(self.kind), LONGEST_MATCH)
        # In our own kinds a token stands for fixed bytes. (With byte fallback the library's decoder gives up
        # a whole run of byte tokens for one that is no UTF-8; and in text alone a U+FFFD that was learnt
        # looks like half a character.)
        self._token_bytes = (
            None if self.kind == "external" else _bytes_of(self.kind, vocabulary, self.vocab_size)
        )

    @classmethod
    def train(
        cls,
        kind: str,
        stream: Iterable[str | Separator],
        vocab_size: int | None = None,
        min_frequency: int | None = None,
        sampled: Sampled | None = None,
    ) -> Tokenizer:
        """Learn a vocabulary from a text, which is read once.

        vocab_size: how many characters (`char`) or words (`word`) to learn, bytes and end-of-text not
        counted; for `bpe` all tokens but end-of-text, the 256 bytes counted. None: all characters, or a
        default. min_frequency: how often a character, word or merge must occur; None: a default. Of a long
        text, `word` and `bpe` learn words and merges from a sample that is spread evenly over all of it;
        `sampled` is then called with the characters of the sample and of the text.

        Raises TokenizerError.
        """
        if kind not in TOKENIZER_KINDS:
            raise TokenizerError(unknown_name("kind of tokenizer", kind, TOKENIZER_KINDS))
        return cls(learn(kind, stream, vocab_size, min_frequency, sampled))

    @classmethod
    def from_file(cls, path: str | Path, end_of_text: str | None = None) -> Tokenizer:
        """Take over any tokenizer.json; end_of_text names its token for that, None finds or adds one.

        Raises TokenizerError.
        """
        return cls(adopt(Path(path), end_of_text))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read what `save` wrote.

        Raises TokenizerError.
        """
        library = read_library(Path(path))
        if named_end_of_text(json.loads(library.to_str())) is None:
            raise TokenizerError(f"{path}: not written by textgen; give it to `textgen train` as --tokenizer")
        return cls(library)

    def save(self, path: str | Path) -> None:
        """Write a tokenizer.json, whole or not at all."""
        write_file(Path(path), self.to_json().encode())

    def to_json(self) -> str:
        """The tokenizer.json."""
        return self._library.to_str(pretty=True)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides ids."""
        canonical = json.dumps(json.loads(self._library.to_str()), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """The token ids of a text, (N,) uint32. A model reads other ids: see ModelVocab.to_model_ids.

        Raises TokenizerError for a text that is no Unicode, or that would produce end-of-text.
        """
        return self._encode_batch([text]).astype(np.uint32)

    def encode_stream(self, stream: Iterable[str | Separator]) -> Iterator[np.ndarray]:
        """The ids of a stream, in arrays (N,) int64: those of each document in one call, end-of-text between.

        Raises TokenizerError as `encode` does.
        """
        if self._by_character:
            return map(self._encode_batch, batches(stream, _BATCH_CHARACTERS))
        return _ahead(self._encode_batch, batches(self.chunks(stream), _BATCH_CHARACTERS))

    def chunks(
        self, stream: Iterable[str | Separator], *, at_once: bool = False
    ) -> Iterator[str | Separator]:
        """The same stream in pieces that can be encoded one by one; at_once: as soon as they are there."""
        return chunks(stream, self._cut, at_once=at_once)

    def encode_with_starts(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The token ids of a text, (N,) uint32, and at which of its characters each token begins, (N,) int64.

        Tokens that only together make a character all begin there. Raises TokenizerError as `encode` does.
        """
        ids = self.encode(text)
        if not self._by_character:
            with encoding_errors():
                offsets = self._library.encode(text, add_special_tokens=False).offsets
            # A normalizer may move characters, but no token begins before the one in front of it.
            return ids, np.maximum.accumulate(np.array([start for start, _ in offsets], np.int64))
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        num_tokens = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000).astype(np.int64)
        if self.kind == "char":
            num_tokens[self._id_of_code.take(codes) >= 0] = 1
        return ids, np.repeat(np.arange(len(text)), num_tokens)

    def _encode_batch(self, batch: Piece) -> np.ndarray:
        texts = [item for item in batch if not isinstance(item, Separator)]
        _refuse_surrogates("".join(texts))
        if self._by_character:
            marked = "".join(_MARK if isinstance(item, Separator) else item for item in batch)
            return self._encode_bytes(marked) if self.kind == "byte" else self._encode_characters(marked)
        with encoding_errors():
            encodings = iter(self._library.encode_batch_fast(texts, add_special_tokens=False))
        ids = array("I")  # a list of ids would take as long to become an array as the library to give it
        for item in batch:
            if isinstance(item, Separator):
                ids.append(self.end_of_text_id)
                continue
            found = next(encodings).ids
            if self.kind == "external" and self.end_of_text_id in found:
                raise TokenizerError(
                    f"this text holds the end-of-text token {self.end_of_text!r}; take it out"
                )
            ids.extend(found)
        return np.array(ids, np.int64)

    def _encode_bytes(self, marked: str) -> np.ndarray:
        """Bytes are their own ids. One that no UTF-8 holds stands for the mark on the way."""
        utf8 = marked.encode("utf-8", "surrogatepass").replace(_MARK_BYTES, b"\xff")
        ids = np.frombuffer(utf8, np.uint8).astype(np.int64)
        ids[ids == 0xFF] = self.end_of_text_id
        return ids

    def _encode_characters(self, marked: str) -> np.ndarray:
        """Ids of characters by table; those that are not in it become their bytes, whose ids are 0..255."""
        codes = np.frombuffer(marked.encode("utf-32-le", "surrogatepass"), np.uint32)
        ids = self._id_of_code.take(codes)
        missing = ids < 0
        if not missing.any():
            return ids
        rest = codes[missing]
        utf8 = rest.tobytes().decode("utf-32-le").encode()
        num_bytes = np.ones(len(codes), np.int64)
        num_bytes[missing] = 1 + (rest >= 0x80) + (rest >= 0x800) + (rest >= 0x10000).astype(np.int64)
        ids = np.repeat(ids, num_bytes)
        ids[ids < 0] = np.frombuffer(utf8, np.uint8)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD, end-of-text its name."""
        if self._token_bytes is None:
            return self._library.decode([int(token_id) for token_id in ids], skip_special_tokens=False)
        return b"".join(self._token_bytes[token_id] for token_id in ids).decode("utf-8", "replace")

    def decoder(self) -> Decoder:
        """A decoder that is given one id at a time."""
        return WindowDecoder(self.decode) if self._token_bytes is None else ByteDecoder(self._token_bytes)

    def token_text(self, token_id: int) -> str:
        """One token for people to read: its text, or where that is no whole character its name."""
        text = self.decode([token_id])
        return text if text and "\ufffd" not in text else str(self._library.id_to_token(token_id))


def _ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """What `work` makes of each item, in order, by threads that are a few items ahead of the caller.

    The library lets go of Python while it encodes: meanwhile the ids of another batch are taken out.
    """
    from concurrent.futures import Future, ThreadPoolExecutor  # not needed to encode a prompt

    with ThreadPoolExecutor(_AHEAD) as threads:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(threads.submit(work, item))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            yield from (future.result() for future in waiting)
        finally:  # when the caller stops early, what has not begun is not done
            for future in waiting:
                future.cancel()


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"character {error.start} of the text, {text[error.start]!r}, is half a surrogate pair; "
            "give the text as valid UTF-8"
        ) from None


def _code_table(vocabulary: dict[str, int], end_of_text_id: int) -> np.ndarray:
    """Ids by code point, (0x110000,) int64: -1 where there is none, end-of-text at the mark."""
    table = np.full(0x110000, -1, np.int64)
    for token, token_id in vocabulary.items():
        if len(token) == 1:
            table[ord(token)] = token_id
    table[ord(_MARK)] = end_of_text_id
    return table


def _bytes_of(kind: str, vocabulary: dict[str, int], vocab_size: int) -> list[bytes]:
    """What each id of a tokenizer of our own stands for."""
    token_bytes = [b""] * vocab_size
    byte_of = _bytes_by_sign() if kind == "bpe" else {}
    for token, token_id in vocabulary.items():
        if kind == "bpe" and byte_of.keys() >= set(token):
            token_bytes[token_id] = bytes(byte_of[sign] for sign in token)
        elif kind == "bpe" or token_id >= len(BYTE_TOKENS):
            token_bytes[token_id] = token.encode()
        else:
            token_bytes[token_id] = bytes([token_id])
    return token_bytes


def _bytes_by_sign() -> dict[str, int]:
    """The byte that each sign of a byte-level vocabulary stands for.

    Bytes that are signs of Latin-1 to be seen are written as these, the others, in order, as signs beyond it.
    Radford et al., "Language models are unsupervised multitask learners", 2019 (GPT-2).
    """
    signs = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    seen = {sign: ord(sign) for sign in signs if ord(sign) < 256}
    others = (byte for byte in range(256) if byte not in seen.values())
    return seen | dict(zip(signs[len(seen) :], others, strict=True))
