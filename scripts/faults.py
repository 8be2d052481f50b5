"""Attack textgen, and count how often it gives a wrong result, loses something or ends in a traceback.

GROUPS of attacks:
    flips           a bit of a file of a run or the cache flipped, the file cut or emptied
    kills           SIGKILL at any moment of training and storing, then resumed
    disk            a full disk, and files that may not grow
    hostile runs    configurations, weights, tokenizers, metrics and links made to do harm
    texts           nasty texts, trained on and sampled from
    command lines   all commands and options with nasty values

For each group the table says how many cases were tried, and in how many of them:
    silent        the result was another one, with exit code 0
    lost          a run could not be resumed to the same result, or a file was gone
    tracebacks    there was a traceback, a panic, a crash, a warning with source lines, or an error of more
                  than one line
    leftovers     files were left that an undisturbed command does not leave
    over limits   it did not end, or took more time or memory than it may
The last column is the peak memory of any process. Each fault is printed with what was done. Exits with 1 if
there is any. Takes about 20 minutes on two cores; on a system that cannot fork, kills and disk are left out.

Examples:
    python scripts/faults.py
    python scripts/faults.py --quick
    python scripts/faults.py --only kills --only disk --output faults.md
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

import click
from benchmarks.command import OutputFile, Script
from benchmarks.measure import markdown
from benchmarks.runs import end_together

# Before NumPy is imported: a process with threads of its own should not be forked. One thread in each child
# makes CPU times comparable.
os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
GROUPS = ("flips", "kills", "disk", "hostile runs", "texts", "command lines")


@click.command(cls=Script, help=__doc__)
@click.option("--quick", is_flag=True, help="Try only a few cases of each group; takes less than a minute.")
@click.option("--only", multiple=True, type=click.Choice(GROUPS), help="Only this group; can be repeated.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of all that is random.")
@click.option("--output", type=OutputFile(), help="Also write the table and the faults to FILE.")
def main(quick: bool, only: tuple[str, ...], seed: int, output: Path | None) -> None:
    """Run the groups and print the table."""
    from fault_groups.children import preload
    from fault_groups.plan import Plan
    from fault_groups.tally import HEADINGS, Tally

    end_together()
    tallies: list[Tally] = []
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is read from or written to the caches of the user.
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "user-cache")
        preload()
        for name in only or GROUPS:
            started = time.monotonic()
            group = importlib.import_module(f"fault_groups.{name.replace(' ', '_')}")
            place = Path(folder) / name.replace(" ", "-")
            place.mkdir()
            tallies.append(group.attack(Plan(place, seed, quick)))
            click.echo(f"{name}: {time.monotonic() - started:.0f} s", err=True)
    lines = markdown([HEADINGS, *(tally.row() for tally in tallies)])
    faults = [f"- {tally.group}, {fault}" for tally in tallies for fault in tally.faults]
    report = "\n".join([*lines, *([""] if faults else []), *faults])
    click.echo(report)
    if output is not None:
        output.write_text(report + "\n", encoding="utf-8")
    if faults:
        sys.exit(1)


if __name__ == "__main__":
    main()
