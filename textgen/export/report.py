"""What every exporter takes and returns; formats.py lists them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportReport:
    """What was written. lines: sizes and measured differences from the run, to be printed."""

    files: tuple[Path, ...]
    lines: tuple[str, ...]


Exporter = Callable[..., ExportReport]
"""exporter(source: ExportSource, output: Path, **options) writes a run in a format, completely or not at all.

output: the file or folder to write. options: those that the format has, by name; one that was not given is
absent. Raises ConfigError for a run that the format cannot express, and what reading the run raises.
"""
