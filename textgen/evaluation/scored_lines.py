"""Scoring a text line by line, or a table record by record.

A line or record is scored either alone, as a text of its own, or in context; then the losses of all of them
add up to that of the text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice, repeat

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.report import Report
from textgen.evaluation.score import EMPTY_LINE, ScoredPiece, Scorer, Tally
from textgen.settings.config import RECORD
from textgen.text.documents import PIECE_CHARACTERS, Separator, measure, split_documents
from textgen.text.formats import TextFile
from textgen.text.lines import Line, as_text, lines, record_line
from textgen.text.normalize import normalize
from textgen.text.records import RecordCount, records
from textgen.text.sources import record_stream

RECORDS_AT_ONCE = 1000  # that are scored alone, in batches of similar length


class PlainText:
    """A plain text that arrives in blocks and can be read once, to be scored as a whole or line by line.

    documents: what a document of it is, as in DataConfig. leading: how many empty lines precede the first
    document. Where documents are lines or blocks, empty lines before the first and after the last document
    are not part of the scored text.
    """

    unit = "line"
    skipped: str | None = None

    def __init__(self, blocks: Iterable[str], documents: str) -> None:
        self.leading = self._ends = 0
        self._is_open = False
        self._blocks = blocks
        self.documents = documents
        self._blanks = {"file": "", "line": "\r\n", "block": " \t\r\n"}[documents]

    @property
    def number(self) -> int:
        """How many lines there were so far, including one without a line end yet."""
        return self._ends + self._is_open

    def __iter__(self) -> Iterator[str]:
        started = False
        for block in filter(None, self._blocks):
            if not started:
                text = block.lstrip(self._blanks)
                self.leading += block.count("\n", 0, len(block) - len(text))
                started = bool(text)
            self._ends += block.count("\n")
            self._is_open = not block.endswith("\n")
            yield block

    def stream(self) -> Iterator[str | Separator]:
        """The text as a stream of documents."""
        return split_documents(self, self.documents)

    def each_alone(self, scorer: Scorer) -> Iterator[tuple[Line, Report]]:
        """Each line scored alone: see score_each_line."""
        return score_batches(scorer, self.batches(), self.documents)

    def batches(self) -> Iterator[list[Line]]:
        """The lines in the batches in which each_alone scores them."""
        return lines(self)

    def each_in_context(
        self, pieces: Iterable[ScoredPiece], limit: int | None = None
    ) -> Iterator[tuple[Line, Report]]:
        """The lines in context, where pieces are those of `stream`, with the empty lines around them."""
        return lines_in_context(pieces, limit, self)


class Records:
    """The records of a .jsonl, .json, .csv or .tsv file that have text, to be scored together or one by one.

    Their numbers count from 1 and include the records without text. After they have been read, `skipped` is
    a sentence about those that lack the field; None where all have it.

    Reading them raises CorpusError, at the end also where no record has text.
    """

    unit = documents = RECORD

    def __init__(
        self,
        file: TextFile,
        field: str | None,
        encoding: str,
        delimiter: str | None,
        form: str | None = None,
    ) -> None:
        self._file, self._field = file, field
        self._count = RecordCount()
        found = records(file, field, encoding, delimiter, self._count)
        self._texts = (normalize(record.text, form) for record in found)
        # The numbers of records that were read and not yet scored, kept only for records in context.
        self._numbers = deque[int](maxlen=0)

    @property
    def skipped(self) -> str | None:
        """See the class."""
        return self._count.note(self._field) if self._count.skipped else None

    def __iter__(self) -> Iterator[str]:
        for text in filter(None, self._texts):
            self._numbers.append(self._count.read)
            yield text
        self._count.require_text(self._file.name, self._field)

    def stream(self) -> Iterator[str | Separator]:
        """The records as a stream of documents, as in training."""
        return record_stream(self)

    def each_alone(self, scorer: Scorer) -> Iterator[tuple[Line, Report]]:
        """Each record scored as a text of its own that ends in end-of-text."""
        return score_batches(scorer, self.batches(), RECORD)

    def each_in_context(
        self, pieces: Iterable[ScoredPiece], limit: int | None = None
    ) -> Iterator[tuple[Line, Report]]:
        """The records in context, where pieces are those of `stream`; each ends in end-of-text but the last.

        limit: as in lines_in_context.
        """
        waiting = self._numbers = deque[int]()
        numbers = (waiting.popleft() for _ in count())
        parts = ((piece, isinstance(piece.item, Separator)) for piece in pieces)
        return _numbered(_lines(parts, limit, last_end="\n"), numbers)

    def batches(self) -> Iterator[list[Line]]:
        """The records in the batches in which each_alone scores them."""
        batch, characters = list[Line](), 0
        for text in self:
            batch.append(record_line(self._count.read, text))
            characters += len(text)
            if len(batch) == RECORDS_AT_ONCE or characters >= PIECE_CHARACTERS:
                yield batch
                batch, characters = [], 0
        if batch:
            yield batch


def score_each_line(scorer: Scorer, blocks: Iterable[str], documents: str) -> Iterator[tuple[Line, Report]]:
    """Score each line of a text alone, as soon as its block has arrived.

    documents: the run's `documents` option. Each line is closed when the next one is requested.
    """
    return score_batches(scorer, lines(blocks), documents)


def score_batches(
    scorer: Scorer, batches: Iterable[list[Line]], documents: str
) -> Iterator[tuple[Line, Report]]:
    """Score each line of some batches alone, as score_each_line does.

    Figures depend on the batch of a line, in their last bits.
    """
    for batch in batches:
        losses = iter(scorer.score_texts([as_text(line, documents) for line in batch if not line.is_long]))
        for line in batch:
            loss = _loss_of(scorer, as_text(line, documents)) if line.is_long else next(losses)
            yield line, Report(loss, measure(line))
            line.close()


def _loss_of(scorer: Scorer, text: Iterable[str | Separator]) -> Loss:
    tally = Tally()
    for piece in scorer.read(text):
        tally.add(piece)
    return tally.report.loss


def lines_in_context(
    pieces: Iterable[ScoredPiece], limit: int | None = None, text: PlainText | None = None
) -> Iterator[tuple[Line, Report]]:
    """The lines of a scored text in context, each with the report of the tokens that begin in it.

    limit: only this many characters of a line are kept; None keeps all. text: the text whose stream was
    scored, to include the empty lines before its first and after its last document; None leaves them out.
    Each line is closed when the next one is requested.
    """
    numbers = count(1)
    scored = _lines((part for piece in pieces for part in piece.by_line()), limit)
    if text is None:
        yield from _numbered(scored, numbers)
        return
    first = [*islice(scored, 1)]  # once it is there, the leading lines have been counted
    yield from _numbered(chain(_empty_lines(text.leading), first, scored), numbers)
    number = next(numbers)
    yield from _numbered(_empty_lines(text.number + 1 - number), count(number))


def _numbered(scored: Iterable[tuple[Line, Report]], numbers: Iterator[int]) -> Iterator[tuple[Line, Report]]:
    """Number each line when it is complete: that of a record is known only then."""
    for line, report in scored:
        line.number = next(numbers)
        yield line, report


def _empty_lines(times: int) -> Iterator[tuple[Line, Report]]:
    return _lines(repeat((EMPTY_LINE, True), times), None)


def _lines(
    parts: Iterable[tuple[ScoredPiece, bool]], limit: int | None, last_end: str = ""
) -> Iterator[tuple[Line, Report]]:
    """Join scored parts, each with whether it ends its line; last_end ends a line that no part ends."""
    line, tally = Line(limit), Tally()
    for part, ends in parts:
        line.add(part.item if isinstance(part.item, str) else "\n")
        tally.add(part)
        if ends:
            yield line, tally.report
            line.close()
            line, tally = Line(limit), Tally()
    if line.characters:
        line.add(last_end)
        yield line, tally.report
        line.close()
