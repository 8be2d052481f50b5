"""`textgen export RUN html`: writes the page, and measures how far its weights are from the run's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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
    weights: str,
    inspect: bool = False,
    cache_dir: str | None = None,
) -> ExportReport:
    """Write the page; see Exporter.

    inspect: with the surprise of what is typed. cache_dir: of the encoded validation text; None: the user's.
    """
    require_expressible(source)
    arrays = packed(source.weights, weights)
    data = page_data(source, arrays, inspect=inspect)
    write_file(output, assembled(source.name, data).html)
    size = output.stat().st_size
    line = f"{output}: {_megabytes(size)}, weights in {weights}"
    if source.companion is not None:
        alone = page_data(replace(source, companion=None), arrays, inspect=inspect)
        without = size - len(data) + len(alone)
        line += f", n-grams of the training text ({_megabytes(without)} with --no-ngram)"
    engines = {"the run": source.engine()}
    if weights != "float32":
        engines[f"the page ({weights})"] = source.engine(rounded(source.weights, weights))
    return ExportReport((output,), (line, *losses(source, engines, cache_dir), "Open it in a browser."))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
