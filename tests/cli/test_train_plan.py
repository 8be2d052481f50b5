"""What `textgen train` chooses where no option is given: the budget and what depends on it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli


def test_without_options_everything_is_chosen_printed_and_saved(cli: Cli, tmp_path: Path) -> None:
    result = cli("train", "corpus.txt", "--minutes", 0.02)
    assert result.exit_code == 0
    config = Run(tmp_path / "runs" / "corpus").config
    assert {name for name, value in vars(config.model).items() if value is None} == {"start_id"}
    resolved = {
        name: value for name, value in vars(config.training).items() if name not in ("epochs", "steps")
    }
    assert None not in resolved.values()
    assert config.training.device != "auto"
    assert config.training.precision != "auto"
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("Model:")]
    assert f"{config.model.hidden_size} lstm" in line
    assert f"learning rate {config.training.learning_rate:g}" in line
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("Plan:")]
    assert "Plan: 0.02 minutes, at up to " in line
    assert "default" not in line


def test_without_a_budget_training_is_planned_for_the_default_minutes(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("configs", "resolve"):
        monkeypatch.setattr(f"textgen.training.planning.{module}.DEFAULT_MINUTES", 0.01)
    result = cli("train", "corpus.txt")
    assert result.exit_code == 0
    assert "Plan: 0.01 minutes (the default; change it with --minutes), at up to" in result.stdout
    assert Run(tmp_path / "runs" / "corpus").config.training.minutes == 0.01


@pytest.mark.slow
def test_minutes_or_epochs_end_a_run_whichever_come_first_and_the_plan_says_so(cli: Cli) -> None:
    sizes = ["--hidden-size", "8", "--embedding-dim", "8"]
    result = cli("train", "corpus.txt", "--minutes", "5", "--epochs", "2", *sizes)
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("Plan:")]
    limit = r"but no more than 2 times through the text, which takes \d+ s or more"
    assert re.search(rf"Plan: 5 minutes, .* {limit}", line)
    assert "overfit" not in line
    run = Run("runs/corpus")
    assert run.facts()["seconds"] < 100
    assert [each["epoch"] for each in run.metrics() if each["kind"] == "train"][-1] == pytest.approx(
        2, abs=0.2
    )
    assert cli("train", "corpus.txt", "--minutes", "0.01", *sizes, "--run", "chosen").exit_code == 0
    assert Run("chosen").config.training.epochs >= 30


def test_epochs_are_passes_over_the_training_text(cli: Cli, text: str) -> None:
    arguments = [
        "--hidden-size",
        8,
        "--batch-size",
        4,
        "--seq-len",
        16,
        "--epochs",
        2,
        "--run",
        "epochs",
        "--json",
    ]
    result = json.loads(cli("train", "corpus.txt", *arguments).stdout)
    pairs = int(len(text) * 0.9) - 1
    windows = math.ceil(pairs // 4 / 16)
    assert 2 * windows <= result["steps"] <= 2 * (windows + 1)


@pytest.mark.parametrize(
    ("speeds", "options", "batch_size"),
    [
        ({32: 1e6, 16: 9e5}, [], 16),
        ({32: 1e6, 16: 5e5}, [], 32),
        ({32: 1e9, 16: 1e9}, ["--epochs", 1000], 32),
        ({32: 1e9, 16: 1e8}, ["--epochs", 50], 16),
        ({32: 1e6, 16: 9e5}, ["--batch-size", 32], 32),
    ],
    ids=["few tokens", "too slow", "enough tokens", "the epochs end first", "given"],
)
def test_batches_are_smaller_when_the_budget_is_small_and_that_costs_few_tokens(
    cli: Cli,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    speeds: dict[int, float],
    options: list[object],
    batch_size: int,
) -> None:
    monkeypatch.setattr(
        "textgen.training.planning.speeds.training_speed",
        lambda model, batch_size, seq_len: speeds[batch_size],
    )
    Path("long.txt").write_text(text * (1 + 80_000 // len(text)))
    sizes = ["--hidden-size", 8, "--embedding-dim", 8, "--threads", 1, "--device", "cpu"]
    result = cli("train", "long.txt", "--minutes", 0.02, *sizes, *options)
    assert result.exit_code == 0, result.stderr
    assert f"batch {batch_size} x 64" in result.stdout
    assert "shrinks" not in result.stdout
    assert Run("runs/long").config.training.batch_size == batch_size


def test_the_dropout_chosen_for_a_number_of_steps_depends_on_the_batches_that_fit(cli: Cli) -> None:
    """With the smaller batches of a small text, the same steps read it fewer times."""

    def recipe(*options: object) -> tuple[list[float], list[int]]:
        cli("train", "corpus.txt", "--hidden-size", 32, "--steps", 2, *options)
        newest = max(Path("runs").iterdir(), key=lambda run: run.stat().st_mtime_ns)
        config = json.loads((newest / "config.json").read_text())
        model, training = config["model"], config["training"]
        return [model["dropout"], model["weight_drop"]], [training["batch_size"], training["seq_len"]]

    dropped, batch = recipe()
    assert batch != [32, 64], "else the text was not small"
    assert recipe("--batch-size", batch[0], "--seq-len", batch[1]) == (dropped, batch)
