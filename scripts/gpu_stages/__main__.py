"""Run one stage, for gpu_check.py: NAME SETTINGS RESULTS.

Each result is appended to the file RESULTS as soon as it is measured, so that those of a stage that fails, or
runs out of time, are kept; the first line describes the machine.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from textgen.system.threads import limit_spinning, multiply_on_few_threads

# Before torch and NumPy are imported, as `textgen` does.
limit_spinning()
multiply_on_few_threads()

from benchmarks.results import append_line  # noqa: E402

from gpu_stages.on_device import describe  # noqa: E402
from gpu_stages.settings import Settings  # noqa: E402
from textgen.system.device import resolve_device  # noqa: E402


def main(name: str, settings: Settings, results: Path) -> None:
    """Measure a stage. Raises ConfigError if there is no such device."""
    append_line(results, {"machine": describe(resolve_device(settings.device))})
    for result in importlib.import_module(f"gpu_stages.{name}").measure(settings):
        append_line(results, result)


if __name__ == "__main__":
    main(sys.argv[1], Settings.from_json(sys.argv[2]), Path(sys.argv[3]))
