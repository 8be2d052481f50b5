"""Encoding a corpus into one file of token ids for each part, in as few readings of the text as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from textgen.errors import CorpusError
from textgen.text.corpus import Corpus
from textgen.text.documents import Meter, Separator, metered
from textgen.text.portions import Interleaved
from textgen.text.tokenizer import Tokenizer

# Called with what is being done ("encoding train"), the characters done so far, and the total.
Progress = Callable[[str, int, int], None]


@dataclass
class EncodedPart:
    """What was written for one part: tokens, and the size of their text. counts: as in `encode_corpus`."""

    file: BinaryIO
    dtype: np.dtype[np.unsignedinteger]
    counts: np.ndarray | None
    meter: Meter = field(default_factory=Meter)
    num_tokens: int = 0

    def write(self, ids: np.ndarray) -> None:
        """Append token ids."""
        self.file.write(ids.astype(self.dtype).data)
        self.num_tokens += len(ids)
        if self.counts is not None:
            self.counts += np.bincount(ids, minlength=len(self.counts))


def encode_corpus(
    folder: Path, corpus: Corpus, tokenizer: Tokenizer, counts: np.ndarray, progress: Progress | None
) -> dict[str, EncodedPart]:
    """Write the token ids of each part to the file `<part>.bin` of a folder.

    They are in the smallest unsigned integer type that can hold them. counts: (vocab_size,) int64; how often
    each token id occurs in the first part is added to it.

    Raises CorpusError for text that cannot be read, and for a part without tokens.
    """
    dtype = np.min_scalar_type(tokenizer.vocab_size - 1)
    first = corpus.parts[0]
    with ExitStack() as files:
        parts = {
            part: EncodedPart(
                files.enter_context((folder / f"{part}.bin").open("wb")),
                dtype,
                counts if part == first else None,
            )
            for part in corpus.parts
        }
        alone = list(corpus.parts)
        if (interleaved := corpus.interleaved) is not None:
            alone = [part for part in alone if part not in ("train", "val")]
            stream = interleaved.stream([parts["train"].meter, parts["val"].meter])
            total = corpus.characters("train") + corpus.characters("val")
            ids = tokenizer.encode_stream(reporting(stream, "encoding", total, progress))
            _write_interleaved(ids, interleaved, tokenizer.end_of_text_id, [parts["train"], parts["val"]])
        for part in alone:
            stream = metered(corpus.stream(part), parts[part].meter)
            stream = reporting(stream, f"encoding {part}", corpus.characters(part), progress)
            for ids_of_batch in tokenizer.encode_stream(stream):
                parts[part].write(ids_of_batch)
    for name, part_written in parts.items():
        if part_written.num_tokens == 0:
            raise CorpusError(
                f"the tokenizer produces no tokens for the {name} text; use another tokenizer, or more text"
            )
    return parts


def _write_interleaved(
    batches: Iterable[np.ndarray], interleaved: Interleaved, end_of_text: int, parts: list[EncodedPart]
) -> None:
    """Write the tokens of each document to its part, after an end-of-text token where it is not the first."""
    numbers = _Numbers(interleaved.part_numbers())
    current = numbers.take(1)  # of the document that the next token belongs to
    seen = [False] * len(parts)
    for ids in batches:
        # An end-of-text token belongs to the document after it.
        starts = np.flatnonzero(ids == end_of_text)
        part_of_document = np.concatenate([current, numbers.take(len(starts))])
        current = part_of_document[-1:]
        part_of_token = np.repeat(part_of_document, np.diff(starts, prepend=0, append=len(ids)))
        for number, part in enumerate(parts):
            if number not in part_of_document:
                continue
            chosen = ids[part_of_token == number]
            if not seen[number]:
                seen[number] = True
                chosen = chosen[0 if part_of_document[0] == number else 1 :]
            part.write(chosen)


class _Numbers:
    """Numbers that arrive in blocks, taken so many at a time."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._held = np.zeros(0, np.uint8)

    def take(self, count: int) -> np.ndarray:
        """The next `count` numbers, (count,) uint8."""
        held = [self._held]
        while sum(map(len, held)) < count:
            held.append(next(self._blocks))
        joined = np.concatenate(held)
        self._held = joined[count:]
        return joined[:count]


def reporting(
    stream: Iterable[str | Separator], what: str, total: int, progress: Progress | None
) -> Iterator[str | Separator]:
    """Pass on a text stream and report progress about a hundred times, and at the end.

    total: its characters without separators, at least about. progress: None reports nothing.
    """
    done = reported = 0
    for item in stream:
        yield item
        done += 0 if isinstance(item, Separator) else len(item)
        if done - reported >= total / 100 and done < total and progress is not None:
            progress(what, done, total)
            reported = done
    if progress is not None:
        progress(what, total, total)
