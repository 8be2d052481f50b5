"""A text's lines by what they cost, and a text in all with its hardest lines.

A line is read by itself, as a text that begins there, or as it stands in its text: then the costs of all
lines are those of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from textgen.evaluation.loss import Loss
from textgen.evaluation.report import Report
from textgen.evaluation.score import Piece, Scorer, Tally
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


def lines_in_context(pieces: Iterable[Piece], limit: int | None = None) -> Iterator[tuple[Line, Report]]:
    """The lines of one text, each with the costs of the tokens that begin in it; their sum is the text's.

    limit: only so many characters of a line are kept. A line may be read until the next one is asked for.
    """
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


def summarize(pieces: Iterable[Piece], progress: Callable[[int], None] | None = None) -> Summary:
    """Read a text to its end. progress is called with the bytes (UTF-8) read so far."""
    total, hardest, num_lines = Tally(), list[HardLine](), 0

    def counted() -> Iterator[Piece]:
        for piece in pieces:
            total.add(piece)
            if progress is not None:
                progress(total.report.size.bytes)
            yield piece

    for line, report in lines_in_context(counted(), EXCERPT_CHARACTERS):
        num_lines += 1
        if report.size.characters >= JUDGED_CHARACTERS:
            hard = HardLine(report.bits_per_character, num_lines, "".join(line.without_end()))
            # A line that comes again and again is named once, where it was hardest.
            by_text = {each.text: each for each in sorted([*hardest, hard])}
            hardest = sorted(by_text.values(), reverse=True)[:HARDEST_LINES]
    return Summary(total.report, num_lines, tuple(hardest))
