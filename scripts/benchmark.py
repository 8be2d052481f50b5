"""Measure the speed of textgen against common alternatives.

SECTIONS are sampling, scoring, mixing, training, encoding, shards and starting; all of them by default. Each
line of a table compares medians of timings that were taken in turn, so that other programs on the machine
affect both sides. Compare ratios between machines, not times.

Examples:
    python scripts/benchmark.py
    python scripts/benchmark.py sampling training
    python scripts/benchmark.py training --only gru --json results.json
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import click
from benchmarks.command import OutputFile, Script
from benchmarks.measure import Comparison, machine, table

from textgen.system.threads import available_processors

# Before NumPy is imported: two threads for its products, as in `textgen sample`. torch keeps its default.
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(min(2, available_processors())))
SECTIONS = ("sampling", "scoring", "mixing", "training", "encoding", "shards", "starting")


@click.command(cls=Script, help=__doc__)
@click.argument("sections", nargs=-1, type=click.Choice(SECTIONS))
@click.option(
    "--rounds", type=click.IntRange(min=3), default=7, show_default=True, help="Timings for each median."
)
@click.option("--only", default="", metavar="TEXT", help="Measure only cases whose name contains TEXT.")
@click.option("--json", "json_path", type=OutputFile(), help="Also write the results to FILE.")
def main(sections: tuple[str, ...], rounds: int, only: str, json_path: Path | None) -> None:
    """Run the benchmark and print its tables."""
    results: dict[str, Any] = {"machine": machine()}
    click.echo(", ".join(f"{name} {value}" for name, value in results["machine"].items()))
    for name in sections or SECTIONS:
        section = importlib.import_module(f"benchmarks.{name}")
        comparisons: list[Comparison] = []
        try:
            for comparison in section.measure(rounds=rounds, only=only):
                comparisons.append(comparison)
                results[name] = [each.as_json() for each in comparisons]
                if json_path is not None:
                    json_path.write_text(json.dumps(results, indent=2) + "\n")
        finally:  # print what was measured even if the next case fails or is interrupted
            if comparisons:
                click.echo(f"\n## {name}\n\n{section.__doc__.splitlines()[0]}\n")
                click.echo("\n".join(table(comparisons)))
    if len(results) == 1:
        raise click.UsageError(
            f"--only {only!r}: no case of {', '.join(sections or SECTIONS)} has this in its name"
        )


if __name__ == "__main__":
    main()
