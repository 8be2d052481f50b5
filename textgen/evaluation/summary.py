"""Scoring a text line by line, and summaries of a text with its hardest lines.

A line is scored either alone, as a text of its own, or in context; then the losses of all lines add up to
that of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, repeat

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.report import Report
from textgen.evaluation.score import EMPTY_LINE, ScoredPiece, Scorer, Tally
from textgen.text.documents import Separator, measure
from textgen.text.lines import Line, as_text, lines

HARDEST_LINES = 5
# Shorter lines do not count as hard: their bits per character depend too much on a single character.
MIN_LINE_CHARACTERS = 16
EXCERPT_CHARACTERS = 200  # that are shown of a line


def score_each_line(scorer: Scorer, blocks: Iterable[str], documents: str) -> Iterator[tuple[Line, Report]]:
    """Score each line of a text alone, as soon as its block has arrived.

    documents: the run's `documents` option. Each line is closed when the next one is requested.
    """
    for ended in lines(blocks):
        losses = iter(scorer.score_texts([as_text(line, documents) for line in ended if not line.is_long]))
        for line in ended:
            loss = _loss_of(scorer, as_text(line, documents)) if line.is_long else next(losses)
            yield line, Report(loss, measure(line))
            line.close()


def _loss_of(scorer: Scorer, text: Iterable[str | Separator]) -> Loss:
    tally = Tally()
    for piece in scorer.read(text):
        tally.add(piece)
    return tally.report.loss


class CountedLines:
    """Passes on the blocks of a text and counts its lines.

    leading: how many empty lines precede the first document. Where documents are lines or blocks, empty lines
    before the first and after the last document are not part of the scored text.
    """

    def __init__(self, blocks: Iterable[str], documents: str) -> None:
        self.leading = self._ends = 0
        self._is_open = False
        self._blocks = blocks
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


def lines_in_context(
    pieces: Iterable[ScoredPiece], limit: int | None = None, counted: CountedLines | None = None
) -> Iterator[tuple[Line, Report]]:
    """The lines of a scored text in context, each with the report of the tokens that begin in it.

    limit: only this many characters of a line are kept; None keeps all. counted: the blocks of the text, to
    include the empty lines before its first and after its last document; None leaves them out. Each line is
    closed when the next one is requested.
    """
    scored = _lines(pieces, limit)
    if counted is None:
        yield from scored
        return
    first = [*islice(scored, 1)]  # once it is there, the leading lines have been counted
    number = 0
    for line_and_report in chain(_lines(repeat(EMPTY_LINE, counted.leading), limit), first, scored):
        number += 1
        yield line_and_report
    yield from _lines(repeat(EMPTY_LINE, counted.number - number), limit)


def _lines(pieces: Iterable[ScoredPiece], limit: int | None) -> Iterator[tuple[Line, Report]]:
    line, tally = Line(limit), Tally()
    for piece in pieces:
        for part, ends in piece.by_line():
            line.add(part.item if isinstance(part.item, str) else "\n")
            tally.add(part)
            if ends:
                yield line, tally.report
                line.close()
                line, tally = Line(limit), Tally()
    if line.characters:
        yield line, tally.report
        line.close()


@dataclass(frozen=True, order=True)
class HardLine:
    """A line that a run predicts badly. number: counted from 1. text: its first EXCERPT_CHARACTERS."""

    bits_per_character: float
    number: int
    text: str = field(compare=False)


@dataclass(frozen=True)
class Summary:
    """The report of a whole text, how many lines it has, and its hardest lines, hardest first."""

    report: Report
    num_lines: int
    hardest: tuple[HardLine, ...]

    def as_dict(self) -> dict[str, object]:
        """The figures of the report by name, with the number of lines and the hardest lines."""
        return self.report.as_dict() | {
            "lines": self.num_lines,
            "hardest_lines": [dict(vars(line)) for line in self.hardest],
        }


def summarize(
    pieces: Iterable[ScoredPiece],
    progress: Callable[[int], None] | None = None,
    lines: CountedLines | None = None,
) -> Summary:
    """Read a scored text to its end and summarize it.

    progress is called with the UTF-8 bytes read so far. lines: the argument `counted` of lines_in_context.
    """
    total, hardest, num_lines = Tally(), list[HardLine](), 0

    def counted() -> Iterator[ScoredPiece]:
        for piece in pieces:
            total.add(piece)
            if progress is not None:
                progress(total.report.size.bytes)
            yield piece

    for line, report in lines_in_context(counted(), EXCERPT_CHARACTERS, lines):
        num_lines += 1
        if report.size.characters >= MIN_LINE_CHARACTERS:
            hard = HardLine(report.bits_per_character, num_lines, "".join(line.without_end()))
            # A line that occurs repeatedly is listed once, where it was hardest.
            by_text = {candidate.text: candidate for candidate in sorted([*hardest, hard])}
            hardest = sorted(by_text.values(), reverse=True)[:HARDEST_LINES]
    return Summary(total.report, num_lines, tuple(hardest))
