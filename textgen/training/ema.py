"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a model's parameters, kept beside them.

        average <- decay * average + (1 - decay) * weights

    At a high learning rate the weights oscillate around a minimum, and their average is nearer to it (Polyak
    & Juditsky, "Acceleration of stochastic approximation by averaging", 1992, with the plain mean of all
    steps; Kingma & Ba, "Adam: a method for stochastic optimization", 2015, section 7.2, with this one).

    At step t the decay is min(decay, (1 + t) / (10 + t)), so that early averages do not keep the initial
    weights: they cover about the last ninth of the steps taken. Adam's bias correction, division by
    1 - decay^t, would give every early step the same weight instead, the first ones included.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._names = [name for name, _ in model.named_parameters()]
        self._parameters: list[Tensor] = list(model.parameters())
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average with the current weights, those after this step, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """In the block, the model's weights are the average; afterwards they are what they were before."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for index, parameter in enumerate(self._parameters):
            parameter.data, self._averages[index] = self._averages[index], parameter.data

    def tensors(self) -> dict[str, Tensor]:
        """The average of each parameter, by its name."""
        return dict(zip(self._names, self._averages, strict=True))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned."""
        for name, average in zip(self._names, self._averages, strict=True):
            average.copy_(tensors[name])
