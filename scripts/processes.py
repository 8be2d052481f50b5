"""What several processes gain and cost: steps, exchange, and what follows for other machines.

    step        steps of the same batches by one process with all threads, and by several that share the
                threads: real processes, measured in turn, on data/faq.txt
    exchange    seconds of one sum of gradients over the processes, by the number of parameters
    on paper    the speed of more processors and machines from the above, by the assumptions printed with it
    training    nats per token on validation text after --minutes, both ways, on a text of your own

Examples:
    python scripts/processes.py
    python scripts/processes.py --processes 4 --rounds 9 --json processes.json
    python scripts/processes.py --corpus corpus.txt --minutes 2
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from benchmarks.command import OutputFile, Script
from benchmarks.measure import machine, markdown
from benchmarks.training import FAST_PRECISION

from textgen.distributed.world import World
from textgen.models.cost import num_parameters
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.system.device import torch_dtype
from textgen.system.memory import keep_memory
from textgen.system.threads import available_processors, limit_spinning
from textgen.text.batches import Batch, Rows
from textgen.training.step import TrainStep

VOCABULARY, WINDOW, BATCH = 96, 64, 32
CASES = tuple((cell, size) for cell in ("lstm", "gru") for size in (128, 256, 384, 512))
EXCHANGED = (10_000, 100_000, 1_000_000, 10_000_000)
STEPS = 12  # in a timing
GIGABIT = 1e9 / 8  # bytes
LATENCY = 50e-6  # seconds of a message between machines, which nothing here measures


class Step(NamedTuple):
    """Seconds of a step of one case: by one process with all threads, and by several."""

    cell: str
    size: int
    parameters: int
    alone: float
    together: float


def _step(world: World, cell: str, size: int) -> Callable[[], None]:
    """Some steps on this process's share of a batch."""
    config = ModelConfig(
        model_vocab_size=VOCABULARY, embedding_dim=64, hidden_size=size, cell=cell, dropout=0.2
    )
    torch.manual_seed(0)
    model = LanguageModel(config)
    model.compute_dtype = torch_dtype(FAST_PRECISION)
    train_step = TrainStep(model, TrainingConfig(steps=1, batch_size=BATCH), world)
    rows = world.share(Rows.whole(BATCH))
    ids = np.random.default_rng(0).integers(VOCABULARY, size=(BATCH, WINDOW + 1))[rows.start : rows.stop]
    batch = Batch(ids[:, :-1], ids[:, 1:], starts_epoch=False, part=rows)

    def steps() -> None:
        for number in range(1, STEPS + 1):
            train_step(batch, learning_rate=1e-3, step=number, seed=number)
            world.exchanged([0.0, 0.0])

    return steps


def _seconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _serve(rank: int, size: int, port: int, threads: int, commands: Any, results: Any) -> None:
    """A process of a world that does what it is told; rank 0 gives the seconds that each command took."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    keep_memory()
    torch.set_num_threads(threads)
    world = World.join()
    actions: dict[Any, Callable[[], None]] = {}
    while (command := commands.get()) is not None:
        kind, *what = command
        if command not in actions:
            if kind == "step":
                actions[command] = _step(world, *what)
            elif kind == "sum":
                actions[command] = partial(world.sum, [torch.ones(*what)])
            else:
                actions[command] = partial(world.exchanged, [0.0, 0.0])
            actions[command]()
        world.exchanged([0.0])  # all begin at the same time
        taken = _seconds(actions[command])
        if world.is_first:
            results.put(taken)
    world.leave()


class Processes:
    """Processes of a world that wait for commands, without using a processor."""

    def __init__(self, size: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self._results = context.Queue()
        self._commands = [context.Queue() for _ in range(size)]
        for rank, commands in enumerate(self._commands):
            arguments = (rank, size, port, threads, commands, self._results)
            context.Process(target=_serve, args=arguments, daemon=True).start()

    def seconds(self, *command: Any) -> float:
        """How long a command took, in all processes together."""
        for commands in self._commands:
            commands.put(command)
        return float(self._results.get(timeout=600))

    def end(self) -> None:
        """Let them end."""
        for commands in self._commands:
            commands.put(None)


def measure_steps(processes: int, rounds: int) -> list[Step]:
    """Each case in turn by one process with all threads, and by several with their share of the threads."""
    threads = available_processors()
    alone, together = Processes(1, threads), Processes(processes, max(1, threads // processes))
    found = []
    for cell, size in CASES:
        config = ModelConfig(model_vocab_size=VOCABULARY, embedding_dim=64, hidden_size=size, cell=cell)
        pairs = [[each.seconds("step", cell, size) for each in (alone, together)] for _ in range(rounds)]
        one, several = (statistics.median(column) / STEPS for column in zip(*pairs, strict=True))
        found.append(Step(cell, size, num_parameters(config), one, several))
    alone.end()
    together.end()
    return found


def measure_exchange(processes: int, rounds: int) -> tuple[dict[int, float], float]:
    """Seconds of a sum by its numbers, and of the exchange of clock and stop requests."""
    world = Processes(processes, 1)
    sums = {
        numbers: statistics.median(world.seconds("sum", numbers) for _ in range(3 * rounds))
        for numbers in EXCHANGED
    }
    clock = statistics.median(world.seconds("clock") for _ in range(10 * rounds))
    world.end()
    return sums, clock


def measure_halves(size: int, rounds: int) -> dict[int, float]:
    """Seconds of a step of one thread with 32, 16, 8, ... sequences of the batch."""
    torch.set_num_threads(1)
    found = {}
    for parts in (1, 2, 4, 8, 16):
        steps = _step(_Part(parts), "lstm", size)
        steps()
        found[BATCH // parts] = statistics.median(_seconds(steps) for _ in range(rounds)) / STEPS
    return found


class _Part(World):
    """The first of some processes, whose exchange takes no time."""

    def share(self, rows: Rows) -> Rows:
        return rows.divided(self.size)[0]

    def sum(self, tensors: Any) -> None:
        pass

    def exchanged(self, numbers: Any) -> list[list[float]]:
        return [list(numbers)]

    def __init__(self, size: int) -> None:
        super().__init__(0, size, local_size=size)


def on_paper(halves: dict[int, float], parameters: int, seconds_per_sum: float) -> list[tuple[str, ...]]:
    """Steps per second of more processes, against one process of one thread.

    A ring sends 2 (N - 1) / N times the gradients from each machine in 2 (N - 1) messages.
    """
    rows = [("processes of one thread", "exchange", "ms a step", "times as fast as one")]
    alone = halves[BATCH]
    for count in (2, 4, 8, 16):
        compute = halves[BATCH // count]
        steps = {"in one machine": compute + seconds_per_sum}
        for gigabits in (1, 10, 100):
            sent = 2 * (count - 1) / count * 4 * parameters / (gigabits * GIGABIT)
            steps[f"a machine each, {gigabits} Gbit/s"] = compute + sent + 2 * (count - 1) * LATENCY
        for where, taken in steps.items():
            rows.append((str(count), where, f"{1000 * taken:.1f}", f"{alone / taken:.1f}"))
    return rows


def train_both(corpus: Path, minutes: float, processes: int, arguments: tuple[str, ...]) -> dict[str, Any]:
    """The validation loss after the same minutes of one process and of several."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (1, processes):
            command = [
                sys.executable,
                "-m",
                "textgen",
                "train",
                str(corpus.absolute()),
                "--minutes",
                str(minutes),
            ]
            command += [
                "--run",
                f"run-{count}",
                "--processes",
                str(count),
                "--json",
                "--no-ngram",
                *arguments,
            ]
            result = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
            figures = json.loads(result.stdout)
            found[str(count)] = {name: figures[name] for name in ("steps", "nats_per_token")}
    return found


@click.command(cls=Script, help=__doc__, context_settings={"ignore_unknown_options": True})
@click.option("--processes", type=click.IntRange(min=2), default=2, show_default=True, help="How many.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=7, show_default=True, help="Timings for each median."
)
@click.option("--corpus", type=click.Path(exists=True, path_type=Path), help="Train on this text instead.")
@click.option("--minutes", default=2.0, show_default=True, help="How long, with --corpus.")
@click.option("--json", "json_path", type=OutputFile(), help="Also write the results to FILE.")
@click.argument("options", nargs=-1)
def main(
    processes: int,
    rounds: int,
    corpus: Path | None,
    minutes: float,
    json_path: Path | None,
    options: tuple[str, ...],
) -> None:
    """Measure and print."""
    results: dict[str, Any] = {"machine": machine()}
    click.echo(", ".join(f"{name} {value}" for name, value in results["machine"].items()))
    if corpus is not None:
        results["training"] = train_both(corpus, minutes, processes, options)
        for count, figures in results["training"].items():
            click.echo(
                f"{count} processes: {figures['nats_per_token']:.4f} nats/token, {figures['steps']:,} steps"
            )
    else:
        steps = measure_steps(processes, rounds)
        sums, clock = measure_exchange(processes, rounds)
        halves = measure_halves(256, rounds)
        (lstm,) = (step for step in steps if (step.cell, step.size) == ("lstm", 256))
        nearest = min(sums, key=lambda numbers: abs(numbers - lstm.parameters))
        paper = on_paper(halves, lstm.parameters, sums[nearest] * lstm.parameters / nearest)
        results |= {
            "steps": [step._asdict() for step in steps],
            "sums": sums,
            "clock": clock,
            "halves": halves,
        }
        _print(steps, sums, clock, halves, paper, processes)
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=2) + "\n")


def _print(
    steps: list[Step],
    sums: dict[int, float],
    clock: float,
    halves: dict[int, float],
    paper: list[tuple[str, ...]],
    processes: int,
) -> None:
    threads = available_processors()
    rows = [
        ("case", "parameters", f"1 process, {threads} threads", f"{processes} processes", "ratio of speeds")
    ]
    for step in steps:
        speeds = (BATCH * WINDOW / seconds for seconds in (step.alone, step.together))
        name = f"{step.cell} {step.size}, {BATCH} x {WINDOW}, {FAST_PRECISION}"
        rows.append(
            (name, f"{step.parameters:,}", *(f"{speed:,.0f} tokens/s" for speed in speeds),
             f"{step.alone / step.together:.2f}")
        )  # fmt: skip
    click.echo("\n## step\n\n" + "\n".join(markdown(rows)))
    table = [("numbers", "ms")] + [(f"{numbers:,}", f"{1000 * taken:.2f}") for numbers, taken in sums.items()]
    click.echo("\n## exchange\n\n" + "\n".join(markdown(table)))
    click.echo(f"\nclock and stop requests: {1000 * clock:.2f} ms a step")
    table = [("sequences", "ms")] + [(str(count), f"{1000 * taken:.1f}") for count, taken in halves.items()]
    click.echo("\n## a step of one thread, lstm 256, by its sequences\n\n" + "\n".join(markdown(table)))
    click.echo("\n## on paper, lstm 256\n\n" + "\n".join(markdown(paper)))
    click.echo(
        f"\nAssumed: a processor each as fast as here, a message takes {1e6 * LATENCY:.0f} us, the network "
        "is otherwise idle, and the exchange begins when the last gradient is there."
    )


if __name__ == "__main__":
    limit_spinning()
    main()
