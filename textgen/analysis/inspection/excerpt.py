"""The excerpt of a text, as a network reads it: its first tokens, and what each of them shows.

text        T h e   é ⏎ <end of text> T o
tokens      T h e _ 195 169 ⏎ 256 T o          those of `byte`
pieces      T h e _ ""  é   ⏎ ⏎   T o          what a token completes; "" where it is a character's first part
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.documents import Separator, stream_slice
from textgen.text.sources import Source, find_files, require_records, standard_input
from textgen.text.tokenizer import Tokenizer

# Of standard input so many bytes are kept for each character wanted, and this many more for what lies between
# documents: no encoding takes as many.
_BYTES_PER_CHARACTER = 16
_BYTES_BETWEEN_DOCUMENTS = 2**20


@dataclass(frozen=True, eq=False)
class Excerpt:
    """The first tokens of a text called name: token_ids (N,) int64, N >= 1, and N pieces that make it up.

    A token that is only the first part of a character has the piece ""; the one that completes it has it
    all. End-of-text has a line end, and is_document_end (N,) tells it from one. is_cut: the text goes on.
    num_characters are those of the original text, in which anything may stand between two documents.
    """

    name: str
    token_ids: np.ndarray
    pieces: tuple[str, ...]
    is_document_end: np.ndarray
    num_characters: int
    is_cut: bool

    @property
    def text(self) -> str:
        """What the tokens stand for."""
        return "".join(self.pieces)

    @property
    def characters(self) -> np.ndarray:
        """The character of the text that each token ends in, or is a part of, (N,) int64."""
        lengths = np.array([len(piece) for piece in self.pieces], np.int64)
        ends = lengths.cumsum() - (lengths > 0)
        return ends.clip(max=max(int(lengths.sum()) - 1, 0))


def excerpt_of_tokens(
    tokenizer: Tokenizer,
    token_ids: np.ndarray,
    characters: int,
    name: str,
    separators: Iterable[Separator] = (),
) -> Excerpt:
    """The first tokens of token_ids (M,) that make up at most so many characters, but one token at least.

    separators are what each end-of-text stands for, in order; no more are asked for than were read.

    Raises CorpusError when there are none.
    """
    if not len(token_ids):
        raise CorpusError(f"{name}: there is no text in it; name another")
    decoder, pieces, whole, length = tokenizer.decoder(), list[str](), 0, 0
    for token_id in map(int, token_ids):  # one by one: there may be millions
        if token_id == tokenizer.end_of_text_id:
            # What no later byte completed belongs to the token that left it so.
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
    field: str | None = None,
    encoding: str | None = None,
) -> Excerpt:
    """The first characters of a file, folder or `-`, read as `data` says but for what is said of this one.

    No more of it is read than is needed. Raises CorpusError.
    """
    data = data.for_text(file, field=field, encoding=encoding)
    wanted = characters + 1  # one more says whether the text goes on
    with standard_input((file,), _BYTES_PER_CHARACTER * wanted + _BYTES_BETWEEN_DOCUMENTS) as stdin:
        files = find_files(file, stdin)
        if field is not None:
            require_records(field, {found.format for found in files})
        source = Source(file, files, data.documents, data.field, data.encoding)
        stream = list(stream_slice(source.stream(), 0, wanted))
    read = sum(len(item) for item in stream if isinstance(item, str))
    ids = list(tokenizer.encode_stream(stream_slice(stream, 0, characters)))
    token_ids = np.concatenate(ids) if ids else np.zeros(0, np.int64)
    separators = (item for item in stream if isinstance(item, Separator))
    excerpt = excerpt_of_tokens(tokenizer, token_ids, characters, file, separators)
    short = "standard input" if file == "-" else Path(file).resolve().name
    return dataclasses.replace(excerpt, name=short, is_cut=excerpt.is_cut or read > characters)
