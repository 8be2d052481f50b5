"""Training on collections of documents: what is held out, in which order they are read, and for how long."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.run import Run

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


@pytest.fixture
def lines(cli: Cli) -> str:
    Path("lines.txt").write_text(
        "".join(f"line {number * 7919 % 1000} of the text\n" for number in range(900))
    )
    return "lines.txt"


def result_of(cli: Cli, *arguments: object) -> dict[str, object]:
    outcome = cli("train", *arguments, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    found: dict[str, object] = json.loads(outcome.stdout)
    return found


def test_documents_are_held_out_by_hash_and_read_in_a_new_order_unless_told_otherwise(
    cli: Cli, lines: str
) -> None:
    result_of(cli, lines, "--documents", "line", *TINY, "--run", "documents")
    result_of(cli, lines, *TINY, "--run", "text")
    found = Run("documents").config
    assert (found.data.val_order, found.training.shuffle) == ("hash", True)
    assert (Run("text").config.data.val_order, Run("text").config.training.shuffle) == ("end", False)


@pytest.mark.parametrize("option", [("--val-order", "end"), ("--no-shuffle",), ("--val-characters", 300)])
def test_the_options_of_documents_change_the_result(cli: Cli, lines: str, option: tuple[object, ...]) -> None:
    by_default = result_of(cli, lines, "--documents", "line", *TINY, "--run", "one")
    changed = result_of(cli, lines, "--documents", "line", *TINY, *option, "--run", "two")
    assert changed["nats_per_token"] != by_default["nats_per_token"]


def test_a_repeated_run_and_one_that_starts_from_it_hold_out_the_same_documents(cli: Cli, lines: str) -> None:
    result_of(cli, lines, "--documents", "line", *TINY, "--val-order", "end", "--run", "first")
    again = result_of(cli, "--config", "first", "--run", "again")
    assert (
        again["nats_per_token"]
        == json.loads(cli("eval", "first", "--no-ngram", "--json").stdout)["nats_per_token"]
    )
    result_of(cli, "--from", "first", "--steps", 2, "--run", "further")
    assert Run("further").config.data.val_order == "end"


def test_without_validation_the_last_weights_are_kept_and_it_says_so(cli: Cli, lines: str) -> None:
    outcome = cli("train", lines, *TINY, "--val-fraction", 0, "--run", "all")
    assert outcome.exit_code == 0
    assert "Training without validation: the last weights are kept" in outcome.stdout
    assert "The last weights were kept." in outcome.stdout
    run = Run("all")
    assert run.is_complete
    assert run.measured("val_tokens") == 0
    (checkpoint,) = run.training_directory.glob("step-*")
    assert checkpoint.name.endswith("12")
    from safetensors.numpy import load_file

    last, kept = load_file(checkpoint / "weights.safetensors"), run.load_weights()
    assert all(np.array_equal(kept[name], array) for name, array in last.items())
    assert "validation: none" in cli("info", "all").stdout
    assert cli("sample", "all", "--max-new-tokens", 5).exit_code == 0
    refused = cli("eval", "all")
    assert refused.exit_code == 2
    assert "has no val part" in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--val-fraction", 0, "--patience", 3], "--patience does nothing without validation"),
        (["--val-fraction", 0, "--eval-tokens", 300], "--eval-tokens does nothing without validation"),
        (["--val", "lines.txt", "--val-order", "end"], "--val-order does nothing"),
        (["--shuffle"], "--shuffle: the text is one document"),
    ],
)
def test_an_option_that_does_nothing_is_refused(
    cli: Cli, lines: str, options: list[object], message: str
) -> None:
    outcome = cli("train", lines, *TINY, *options)
    assert outcome.exit_code in (1, 2)
    assert message in outcome.stderr
    assert not Path("runs").exists()


def test_a_comparison_needs_validation(cli: Cli, lines: str) -> None:
    outcome = cli("compare", lines, "--val-fraction", 0)
    assert outcome.exit_code in (1, 2)
    assert "--val-fraction 0" in outcome.stderr


def test_the_final_evaluation_ends_in_time_and_says_what_it_left_unread(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from textgen.evaluation import evaluate
    from textgen.training import session

    Path("long.txt").write_text("".join(f"{number:06} " for number in range(60_000)))
    monkeypatch.setattr(session, "LATE_SECONDS", -3.0)  # no time left after training
    monkeypatch.setattr(session, "MIN_EVALUATION_SECONDS", 0.0)
    monkeypatch.setattr(evaluate, "MAX_WINDOW", 16)
    network = "--hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16 --evaluations 1".split()
    before = time.monotonic()
    outcome = cli("train", "long.txt", "--minutes", 0.02, *network, "--run", "late")
    assert outcome.exit_code == 0, outcome.stderr
    assert time.monotonic() - before < 30
    (line,) = [line for line in outcome.stdout.splitlines() if line.startswith("Validation, ")]
    assert line.startswith("Validation, 17 of 42,000 tokens")
    assert "left unread: textgen eval late" in line
    (final,) = [record for record in Run("late").metrics() if record["kind"] == "final"]
    assert final["unread_tokens"] == 42_000 - 17
