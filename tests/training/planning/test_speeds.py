"""Small batches: when they are taken, and that a busy moment does not decide it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig, TrainingConfig
from textgen.training.planning import speeds as speeds_module
from textgen.training.planning.speeds import Speeds, with_batch

TRAINING = TrainingConfig(minutes=2.0, device="cpu", precision="float32", threads=1)


def chosen(speeds: dict[int, list[float]], monkeypatch: pytest.MonkeyPatch, vocab_size: int = 5) -> int:
    """The batch size that is chosen if each size is measured at these speeds, one after the other."""
    measurements = {size: iter(found) for size, found in speeds.items()}
    monkeypatch.setattr(
        speeds_module, "training_speed", lambda _, batch_size, __: next(measurements[batch_size])
    )
    model = LanguageModel(ModelConfig(model_vocab_size=vocab_size, embedding_dim=2, hidden_size=2))
    return with_batch(model, TRAINING, Speeds(requested=1), 10**9).batch_size


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("speeds", "batch_size"),
    [
        ({32: [50_000] * 2, 16: [40_000] * 2}, 16),
        ({32: [50_000], 16: [30_000]}, 32),  # too few tokens are left
        ({32: [110_000], 16: [100_000]}, 32),  # 6.6 M tokens are enough steps as they are
        ({32: [35_000, 50_000], 16: [30_000, 30_000]}, 32),  # the first measurement was disturbed
        ({32: [90_000, 110_000], 16: [90_000, 90_000]}, 32),
        ({32: [50_000, 35_000], 16: [40_000, 20_000]}, 16),  # and here the second
    ],
)
def test_batches_are_halved_where_more_steps_pay_off_in_both_of_two_measurements(
    speeds: dict[int, list[float]], batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(speeds, monkeypatch) == batch_size


@pytest.mark.parametrize(("speed", "batch_size"), [(60_000, 16), (70_000, 32)])  # 7.2 and 8.4 M tokens
def test_subwords_have_small_batches_up_to_more_tokens(
    speed: int, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen({32: [speed] * 2, 16: [speed] * 2}, monkeypatch, vocab_size=1000) == batch_size


def test_a_network_whose_input_is_dropped_from_is_timed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[float] = []

    def speed(model: LanguageModel, _: int, __: int) -> float:
        timed.append(model.config.input_dropout)
        return 1000.0

    monkeypatch.setattr(speeds_module, "training_speed", speed)
    known = Speeds(requested=1)
    for shares in ({}, {"dropout": 0.3, "weight_drop": 0.1}, {"input_dropout": 0.1}, {"input_dropout": 0.2}):
        known.of(
            LanguageModel(ModelConfig(model_vocab_size=5, embedding_dim=2, hidden_size=2, **shares)), TRAINING
        )
    assert timed == [0, 0.1]


def test_a_batch_size_that_is_not_the_default_stays() -> None:
    model = LanguageModel(ModelConfig(model_vocab_size=5, embedding_dim=2, hidden_size=2))
    training = dataclasses.replace(TRAINING, batch_size=24)
    assert with_batch(model, training, Speeds(requested=1), 10**9) is training
