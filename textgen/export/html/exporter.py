"""`textgen export RUN html`."""

from __future__ import annotations

from pathlib import Path

from textgen.errors import ConfigError
from textgen.export.report import ExportReport
from textgen.export.source import ExportSource


def export_html(
    source: ExportSource, output: Path, *, weights: str = "float16", cache_dir: str | None = None
) -> ExportReport:
    """Write the page; see Exporter. cache_dir: of the encoded validation text; None: the user's."""
    raise ConfigError(f"{source.name}: cannot be written as a page yet")
