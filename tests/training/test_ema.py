"""The average is the exponential one, right from the first steps, and lends itself without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from textgen.training.ema import WeightAverage


def set_all(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def test_once_the_decay_is_reached_each_step_takes_one_part_in_so_many() -> None:
    model = nn.Linear(2, 3)
    set_all(model, 1.0)
    average = WeightAverage(model, decay=0.9)
    set_all(model, 0.0)
    for step in range(1000, 1005):
        average.update(step)
    for tensor in average.tensors().values():
        assert torch.allclose(tensor, torch.full_like(tensor, 0.9**5))


def test_from_the_first_steps_the_average_follows_the_weights_and_not_where_they_began() -> None:
    model = nn.Linear(1, 1)
    set_all(model, 1000.0)
    average = WeightAverage(model, decay=0.9999)
    set_all(model, 1.0)
    for step in range(1, 21):
        average.update(step)
    assert average.tensors()["weight"].item() == pytest.approx(1.0, abs=0.05)


def test_inside_the_model_is_the_average_and_afterwards_what_it_was() -> None:
    model = nn.Linear(2, 2)
    set_all(model, 1.0)
    average = WeightAverage(model, decay=0.5)
    set_all(model, 3.0)
    average.update(1000)
    with average.in_place():
        assert (model.weight == 2.0).all()
    assert (model.weight == 3.0).all()
    assert (average.tensors()["weight"] == 2.0).all()


def test_what_tensors_gave_is_put_back() -> None:
    model = nn.Linear(2, 2)
    average, again = (WeightAverage(model, decay=0.5) for _ in range(2))
    set_all(model, 3.0)
    average.update(1)
    again.load(average.tensors())
    assert torch.equal(again.tensors()["bias"], average.tensors()["bias"])
