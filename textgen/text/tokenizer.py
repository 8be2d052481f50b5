"""Text to token ids and back: one class around the `tokenizers` library for every kind of tokenizer.

It is saved as the library's own tokenizer.json, which `tokenizers.Tokenizer.from_file` reads with the same
ids. Two kinds have a faster way to the same ids: `char`, a table from code point to id, and `byte`, UTF-8.
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
from textgen.text.external import (
    adopt,
    cut_for,
    encoding_errors,
    is_byte_level,
    read_library,
    unknown_patterns,
)
from textgen.text.vocabulary import (
    BYTE_TOKENS,
    LONGEST_MATCH,
    Sampled,
    kind_of,
    learn,
    recorded_end_of_text,
    split_of,
)

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCH_CHARACTERS = 2**18  # encoded together; few enough to stay in the processor's cache
_BATCHES_AHEAD = 3  # batches that are encoded in parallel: they occupy all processors in little memory
_MARK = "\ud800"  # replaces a separator while encoding: a lone surrogate, which no valid text contains
_MARK_BYTES = _MARK.encode("utf-8", "surrogatepass")


class UnknownEndOfTextError(TokenizerError):
    """A tokenizer that textgen did not write, and so does not say which token is end-of-text."""


class Tokenizer:
    """A tokenizer of some kind: `char`, `byte`, `bpe`, `word`, or `external` for one made by other tools.

    Token ids are 0..vocab_size-1. No text produces end_of_text_id: a text that would is refused with a
    TokenizerError.
    """

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        data = json.loads(library.to_str())  # once: for a large vocabulary it takes long
        end_of_text = recorded_end_of_text(data)
        if end_of_text is None:
            raise UnknownEndOfTextError(
                "the tokenizer does not say which token is end-of-text; read it with from_file"
            )
        vocabulary = library.get_vocab()
        if end_of_text not in vocabulary:
            raise TokenizerError(
                f"the tokenizer names {end_of_text!r} as end-of-text but has no such token; it is damaged"
            )
        self._library = library
        self.kind = kind_of(data)
        self.end_of_text = end_of_text
        self.end_of_text_id = vocabulary[end_of_text]
        self.vocab_size = max(vocabulary.values()) + 1
        self._unknown_patterns = unknown_patterns(data) if self.kind == "external" else ()
        self._by_character = self.kind in ("char", "byte")
        if self._by_character:
            self._cut: Cut = cut_anywhere
            if self.kind == "char":
                self._id_of_code = _code_table(vocabulary, self.end_of_text_id)
        elif self.kind == "external":
            self._cut = cut_for(data)
        else:
            self._cut = cut_by_split(split_of(self.kind), LONGEST_MATCH)
        # In textgen's own kinds, and in byte-level ones of other tools, every token stands for fixed bytes.
        # Decoding these is more exact than the library: it discards a whole run of byte tokens if one is not
        # UTF-8, and a U+FFFD in its output may be an incomplete character or one that the vocabulary has.
        # By token id; end-of-text stands for its name. None of any other external tokenizer.
        self.token_bytes = (
            None
            if self.kind == "external" and not is_byte_level(data)
            else _bytes_of(self.kind, vocabulary, self.vocab_size)
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
        """Learn a vocabulary from a text stream, which is read once.

        vocab_size: how many characters (`char`) or words (`word`) to learn, not counting bytes and
        end-of-text; for `bpe` the number of tokens including the 256 bytes but not end-of-text; None: all
        characters, or the default. min_frequency: how often a character, word or merge must occur; None: the
        default. For a long text, `word` and `bpe` learn words and merges from a sample taken evenly from all
        of it; `sampled` is then called with the characters in the sample and in the text.

        Raises TokenizerError for an unknown kind or an impossible size.
        """
        if kind not in TOKENIZER_KINDS:
            raise TokenizerError(unknown_name("kind of tokenizer", kind, TOKENIZER_KINDS))
        return cls(learn(kind, stream, vocab_size, min_frequency, sampled))

    @classmethod
    def from_file(cls, path: str | Path, end_of_text: str | None = None) -> Tokenizer:
        """Adopt any tokenizer.json.

        end_of_text: the token to use as end-of-text; None finds a known one or adds a new one.

        Raises TokenizerError.
        """
        return cls(adopt(Path(path), end_of_text))

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read a tokenizer.json that `save` wrote.

        Raises TokenizerError.
        """
        library = read_library(Path(path))
        try:
            return cls(library)
        except UnknownEndOfTextError:
            raise TokenizerError(
                f"{path}: not written by textgen; give it to `textgen train` as --tokenizer"
            ) from None

    def save(self, path: str | Path) -> None:
        """Write a tokenizer.json atomically."""
        write_file(Path(path), self.to_json().encode())

    def to_json(self) -> str:
        """The content of the tokenizer.json."""
        return self._library.to_str(pretty=True)

    @property
    def has_decoder(self) -> bool:
        """Whether it says how tokens are joined; without, the library puts a space between them."""
        return self.token_bytes is not None or self._library.decoder is not None

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that determines the ids of a text."""
        canonical = json.dumps(json.loads(self._library.to_str()), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def encode(self, text: str) -> np.ndarray:
        """The token ids of a text, (N,) uint32. A model reads other ids: see ModelVocab.to_model_ids.

        Raises TokenizerError for a text with a lone surrogate, and for one that would produce end-of-text.
        """
        return self._encode_batch([text]).astype(np.uint32)

    def encode_stream(self, stream: Iterable[str | Separator]) -> Iterator[np.ndarray]:
        """The token ids of a text stream in arrays (N,) int64, with end-of-text between documents.

        The ids of a document are those of `encode` on the whole document. Raises TokenizerError as `encode`.
        """
        if self._by_character:
            return map(self._encode_batch, batches(stream, _BATCH_CHARACTERS))
        return _map_ahead(self._encode_batch, batches(self.chunks(stream), _BATCH_CHARACTERS))

    def chunks(
        self, stream: Iterable[str | Separator], *, unbuffered: bool = False
    ) -> Iterator[str | Separator]:
        """Regroup a text stream into chunks that can be encoded one by one.

        unbuffered: yield a chunk as soon as it is complete instead of collecting longer ones.
        """
        return chunks(stream, self._cut, unbuffered=unbuffered)

    def encode_with_starts(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """The token ids of a text, (N,) uint32, and the character at which each token begins, (N,) int64.

        Tokens that together form one character all begin there. Raises TokenizerError as `encode` does.
        """
        ids = self.encode(text)
        if not self._by_character:
            with encoding_errors(self._unknown_patterns):
                offsets = self._library.encode(text, add_special_tokens=False).offsets
            # A normalizer may move characters, but no token may begin before the previous one.
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
        with encoding_errors(self._unknown_patterns):
            encodings = iter(self._library.encode_batch_fast(texts, add_special_tokens=False))
        ids = array("I")  # converting a list to an array would take as long as the encoding itself
        for item in batch:
            if isinstance(item, Separator):
                ids.append(self.end_of_text_id)
                continue
            found = next(encodings).ids
            if self.kind == "external" and self.end_of_text_id in found:
                raise TokenizerError(
                    f"this text contains the end-of-text token {self.end_of_text!r}; remove it"
                )
            ids.extend(found)
        return np.array(ids, np.int64)

    def _encode_bytes(self, marked: str) -> np.ndarray:
        """Bytes are their own ids. 0xFF, which does not occur in UTF-8, temporarily replaces the mark."""
        utf8 = marked.encode("utf-8", "surrogatepass").replace(_MARK_BYTES, b"\xff")
        ids = np.frombuffer(utf8, np.uint8).astype(np.int64)
        ids[ids == 0xFF] = self.end_of_text_id
        return ids

    def _encode_characters(self, marked: str) -> np.ndarray:
        """Look up the ids of characters; one that has no id becomes its UTF-8 bytes, whose ids are 0..255."""
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
        """The text of token ids; bytes that are not UTF-8 become U+FFFD, end-of-text becomes its name."""
        if self.token_bytes is None:
            numbers = [int(token_id) for token_id in ids]
            with encoding_errors(self._unknown_patterns):
                return self._library.decode(numbers, skip_special_tokens=False)
        return b"".join(self.token_bytes[token_id] for token_id in ids).decode("utf-8", "replace")

    def decoder(self) -> Decoder:
        """A new decoder that takes one token id at a time."""
        return WindowDecoder(self.decode) if self.token_bytes is None else ByteDecoder(self.token_bytes)

    def token_text(self, token_id: int) -> str:
        """One token in readable form: its text, or its name if the text has incomplete characters."""
        text = self.decode([token_id])
        return text if text and "\ufffd" not in text else str(self._library.id_to_token(token_id))


def _map_ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Like map(work, items), but in threads that run a few items ahead of the caller.

    The library releases the GIL while it encodes, so the ids of another batch can be copied at the same time.
    """
    from concurrent.futures import Future, ThreadPoolExecutor  # not needed to encode a prompt

    with ThreadPoolExecutor(_BATCHES_AHEAD) as threads:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(threads.submit(work, item))
                if len(pending) > _BATCHES_AHEAD:
                    yield pending.popleft().result()
            yield from (future.result() for future in pending)
        finally:  # when the caller stops early, cancel what has not begun
            for future in pending:
                future.cancel()


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"character {error.start} of the text, {text[error.start]!r}, is a lone surrogate; "
            "the text must be valid UTF-8"
        ) from None


def _code_table(vocabulary: dict[str, int], end_of_text_id: int) -> np.ndarray:
    """Token ids by code point, (0x110000,) int64: -1 where there is none, end-of-text at _MARK."""
    table = np.full(0x110000, -1, np.int64)
    for token, token_id in vocabulary.items():
        if len(token) == 1:
            table[ord(token)] = token_id
    table[ord(_MARK)] = end_of_text_id
    return table


def _bytes_of(kind: str, vocabulary: dict[str, int], vocab_size: int) -> list[bytes]:
    """The bytes that each token id stands for, by id; an external tokenizer must be byte-level."""
    token_bytes = [b""] * vocab_size
    by_symbol = kind in ("bpe", "external")
    byte_of = _bytes_by_symbol() if by_symbol else {}
    for token, token_id in vocabulary.items():
        if by_symbol and byte_of.keys() >= set(token):
            token_bytes[token_id] = bytes(byte_of[symbol] for symbol in token)
        elif by_symbol or token_id >= len(BYTE_TOKENS):
            token_bytes[token_id] = token.encode()
        else:
            token_bytes[token_id] = bytes([token_id])
    return token_bytes


def _bytes_by_symbol() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for.

    Bytes that are printable in Latin-1 are written as that character, the others, in order, as characters
    beyond Latin-1. Radford et al., "Language models are unsupervised multitask learners", 2019 (GPT-2).
    """
    symbols = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    printable = {symbol: ord(symbol) for symbol in symbols if ord(symbol) < 256}
    others = (byte for byte in range(256) if byte not in printable.values())
    return printable | dict(zip(symbols[len(printable) :], others, strict=True))
