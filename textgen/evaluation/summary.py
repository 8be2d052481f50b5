"""A text's lines by what they cost, and a text in all with its hardest lines.

A line is read by itself, as a text that begins there, or as it stands in its text: then the costs of all
lines are those of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice, repeat

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.report import Report
from textgen.evaluation.score import EMPTY_LINE, Piece, Scorer, Tally
from textgen.text.documents import Separator, measure
from textgen.text.lines import Line, as_text, lines

HARDEST_LINES = 5
# A line of fewer characters says little: one odd character is all of its figure.
JUDGED_CHARACTERS = 16
EXCERPT_CHARACTERS = 200


def score_each_line(scorer: Scorer, blocks: Iterable[str], documents: str) -> Iterator[tuple[Line, Report]]:
    """Each line of a text, scored as a text that begins there, as soon as its block is there.

    documents: what a document is to the run. A line may be read until the next one is asked for.
    """
    for ended in lines(blocks):
        losses = iter(scorer.each([as_text(line, documents) for line in ended if not line.is_long]))
        for line in ended:
            loss = _one(scorer, as_text(line, documents)) if line.is_long else next(losses)
            yield line, Report(loss, measure(line))
            line.close()


def _one(scorer: Scorer, text: Iterable[str | Separator]) -> Loss:
    tally = Tally()
    for piece in scorer.read(text):
        tally.add(piece)
    return tally.report.loss


class CountedLines:
    """The blocks of a text as they come, and how many lines they have had.

    `leading` of them are empty ones before the first document, `number` are all. Where documents are lines or
    blocks, those before the first one and after the last are no part of what is scored.
    """

    def __init__(self, blocks: Iterable[str], documents: str) -> None:
        self.leading = self._ends = 0
        self._is_open = False
        self._blocks = blocks
        self._blanks = {"file": "", "line": "\r\n", "block": " \t\r\n"}[documents]

    @property
    def number(self) -> int:
        """Lines so far, with the one that nothing ended yet."""
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
    pieces: Iterable[Piece], limit: int | None = None, counted: CountedLines | None = None
) -> Iterator[tuple[Line, Report]]:
    """The lines of one text, each with the costs of the tokens that begin in it; their sum is the text's.

    limit: only so many characters of a line are kept. counted: the blocks that the text came in, of which
    every line is given then; None where it begins and ends with a document. A line may be read until the next
    one is asked for.
    """
    scored = _lines(pieces, limit)
    if counted is None:
        yield from scored
        return
    first = [*islice(scored, 1)]  # when it is there, those before it have been counted
    number = 0
    for each in chain(_lines(repeat(EMPTY_LINE, counted.leading), limit), first, scored):
        number += 1
        yield each
    yield from _lines(repeat(EMPTY_LINE, counted.number - number), limit)


def _lines(pieces: Iterable[Piece], limit: int | None) -> Iterator[tuple[Line, Report]]:
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
    """A line that a run predicts badly: bits per character, its number from 1 on, and how it begins."""

    bits_per_character: float
    number: int
    text: str = field(compare=False)


@dataclass(frozen=True)
class Summary:
    """A text in all, how many lines it has, and its hardest lines, the hardest first."""

    report: Report
    num_lines: int
    hardest: tuple[HardLine, ...]

    def as_dict(self) -> dict[str, object]:
        """The figures by name as Report gives them, with the lines."""
        return self.report.as_dict() | {
            "lines": self.num_lines,
            "hardest_lines": [dict(vars(line)) for line in self.hardest],
        }


def summarize(
    pieces: Iterable[Piece],
    progress: Callable[[int], None] | None = None,
    lines: CountedLines | None = None,
) -> Summary:
    """Read a text to its end. progress is called with the bytes (UTF-8) read so far.

    lines: what lines_in_context counts by.
    """
    total, hardest, num_lines = Tally(), list[HardLine](), 0

    def counted() -> Iterator[Piece]:
        for piece in pieces:
            total.add(piece)
            if progress is not None:
                progress(total.report.size.bytes)
            yield piece

    for line, report in lines_in_context(counted(), EXCERPT_CHARACTERS, lines):
        num_lines += 1
        if report.size.characters >= JUDGED_CHARACTERS:
            hard = HardLine(report.bits_per_character, num_lines, "".join(line.without_end()))
            # A line that comes again and again is named once, where it was hardest.
            by_text = {each.text: each for each in sorted([*hardest, hard])}
            hardest = sorted(by_text.values(), reverse=True)[:HARDEST_LINES]
    return Summary(total.report, num_lines, tuple(hardest))
