"""Training that diverges: it rolls back to a good step with a lower learning rate, or ends in one line."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
import torch

from textgen.run import Run, active_records
from textgen.training.optimizer import AdamW

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


def test_a_nan_loss_ends_the_run_with_a_one_line_error(cli: Cli) -> None:
    settings = ["--clip-norm", 1e30, "--learning-rate", 1e30, "--precision", "float32", "--cell", "rnn"]
    result = cli("train", "corpus.txt", *TINY, *settings)
    assert result.exit_code == 1
    assert "lower --learning-rate" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_weights_with_a_nan_validation_loss_are_never_saved(cli: Cli) -> None:
    # At every learning rate that is tried, the table of the first layer is infinite; rows that are not read
    # count 0 times infinity, which is NaN in whatever order a processor adds.
    settings = ["--clip-norm", 1e30, "--learning-rate", 1e35, "--precision", "float32", "--cell", "rnn"]
    result = cli("train", "corpus.txt", *settings, "--steps", 1, "--evaluations", 1, "--hidden-size", 64)
    assert "lower --learning-rate" in result.stderr
    assert not Run("runs/corpus").has_weights


@pytest.mark.parametrize(("rate", "cell"), [(1.0, "gru"), (10.0, "lstm"), (10.0, "rnn")])
def test_a_learning_rate_that_is_far_too_high_is_lowered_and_the_run_learns(
    cli: Cli, rate: float, cell: str
) -> None:
    settings = ["--cell", cell, "--learning-rate", rate, "--hidden-size", 32, "--seq-len", 16]
    result = cli("train", "corpus.txt", *settings, "--batch-size", 8, "--steps", 150)
    assert result.exit_code == 0, result.stderr
    assert "Going back to step 0 with the learning rate divided by 2" in result.stdout
    run = Run("runs/corpus")
    guess = math.log(run.config.model.model_vocab_size)
    losses = {record["kind"]: record.get("nats_per_token") for record in run.metrics()}
    assert losses["final"] < 0.75 * guess
    (rollback, *_) = [record for record in run.metrics() if record["kind"] == "rollback"]
    assert rollback["nats_per_token"] > guess + 1
    assert (rollback["back_to"], rollback["halvings"]) == (0, 1)


def poison(monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
    """Make the gradients of some steps, counted from 1, NaN."""
    step = AdamW.step
    count = itertools.count(1)

    def poisoned(optimizer: AdamW, clip_norm: float) -> torch.Tensor:
        if next(count) in calls:
            gradient = optimizer.param_groups[0]["params"][0].grad
            assert gradient is not None
            gradient[0, 0] = math.nan
        return step(optimizer, clip_norm)

    monkeypatch.setattr(AdamW, "step", poisoned)


def test_a_nan_gradient_rolls_back_to_the_last_good_evaluation(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {70})
    settings = [*TINY, "--steps", 100, "--evaluations", 5, "--no-early-stopping"]
    result = cli("train", "corpus.txt", *settings)
    assert result.exit_code == 0, result.stderr
    back_to = "Going back to step 60 with the learning rate divided by 2"
    assert f"Step 70: a gradient was no longer a number. {back_to}" in result.stdout
    metrics = Run("runs/corpus").metrics()
    back = [record["kind"] for record in metrics].index("rollback")
    assert metrics[back]["step"] == 70
    assert [record["step"] for record in metrics[back + 1 : back + 3]] == [61, 62]
    rates = {record["step"]: record["learning_rate"] for record in metrics if record["kind"] == "train"}
    before = [record for record in metrics[:back] if record["kind"] == "train" and record["step"] == 65]
    assert rates[65] == pytest.approx(before[0]["learning_rate"] / 2)
    assert metrics[-1]["kind"] == "final"
    assert metrics[-1]["step"] == 100
    steps = [record["step"] for record in active_records(metrics) if record["kind"] == "train"]
    assert steps == sorted(set(steps)) == list(range(1, 101))


def test_training_does_not_roll_back_to_an_evaluation_whose_next_step_fails(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, {61})
    settings = [*TINY, "--steps", 100, "--evaluations", 5, "--no-early-stopping"]
    assert "Going back to step 40" in cli("train", "corpus.txt", *settings).stdout


def test_repeated_nan_gradients_end_the_run_and_keep_the_best_weights(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, set(range(50, 10_000)))
    settings = [*TINY, "--steps", 100, "--evaluations", 5, "--no-early-stopping"]
    result = cli("train", "corpus.txt", *settings)
    assert result.exit_code == 1
    assert result.stdout.count("Going back to step 40") == 5
    assert "The best weights, of step 40, are kept." in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert Run("runs/corpus").has_weights
