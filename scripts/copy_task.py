"""The copy task: how long can an LSTM, a GRU and a plain RNN remember?

A network reads one symbol, then n random distractors, then a cue, and has to name the symbol.

    symbol   n distractors       cue  ->  which symbol?
      C      x y w x z y ... w    ?   ->       C

All networks have the same size and take the same number of training steps for each n. They train on delays
from 1 to n, because the gradient of short delays, which has not vanished, helps with the long ones. Accuracy
is measured at delay n, on new sequences; guessing gives 1 in 8.

After the long time lag problems of Hochreiter & Schmidhuber, "Long short-term memory", 1997, and the tasks of
Arjovsky, Shah & Bengio, "Unitary evolution recurrent neural networks", 2016.

Examples:
    python scripts/copy_task.py
    python scripts/copy_task.py --plot copy_task.png
    python scripts/copy_task.py --delays 5,20 --seeds 1 --steps 200
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import torch
from benchmarks.command import OutputFile, Script
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from textgen.models.recurrent import Recurrent
from textgen.settings.config import CELLS

NUM_SYMBOLS, NUM_DISTRACTORS = 8, 8
CUE = NUM_SYMBOLS + NUM_DISTRACTORS
NUM_TOKENS = CUE + 1
BATCH_SIZE, TEST_SEQUENCES = 32, 512
CLIP_NORM = 1.0


def draw_sequences(count: int, delay: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` sequences, one-hot (B, delay + 2, NUM_TOKENS), and the symbol that each begins with, (B,)."""
    symbols = torch.randint(NUM_SYMBOLS, (count,), generator=generator)
    distractors = torch.randint(NUM_SYMBOLS, CUE, (count, delay), generator=generator)
    tokens = torch.cat([symbols[:, None], distractors, torch.full((count, 1), CUE)], dim=1)
    return one_hot(tokens, NUM_TOKENS).float(), symbols


class Classifier(nn.Module):
    """A recurrent layer and a head: one-hot sequences (B, T, NUM_TOKENS) -> logits of symbols (B, 8)."""

    def __init__(self, cell: str, hidden_size: int) -> None:
        super().__init__()
        self.layers = Recurrent(cell, NUM_TOKENS, hidden_size)
        self.head = nn.Linear(hidden_size, NUM_SYMBOLS)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the symbols, from the last layer's output at the cue."""
        outputs, _ = self.layers(x)
        logits: Tensor = self.head(outputs[:, -1])
        return logits


def accuracy(
    cell: str, delay: int, *, hidden_size: int, steps: int, learning_rate: float, seed: int
) -> float:
    """The fraction of sequences with `delay` distractors that a trained network gets right."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)  # the same sequences for every cell
    network = Classifier(cell, hidden_size)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    for _ in range(steps):
        length = int(torch.randint(1, delay + 1, (), generator=generator))
        x, symbols = draw_sequences(BATCH_SIZE, length, generator)
        optimizer.zero_grad()
        cross_entropy(network(x), symbols).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimizer.step()
    x, symbols = draw_sequences(TEST_SEQUENCES, delay, generator)
    with torch.no_grad():
        return float((network(x).argmax(dim=1) == symbols).float().mean())


def measure(
    delays: Sequence[int], seeds: int, *, hidden_size: int, steps: int, learning_rate: float
) -> dict[str, dict[int, list[float]]]:
    """Accuracies by cell and delay, one per seed. Progress is printed to standard error."""
    found: dict[str, dict[int, list[float]]] = {cell: {} for cell in CELLS}
    for delay in delays:
        for cell in CELLS:
            found[cell][delay] = [
                accuracy(
                    cell, delay, hidden_size=hidden_size, steps=steps, learning_rate=learning_rate, seed=seed
                )
                for seed in range(1, seeds + 1)
            ]
            print(f"n = {delay}, {cell}: {percent(found[cell][delay])}", file=sys.stderr)
    return found


def mean(numbers: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(numbers) / len(numbers)


def percent(accuracies: Sequence[float]) -> str:
    """The mean in percent, followed by the lowest and the highest if there are several seeds."""
    spread = f" ({100 * min(accuracies):.0f}-{100 * max(accuracies):.0f})" if len(accuracies) > 1 else ""
    return f"{100 * mean(accuracies):.0f} %{spread}"


def table(found: dict[str, dict[int, list[float]]]) -> list[str]:
    """The accuracies as lines of text."""
    lines = [f"{'n':>5}" + "".join(f"{cell:>18}" for cell in found)]
    for delay in found[CELLS[0]]:
        lines.append(f"{delay:5}" + "".join(f"{percent(found[cell][delay]):>18}" for cell in found))
    return lines


def draw(path: Path, found: dict[str, dict[int, list[float]]]) -> None:
    """Plot accuracy against n into an image file: means over the seeds, and bars from worst to best."""
    from matplotlib.figure import Figure  # needed for --plot only

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    styles = {"lstm": ("black", "o", "-"), "gru": ("0.4", "s", "--"), "rnn": ("0.6", "^", ":")}
    for number, (cell, by_delay) in enumerate(found.items()):
        color, marker, line = styles[cell]
        means = [100 * mean(accuracies) for accuracies in by_delay.values()]
        below = [m - 100 * min(a) for m, a in zip(means, by_delay.values(), strict=True)]
        above = [100 * max(a) - m for m, a in zip(means, by_delay.values(), strict=True)]
        places = [delay * 1.04 ** (number - 1) for delay in by_delay]  # side by side
        axes.errorbar(
            places,
            means,
            (below, above),
            color=color,
            marker=marker,
            linestyle=line,
            capsize=3,
            label=cell.upper(),
        )
    axes.axhline(100 / NUM_SYMBOLS, color="0.8", linewidth=1, zorder=0)
    delays = list(found[CELLS[0]])
    axes.text(delays[0], 100 / NUM_SYMBOLS + 1.5, "guessing", color="0.5", fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks(delays, list(map(str, delays)))
    axes.minorticks_off()
    axes.set_ylim(0, 104)
    axes.set_xlabel("n, distractors between symbol and cue")
    axes.set_ylabel("accuracy (% of sequences)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def read_delays(text: str) -> tuple[int, ...]:
    """Parse whole numbers of 1 or more, separated by commas. Raises click.UsageError."""
    try:
        delays = tuple(sorted({int(word) for word in text.split(",")}))
    except ValueError:
        delays = ()
    if not delays or delays[0] < 1:
        raise click.UsageError(f"--delays {text}: must be whole numbers of 1 or more, separated by commas")
    return delays


@click.command(cls=Script, help=__doc__)
@click.option(
    "--delays", default="5,10,20,40,80,160", show_default=True, help="Values of n, separated by commas."
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Runs of each cell and n.",
)
@click.option("--hidden-size", type=click.IntRange(min=1), default=64, show_default=True, help="Units.")
@click.option(
    "--steps", type=click.IntRange(min=1), default=500, show_default=True, help="Training steps of each run."
)
@click.option(
    "--learning-rate", type=click.FloatRange(min=0, min_open=True), default=5e-3, show_default=True,
    help="Learning rate of Adam.",
)  # fmt: skip
@click.option("--plot", type=OutputFile(), help="Plot accuracy against n into FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def main(
    delays: str,
    seeds: int,
    hidden_size: int,
    steps: int,
    learning_rate: float,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Run the copy task and print the table."""
    each_delay = read_delays(delays)
    if plot is not None and importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib: pip install 'textgen[plot]'")
    torch.set_num_threads(1)  # fastest for so few units
    found = measure(each_delay, seeds, hidden_size=hidden_size, steps=steps, learning_rate=learning_rate)
    if as_json:
        settings = {"hidden_size": hidden_size, "steps": steps, "learning_rate": learning_rate}
        print(json.dumps(settings | {"accuracy": found}))
    else:
        print(f"Accuracy after n distractors; {hidden_size} units, {steps} steps, {seeds} seeds (worst-best)")
        print("\n".join(table(found)))
    if plot is not None:
        try:
            draw(plot, found)
        except (OSError, ValueError) as error:  # not writable, or a suffix that is no image format
            raise click.ClickException(f"{plot}: {error}") from error
        click.echo(f"The plot is in {plot}", err=True)


if __name__ == "__main__":
    main()
