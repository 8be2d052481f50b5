"""The table of a comparison, for a terminal and in Markdown: one row per figure, one column per cell.

n-grams are the last column; what only networks have is a dash there.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from textgen.analysis.comparison.claims import NAMES, findings, remarks, textbook_claims
from textgen.analysis.comparison.figures import CellFigures, Comparison
from textgen.analysis.comparison.interval import Interval
from textgen.analysis.comparison.ngrams import NGramFigures
from textgen.analysis.comparison.plan import NGRAM

LABEL_WIDTH, COLUMN_WIDTH, MAX_WIDTH = 27, 17, 79
_DOES_NOT_APPLY = "–"

Table = list[tuple[str, ...]]


def rows(comparison: Comparison) -> Table:
    """The rows of the table, each beginning with its label; the first row holds the column headings."""
    labels = [label for label, _ in _figures(comparison.cells[0])]
    columns = [[value for _, value in _figures(cell)] for cell in comparison.cells]
    heading = ["", *(NAMES[cell.cell] for cell in comparison.cells)]
    if comparison.ngrams is not None:
        figures = _ngram_figures(comparison.ngrams)
        columns.append([figures.get(label, _DOES_NOT_APPLY) for label in labels])
        heading.append(NAMES[NGRAM])
    return [tuple(heading), *((label, *values) for label, *values in zip(labels, *columns, strict=True))]


def _figures(cell: CellFigures) -> list[tuple[str, str]]:
    memory = "unknown" if cell.peak_memory_bytes is None else f"{cell.peak_memory_bytes / 1e6:,.0f}"
    return [
        ("gates", cell.gates),
        ("layers x units", cell.network),
        ("parameters", f"{cell.parameters:,}"),
        ("multiply-adds per token", f"{cell.multiply_adds_per_token:,}"),
        ("training, tokens/s", f"{cell.tokens_per_second:,.0f}"),
        ("training, minutes", f"{cell.minutes:.3g}"),
        ("training, steps", f"{cell.steps:,.0f}"),
        ("sampling, characters/s", f"{cell.characters_per_second:,.0f}"),
        ("peak memory, MB", memory),
        ("validation, nats/token", _with_interval(cell.nats_per_token)),
        ("validation, bits/character", _with_interval(cell.bits_per_character)),
        ("to common loss, steps", f"{cell.steps_to_common_loss:,.0f}"),
        ("to common loss, minutes", f"{cell.minutes_to_common_loss:.3g}"),
    ]


def _ngram_figures(ngrams: NGramFigures) -> dict[str, str]:
    """The rows of _figures that n-grams have; no interval, as they have no seeds."""
    return {
        "parameters": f"{ngrams.parameters:,}",
        "training, minutes": f"{ngrams.seconds / 60:.3g}",
        "validation, nats/token": f"{ngrams.nats_per_token:.4f}",
        "validation, bits/character": f"{ngrams.bits_per_character:.4f}",
    }


def _with_interval(interval: Interval) -> str:
    mean = f"{interval.mean:.4f}"
    return mean if interval.half_width is None else f"{mean} ± {interval.half_width:.4f}"


def caption(comparison: Comparison) -> str:
    """How the figures were obtained and what they mean."""
    plan = comparison.plan
    matched = {
        "parameters": ", the same number of parameters",
        "size": ", layers of the same size",
        "minutes": ", each cell with the settings chosen for it",
    }[plan.match]
    if len(plan.networks) == 1:
        matched = ""
    seeds = {
        1: "One seed per cell, no interval",
        2: "Means over two seeds, no interval",
    }.get(
        plan.seeds, f"Means over {plan.seeds} seeds, ± the 95% confidence interval of the mean (Student's t)"
    )
    return (
        f"{seeds}. {plan.minutes_each:.3g} minutes per run{matched}. Common loss: the lowest validation "
        f"loss that every network reached in training, {comparison.common_loss:.4f} nats/token."
        + ("" if comparison.ngrams is None else f" {_about(comparison.ngrams)}")
    )


def _about(ngrams: NGramFigures) -> str:
    return (
        f"n-grams: of up to {ngrams.order} tokens, counted once in the training text (modified Kneser-Ney). "
        "They have no seeds, so no interval; the minutes and --match do not apply to them. Their parameters "
        "are their entries, and their loss is that of the whole validation text."
    )


def sections(comparison: Comparison) -> dict[str, list[str]]:
    """The texts below the table by heading; headings without any text are left out."""
    found = {
        "Findings": findings(comparison),
        "Textbook claims": [str(claim) for claim in textbook_claims(comparison)],
        "Caveats": remarks(comparison),
    }
    return {heading: texts for heading, texts in found.items() if texts}


def terminal_lines(comparison: Comparison, width: int) -> list[str]:
    """The table, at most MAX_WIDTH columns wide, and the texts below it wrapped at `width`."""
    table = rows(comparison)
    column_width = min(COLUMN_WIDTH, (MAX_WIDTH - LABEL_WIDTH) // (len(table[0]) - 1))
    lines = [line for row in table for line in _terminal_row(row, column_width)]
    lines += ["", *textwrap.wrap(caption(comparison), width)]
    for heading, texts in sections(comparison).items():
        lines += ["", f"{heading}:"]
        for text in texts:
            lines += textwrap.wrap(text, width, initial_indent="- ", subsequent_indent="  ")
    return lines


def _terminal_row(row: Sequence[str], column_width: int) -> list[str]:
    """One row as one or more lines; long cells are wrapped."""
    label, *cells = row
    wrapped = [textwrap.wrap(cell, column_width - 2) or [""] for cell in cells]
    lines = []
    for number in range(max(map(len, wrapped))):
        parts = [column[number] if number < len(column) else "" for column in wrapped]
        line = f"{label if number == 0 else '':<{LABEL_WIDTH}}" + "".join(
            f"{part:>{column_width}}" for part in parts
        )
        lines.append(line.rstrip())
    return lines


def markdown(comparison: Comparison, title: str) -> str:
    """The table and the texts below it as a Markdown document."""
    names, *others = rows(comparison)
    table = [names, ("---", *("---:" for _ in names[1:])), *others]
    lines = [f"# {title}", "", *(f"| {' | '.join(row)} |" for row in table)]
    lines += ["", caption(comparison)]
    for heading, texts in sections(comparison).items():
        lines += ["", f"{heading}:", "", *(f"- {text}" for text in texts)]
    return "\n".join(lines) + "\n"
