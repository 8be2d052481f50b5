"""Training that diverges: it rolls back to a good step with a lower learning rate, or ends in one line."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
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
    first, second, *_ = [record for record in run.metrics() if record["kind"] == "rollback"]
    assert min(first["nats_per_token"], second["nats_per_token"]) > guess + 1
    assert (first["back_to"], first["halvings"]) == (0, 0), "with new dropout masks first"
    assert (second["back_to"], second["halvings"]) == (0, 1), "then at a lower rate"


@pytest.mark.parametrize("rate", [50, 1000])
def test_true_divergence_goes_back_and_the_run_learns_or_ends_in_one_line(cli: Cli, rate: float) -> None:
    result = cli("train", "corpus.txt", "--learning-rate", rate, "--hidden-size", 32, "--steps", 60)
    assert "with new dropout masks and the same learning rate" in result.stdout
    assert "with the learning rate divided by 2" in result.stdout
    run = Run("runs/corpus")
    if result.exit_code == 0:
        assert run.metrics()[-1]["nats_per_token"] < math.log(run.config.model.model_vocab_size)
    else:
        assert "lowering the learning rate 5 times did not help" in result.stderr
        assert len(result.stderr.splitlines()) == 1


SYLLABLES = "ka lo mi ru te na so be di fu ga hel vor zi pan qua shi tor".split()


@pytest.mark.parametrize("seed", [3, 7])
def test_dropping_the_most_frequent_token_in_single_steps_is_no_divergence(cli: Cli, seed: int) -> None:
    rng = random.Random(7)
    names = ["".join(rng.choices(SYLLABLES, k=rng.choice([2, 2, 3, 3, 4]))) for _ in range(4000)]
    Path("names.txt").write_text("".join(f"{name}\n" for name in names))
    settings = ["--documents", "line", "--tokenizer", "bpe", "--steps", 60, "--seed", seed, "--threads", 1]
    result = cli("train", "names.txt", *settings)
    assert result.exit_code == 0, result.stderr
    records = Run("runs/names").metrics()
    assert not [record for record in records if record["kind"] == "rollback"]
    losses = [record["nats_per_token"] for record in records if record["kind"] == "train"]
    assert max(losses[9:]) > min(losses) + 1.9, "a step without its most frequent token"
    assert records[-1]["nats_per_token"] < 4.2


def test_a_loss_that_no_lower_rate_mends_is_no_divergence(cli: Cli) -> None:
    # Read by a single sequence, the hard half comes after all of the easy one.
    rng = random.Random(1)
    hard = "".join(rng.choices([chr(code) for code in range(33, 127)], k=3000))
    Path("halves.txt").write_text("a" * 6000 + hard)
    settings = ["--batch-size", 1, "--seq-len", 32, "--hidden-size", 32, "--epochs", 1, "--evaluations", 20]
    result = cli("train", "halves.txt", *settings, "--no-early-stopping")
    assert result.exit_code == 0, result.stderr
    assert "with a higher limit, as lowering the rate did not help" in result.stdout
    run = Run("runs/halves")
    last = [record for record in run.metrics() if record["kind"] == "rollback"][-1]
    assert last["halvings"] == 0


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
