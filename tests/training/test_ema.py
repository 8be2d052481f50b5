"""The exponential moving average of weights, and using it in place of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from textgen.training.ema import WeightAverage


def set_all(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def test_late_steps_use_the_full_decay() -> None:
    model = nn.Linear(2, 3)
    set_all(model, 1.0)
    average = WeightAverage(model, decay=0.9)
    set_all(model, 0.0)
    for step in range(1000, 1005):
        average.update(step)
    for tensor in average.tensors().values():
        assert torch.allclose(tensor, torch.full_like(tensor, 0.9**5))


def test_early_averages_do_not_keep_the_initial_weights() -> None:
    model = nn.Linear(1, 1)
    set_all(model, 1000.0)
    average = WeightAverage(model, decay=0.9999)
    set_all(model, 1.0)
    for step in range(1, 21):
        average.update(step)
    assert average.tensors()["weight"].item() == pytest.approx(1.0, abs=0.05)


def test_in_place_the_model_has_the_average_and_afterwards_its_own_weights() -> None:
    model = nn.Linear(2, 2)
    set_all(model, 1.0)
    average = WeightAverage(model, decay=0.5)
    set_all(model, 3.0)
    average.update(1000)
    with average.in_place():
        assert (model.weight == 2.0).all()
    assert (model.weight == 3.0).all()
    assert (average.tensors()["weight"] == 2.0).all()


def test_load_restores_what_tensors_returned() -> None:
    model = nn.Linear(2, 2)
    average, again = (WeightAverage(model, decay=0.5) for _ in range(2))
    set_all(model, 3.0)
    average.update(1)
    again.load(average.tensors())
    assert torch.equal(again.tensors()["bias"], average.tensors()["bias"])
