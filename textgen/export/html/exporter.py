"""`textgen export RUN html`: writes the page, and measures how far its weights are from the run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from textgen.export.html.data import packed, page_data, require_expressible
from textgen.export.html.page import assembled
from textgen.export.parity import losses
from textgen.export.report import ExportReport
from textgen.export.source import ExportSource
from textgen.system.atomic import write_file
from textgen.weights.quantized import rounded


def export_html(
    source: ExportSource,
    output: Path,
    *,
    weights: str = "float16",
    inspect: bool = False,
    cache_dir: str | None = None,
) -> ExportReport:
    """Write the page; see Exporter.

    inspect: with the surprise of what is typed. cache_dir: of the encoded validation text; None: the user's.
    """
    require_expressible(source)
    arrays = packed(source.weights, weights)
    html = assembled(source.name, page_data(source, arrays, inspect=inspect)).html
    write_file(output, html)
    lines = [f"{output}: {_megabytes(html)}, weights in {weights}{_ngrams(source, arrays, html)}"]
    if weights != "float32":
        lines += _losses(source, weights, cache_dir)
    return ExportReport((output,), (*lines, "Open it in a browser."))


def _megabytes(html: str) -> str:
    return f"{len(html.encode()) / 1e6:.2f} MB"


def _ngrams(source: ExportSource, arrays: Mapping[str, Any], html: str) -> str:
    """What n-grams add to the size of a page; nothing where there are none."""
    if source.companion is None:
        return ""
    alone = page_data(replace(source, companion=None), arrays)
    added = len(page_data(source, arrays)) - len(alone)
    without = len(html.encode()) - added
    return f", n-grams of the training text ({without / 1e6:.2f} MB with --no-ngram)"


def _losses(source: ExportSource, kind: str, cache_dir: str | None) -> Iterator[str]:
    page = source.engine(rounded(source.weights, kind))
    engines = {"the run": source.engine(), f"the page ({kind})": page}
    yield from losses(source, engines, None if cache_dir is None else Path(cache_dir))
