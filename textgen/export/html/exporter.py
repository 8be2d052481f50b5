"""`textgen export RUN html`: writes the page, and measures how far its weights are from the run's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from textgen.export.html.data import packed, page_data, require_expressible, unpacked
from textgen.export.html.page import assembled
from textgen.export.parity import losses
from textgen.export.report import ExportReport
from textgen.export.source import ExportSource
from textgen.system.atomic import write_file


def export_html(
    source: ExportSource,
    output: Path,
    *,
    weights: str = "float16",
    inspect: bool = False,
    cache_dir: str | None = None,
) -> ExportReport:
    """Write the page, of the network alone; see Exporter.

    inspect: with the surprise of what is typed. cache_dir: of the encoded validation text; None: the user's.
    """
    require_expressible(source)
    arrays = packed(source.weights, weights)
    page = assembled(source.name, page_data(source, arrays, inspect=inspect))
    write_file(output, page.html)
    lines = [f"{output}: {output.stat().st_size / 1e6:.2f} MB, weights in {weights}"]
    if source.companion is not None:
        lines.append("the page is of the network alone, without the n-grams of the run")
    if weights != "float32":
        lines += _losses(source, unpacked(arrays), weights, cache_dir)
    return ExportReport((output,), (*lines, "Open it in a browser."))


def _losses(
    source: ExportSource, weights: dict[str, np.ndarray], kind: str, cache_dir: str | None
) -> Iterator[str]:
    rest = {name: source.weights[name] for name in source.weights.keys() - weights.keys()}
    engines = {
        "the run": source.engine(ngram=False),
        f"the page ({kind})": source.engine(weights | rest, ngram=False),
    }
    yield from losses(source, engines, None if cache_dir is None else Path(cache_dir))
