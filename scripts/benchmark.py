"""textgen against what people use today: sampling, scoring, training, encoding, starting, side by side.

Every line of a table is measured in one run, ours and the alternative in turn, and shows medians, so that
what else the machine does weighs on both. The ratio is the figure; single times are the machine's.

Run as:

    python scripts/benchmark.py                     all sections
    python scripts/benchmark.py sampling training   some of them
    python scripts/benchmark.py --json FILE         the figures for another program
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import click
from benchmarks.measure import Comparison, machine, table
from benchmarks.results import OutputFile

from textgen.system.threads import available_processors

# Before NumPy is imported: as in `textgen sample` it may multiply on two threads. torch keeps its own
# default.
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(min(2, available_processors())))
SECTIONS = ("sampling", "scoring", "training", "encoding", "starting")


@click.command()
@click.argument("sections", nargs=-1, type=click.Choice(SECTIONS))
@click.option(
    "--rounds", type=click.IntRange(min=3), default=7, show_default=True, help="Timings per median."
)
@click.option(
    "--only", default="", metavar="TEXT", help="Measure only the cases with this text in their names."
)
@click.option("--json", "json_path", type=OutputFile(), help="Write to FILE.")
def main(sections: tuple[str, ...], rounds: int, only: str, json_path: Path | None) -> None:
    """Measure the SECTIONS, all of them when none is named."""
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
        finally:  # what was measured is not lost when the next case fails, or the user has seen enough
            if comparisons:
                click.echo(f"\n## {name}\n\n{section.__doc__.splitlines()[0]}\n")
                click.echo("\n".join(table(comparisons)))
    if len(results) == 1:
        raise click.UsageError(
            f"--only {only!r}: no case of {', '.join(sections or SECTIONS)} has this in its name"
        )


if __name__ == "__main__":
    main()
