"""Measure `textgen serve` under load, against the engine in this process.

A server is started on this machine with an untrained LSTM of 256 units over 65 characters, or with --run. Ours
and theirs are timed in turn, so that other programs on the machine affect both. The client reads bytes from
plain sockets and parses nothing while it measures, because it shares the processors with the server.

    one stream      characters/s of one streamed completion, against the path of `textgen sample`;
                    ms from sending a request to the first token
    64 streams      characters/s of all of them, against a batch of 64 texts of the bare engine;
                    the slowest stream against the mean
    mixed           requests of 1 to 300 tokens, half of them streamed, 64 at a time, of which a tenth go away:
                    how many are lost or wrong, and how the server's memory grows after the first hundred

A text is wrong if it is not the one of its seed, unless it first differs where the uniform number that was
drawn lies within 1e-5 of the boundary between the two tokens.

Examples:
    python scripts/serve_load.py
    python scripts/serve_load.py --only mixed --requests 200
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from benchmarks.command import Script
from benchmarks.measure import Comparison, Goal, alternate, machine, table
from load.mixed import mixed
from load.server import LoadServer, finished, first_token_seconds, side_by_side

from textgen.system.threads import available_processors

# Before NumPy is imported: two threads for its products, as in `textgen sample`.
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(min(2, available_processors())))
STREAMS = 64
UNIT = "characters/s"
FIRST_TOKENS = 100  # requests of which the median is taken
LARGEST_GROWTH = 5.0  # MB that count as flat


@click.command(cls=Script, help=__doc__)
@click.option("--run", "run_directory", type=click.Path(path_type=Path), help="Serve this run.")
@click.option("--only", type=click.Choice(["one", "many", "mixed"]), help="Measure only this.")
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="For each median.")
@click.option("--characters", type=click.IntRange(min=10), default=5000, show_default=True, help="Of a text.")
@click.option("--requests", type=click.IntRange(min=10), default=1000, show_default=True, help="Of `mixed`.")
def main(run_directory: Path | None, only: str | None, rounds: int, characters: int, requests: int) -> None:
    """Run the measurements and print their table."""
    click.echo(", ".join(f"{name} {value}" for name, value in machine().items()) + "\n")
    parts: dict[str, Callable[[LoadServer], list[Comparison]]] = {
        "one": partial(_one, rounds=rounds, characters=characters),
        "many": partial(_many, rounds=rounds, characters=max(10, characters // 10)),
        "mixed": partial(_mixed, requests=requests),
    }
    lines: list[Comparison] = []
    with tempfile.TemporaryDirectory() as folder:
        run = run_directory or _untrained(Path(folder) / "untrained")
        for name, measure in parts.items():
            if only in (None, name):
                with LoadServer(run) as server:
                    lines += measure(server)
    click.echo("\n".join(table(lines)))


def _untrained(folder: Path) -> Path:
    from benchmarks.sampling import make_model, save_run

    folder.mkdir()
    save_run(make_model("lstm", 256), folder)
    return folder


def _one(server: LoadServer, *, rounds: int, characters: int) -> list[Comparison]:
    from benchmarks.sampling import sample_path

    ours, theirs = alternate(
        lambda: finished(server.stream(characters)),
        partial(sample_path, server.generator, characters),
        rounds=rounds,
    )
    firsts = [first_token_seconds(server) for _ in range(FIRST_TOKENS)]
    speed = Comparison(
        "one stream", "sample", UNIT, characters / ours, characters / theirs, Goal("ratio", 0.7)
    )
    wait = 1000 * statistics.median(firsts)
    return [speed, Comparison("first token", "none", "ms", wait, wait, Goal("ours", 5, at_most=True))]


def _many(server: LoadServer, *, rounds: int, characters: int) -> list[Comparison]:
    from benchmarks.sampling import bare_batch

    shares: list[float] = []

    def streams() -> None:
        times = side_by_side([server.stream(characters, seed) for seed in range(STREAMS)])
        speeds = [1 / time for time in times]
        shares.append(min(speeds) / statistics.mean(speeds))

    bare = bare_batch(server.generator.engine, STREAMS)
    ours, theirs = alternate(streams, partial(bare, characters), rounds=rounds)
    total = STREAMS * characters
    case = f"{STREAMS} streams"
    return [
        Comparison(case, "bare engine", UNIT, total / ours, total / theirs, Goal("ratio", 0.7)),
        Comparison("slowest of them", "mean", "share", statistics.median(shares), 1.0, Goal("ratio", 0.5)),
    ]


def _mixed(server: LoadServer, *, requests: int) -> list[Comparison]:
    found = mixed(server, requests, STREAMS)
    click.echo(
        f"mixed: {found.answered} answered in {found.seconds:.1f} s, {found.left} went away, "
        f"{found.different} first differ at a boundary\n"
    )
    case = f"mixed, {requests} requests"
    none = Goal("ours", 0, at_most=True)
    return [
        Comparison(case, "lost", "requests", found.lost, 1, none),
        Comparison(case, "wrong", "requests", found.wrong, 1, none),
        Comparison(case, "growth", "MB", found.growth, 1, Goal("ours", LARGEST_GROWTH, at_most=True)),
    ]


if __name__ == "__main__":
    main()
