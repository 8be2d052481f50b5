"""The summary of a scored text, with its hardest lines or records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from textgen.evaluation.report import Report
from textgen.evaluation.score import ScoredPiece, Tally
from textgen.evaluation.scored_lines import PlainText, Records, lines_in_context

HARDEST_LINES = 5
# Shorter lines do not count as hard: their bits per character depend too much on a single character.
MIN_LINE_CHARACTERS = 16
EXCERPT_CHARACTERS = 200  # that are shown of a line


@dataclass(frozen=True, order=True)
class HardLine:
    """A line or record that a run predicts badly. number: from 1. text: its first EXCERPT_CHARACTERS."""

    bits_per_character: float
    number: int
    text: str = field(compare=False)


@dataclass(frozen=True)
class Summary:
    """The report of a whole text, how many lines it has, and its hardest lines, hardest first.

    unit: `line`, or `record` where the lines are records; then those without text are not counted.
    """

    report: Report
    num_lines: int
    hardest: tuple[HardLine, ...]
    unit: str = PlainText.unit

    def as_dict(self) -> dict[str, object]:
        """The figures of the report by name, with the number of lines and the hardest lines."""
        return self.report.as_dict() | {
            f"{self.unit}s": self.num_lines,
            f"hardest_{self.unit}s": [dict(vars(line)) for line in self.hardest],
        }


def summarize(
    pieces: Iterable[ScoredPiece],
    progress: Callable[[int], None] | None = None,
    text: PlainText | Records | None = None,
) -> Summary:
    """Read a scored text to its end and summarize it.

    progress is called with the UTF-8 bytes read so far. text: whose stream was scored; None: a plain text, of
    which the empty lines around it are not counted.
    """
    total, hardest, num_lines = Tally(), list[HardLine](), 0

    def counted() -> Iterator[ScoredPiece]:
        for piece in pieces:
            total.add(piece)
            if progress is not None:
                progress(total.report.size.bytes)
            yield piece

    in_context = lines_in_context if text is None else text.each_in_context
    for line, report in in_context(counted(), EXCERPT_CHARACTERS):
        num_lines += 1
        if report.size.characters >= MIN_LINE_CHARACTERS:
            hard = HardLine(report.bits_per_character, line.number, "".join(line.without_end()))
            # A line that occurs repeatedly is listed once, where it was hardest.
            by_text = {candidate.text: candidate for candidate in sorted([*hardest, hard])}
            hardest = sorted(by_text.values(), reverse=True)[:HARDEST_LINES]
    unit = PlainText.unit if text is None else text.unit
    return Summary(total.report, num_lines, tuple(hardest), unit)
