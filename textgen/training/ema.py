"""An average of the weights over the last steps: nearer to a minimum than any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a model's parameters, beside the parameters themselves.

    At a high learning rate the weights circle round a minimum and their average lies inside the circle:
    Polyak & Juditsky, "Acceleration of stochastic approximation by averaging", 1992, there the plain mean of
    all steps. The mean that forgets is that of Kingma & Ba, "Adam: a method for stochastic optimization",
    2015, section 7.2:

        average <- decay * average + (1 - decay) * weights

    Their correction for the start divides by 1 - decay^t, which makes of the first 1 / (1 - decay) steps a
    plain mean, weights of the very beginning included. Here the decay itself rises, as (1 + t) / (10 + t),
    until it is the one asked for: the average begins at the first weights, has all but forgotten them after
    a few steps, and reaches back over about a ninth of the steps taken.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._names = [name for name, _ in model.named_parameters()]
        self._parameters: list[Tensor] = list(model.parameters())
        self._averages = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after this step, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model's weights are the average; afterwards they are what they were."""
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
        """Put back what `tensors` gave."""
        for name, average in zip(self._names, self._averages, strict=True):
            average.copy_(tensors[name])
