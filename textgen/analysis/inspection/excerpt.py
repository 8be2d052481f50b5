"""The beginning of a text as tokens, with the piece of text that each token stands for.

text        T h e   é ⏎ <end of text> T o
tokens      T h e _ 195 169 ⏎ 256 T o          with the `byte` tokenizer
pieces      T h e _ ""  é   ⏎ ⏎   T o          "" for a token that does not complete a character
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.documents import Separator, stream_slice
from textgen.text.sources import Source, find_files, require_reading, standard_input
from textgen.text.stored_tokens import TokenArray
from textgen.text.tokenizer import Tokenizer

# How many bytes of standard input are kept: more per character than any encoding needs, and some more for
# the separators between documents.
_BYTES_PER_CHARACTER = 16
_BYTES_BETWEEN_DOCUMENTS = 2**20


@dataclass(frozen=True, eq=False)
class Excerpt:
    """The first tokens of a text: token_ids (N,) int64, N >= 1, and the N pieces of text that they stand for.

    A token that holds only part of a character has the piece "", and the token that completes the character
    has all of it. End-of-text has the piece "\\n" and is marked in is_document_end (N,). num_characters
    counts the original text, including the separators between documents. is_cut: whether the text continues.
    """

    name: str
    token_ids: np.ndarray
    pieces: tuple[str, ...]
    is_document_end: np.ndarray
    num_characters: int
    is_cut: bool

    @property
    def text(self) -> str:
        """The pieces joined."""
        return "".join(self.pieces)

    @property
    def characters(self) -> np.ndarray:
        """The index in `text` of the last character that each token completes or is part of, (N,) int64."""
        lengths = np.array([len(piece) for piece in self.pieces], np.int64)
        ends = lengths.cumsum() - (lengths > 0)
        return ends.clip(max=max(int(lengths.sum()) - 1, 0))


def excerpt_of_tokens(
    tokenizer: Tokenizer,
    token_ids: TokenArray,
    characters: int,
    name: str,
    separators: Iterable[Separator] = (),
) -> Excerpt:
    """The first tokens of token_ids (M,) that fit into a number of characters, at least one token.

    separators are the document separators that the end-of-text tokens stand for, in order; only those that
    are needed are consumed.

    Raises CorpusError when token_ids is empty.
    """
    if not len(token_ids):
        raise CorpusError(f"{name}: it contains no text; name another one")
    decoder, pieces, whole, length = tokenizer.decoder(), list[str](), 0, 0
    for token_id in map(int, token_ids):  # one by one: there may be millions
        if token_id == tokenizer.end_of_text_id:
            # Bytes that no later token can complete belong to the token before the end of text.
            if pieces:
                pieces[-1] += decoder.flush()
            piece = "\n"
        else:
            piece = decoder.push(token_id)
        if whole and length + len(piece) > characters:
            break
        pieces.append(piece)
        length += len(piece)
        if piece:
            whole = len(pieces)
    else:
        pieces[-1] += decoder.flush()
        whole = len(pieces)
    ids = token_ids[:whole].astype(np.int64)
    ends = ids == tokenizer.end_of_text_id
    between = list(islice(separators, int(ends.sum())))
    assert len(between) == ends.sum()
    num_characters = sum(map(len, pieces[:whole])) + sum(each.characters - 1 for each in between)
    is_cut = whole < len(token_ids)
    return Excerpt(name, ids, tuple(pieces[:whole]), ends, num_characters, is_cut)


def excerpt_of_file(
    tokenizer: Tokenizer,
    data: DataConfig,
    file: str,
    characters: int,
    *,
    fetched: Mapping[str, Path] | None = None,
    **reading: str | None,
) -> Excerpt:
    """The first characters of a file, a folder or `-` (standard input), read with the options in `data`.

    fetched: the local file of a URL. reading: as in DataConfig.for_text, to which it is passed. Only as much
    is read as is needed.

    Raises CorpusError.
    """
    data = data.for_text(file, **reading)
    wanted = characters + 1  # one more, to see whether the text continues
    with standard_input((file,), _BYTES_PER_CHARACTER * wanted + _BYTES_BETWEEN_DOCUMENTS) as stdin:
        files = find_files(file, stdin, fetched=fetched)
        require_reading({found.format for found in files}, reading)
        source = Source(
            file,
            files,
            data.documents,
            data.field,
            data.encoding,
            data.delimiter_character,
            normalize=data.normalize,
        )
        stream = list(stream_slice(source.stream(), 0, wanted))
    read = sum(len(item) for item in stream if isinstance(item, str))
    ids = list(tokenizer.encode_stream(stream_slice(stream, 0, characters)))
    token_ids = np.concatenate(ids) if ids else np.zeros(0, np.int64)
    separators = (item for item in stream if isinstance(item, Separator))
    excerpt = excerpt_of_tokens(tokenizer, token_ids, characters, file, separators)
    short = "standard input" if file == "-" else Path(file).resolve().name
    return dataclasses.replace(excerpt, name=short, is_cut=excerpt.is_cut or read > characters)
