"""Regression with the same recurrent layers: read a sequence of numbers, predict one or several numbers.

Shapes: N sequences, B batch, T time, F input_size (numbers per step), H hidden_size, O output_size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from textgen.errors import ConfigError, TrainingError
from textgen.models.recurrent import Recurrent
from textgen.settings.option import COUNT, POSITIVE, SEED

Progress = Callable[[int, float], None]
"""Called after each epoch with its number, from 1, and its training loss."""


@dataclass(frozen=True)
class History:
    """Mean squared error per epoch, in the squared unit of y."""

    train_loss: tuple[float, ...]  # mean over the epoch, while the weights change
    val_loss: tuple[float, ...] | None  # at the end of the epoch; None without validation data


class SequenceRegressor(nn.Module):
    """A recurrent stack and a linear layer on the last layer's last hidden state.

    >>> X = np.random.default_rng(0).normal(size=(8, 10, 1))
    >>> model = SequenceRegressor("gru", input_size=1, hidden_size=4)
    >>> history = model.fit(X, X.sum(axis=1), epochs=2)
    >>> model.predict(X).shape
    (8, 1)

    Raises ConfigError for an unknown cell or a size below 1.
    """

    def __init__(
        self, cell: str, input_size: int, hidden_size: int, num_layers: int = 1, output_size: int = 1
    ) -> None:
        super().__init__()
        if output_size < 1:
            raise ConfigError(f"output_size={output_size!r}: must be at least 1")
        self.layers = Recurrent(cell, input_size, hidden_size, num_layers)
        self.head = nn.Linear(hidden_size, output_size)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights from the generator (None: torch's global one)."""
        self.layers.reset_parameters(generator)
        nn.init.xavier_uniform_(self.head.weight, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, F) -> (B, O)."""
        _, (hidden, *_) = self.layers(x)  # (L, B, H), of the last step
        prediction: Tensor = self.head(hidden[-1])  # (B, O)
        return prediction

    @property
    def num_parameters(self) -> int:
        """How many numbers `fit` learns: all weights and biases."""
        return sum(parameter.numel() for parameter in self.parameters())

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        seed: int = 1,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        warm_start: bool = False,
        progress: Progress | None = None,
    ) -> History:
        """Minimise the mean squared error over X (N, T, F) and y (N, O), or (N,) where O is 1, with Adam.

        Starts from new weights, or from the current ones with warm_start. The seed decides the new weights
        and the order of the sequences, which is drawn again for each epoch; torch's global generator is left
        alone. `validation` is another X and y, measured after each epoch.

        Kingma & Ba, "Adam: a method for stochastic optimization", 2015.

        Raises ConfigError when the arrays do not fit the model or hold NaN or infinity, or for an option out
        of range; TrainingError when the loss is no longer a number.
        """
        _check_options(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
        inputs, targets = self._tensors(X, y)
        val = None if validation is None else self._tensors(*validation, prefix="validation ")
        generator = torch.Generator(inputs.device).manual_seed(seed)
        if not warm_start:
            self.reset_parameters(generator)
        optimizer = torch.optim.Adam(self.parameters(), lr=learning_rate, fused=True)
        train_loss: list[float] = []
        val_loss: list[float] = []
        for epoch in range(1, epochs + 1):
            train_loss.append(self._fit_epoch(inputs, targets, batch_size, optimizer, generator))
            losses = [train_loss[-1]]
            if val is not None:
                val_loss.append(self._loss(*val))
                losses.append(val_loss[-1])
            elif epoch == epochs:  # no later epoch would show that the last step diverged
                losses.append(self._loss(inputs[:batch_size], targets[:batch_size]))
            if not all(map(math.isfinite, losses)):
                raise TrainingError(
                    f"epoch {epoch}: the loss is no longer a number. "
                    f"Use a learning_rate below {learning_rate}, or scale X and y to about -1..1."
                )
            if progress is not None:
                progress(epoch, train_loss[-1])
        return History(tuple(train_loss), None if val is None else tuple(val_loss))

    def _fit_epoch(
        self,
        inputs: Tensor,
        targets: Tensor,
        batch_size: int,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> float:
        """One pass over all sequences in a new order; the mean loss per sequence."""
        order = torch.randperm(len(inputs), generator=generator, device=inputs.device)
        # The sum stays a tensor: asking for its value at each step would make a GPU wait.
        total = torch.zeros((), device=inputs.device)
        parameters = list(self.parameters())
        for batch in torch.split(order, batch_size):
            loss = mse_loss(self(inputs[batch]), targets[batch])
            # Not loss.backward(): accumulating into .grad and clearing it slows down a small network's step.
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
            total += loss.detach() * len(batch)
        return total.item() / len(inputs)

    def _loss(self, inputs: Tensor, targets: Tensor) -> float:
        return mse_loss(self._predict(inputs), targets).item()

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The outputs (N, O) float32 for X (N, T, F).

        Raises ConfigError when X does not fit the model or holds NaN or infinity.
        """
        return self._predict(self._inputs("X", X)).cpu().numpy()

    @torch.no_grad()
    def _predict(self, inputs: Tensor) -> Tensor:
        # In batches, because a recurrent layer keeps the hidden states of all steps in memory.
        return torch.cat([self(piece) for piece in torch.split(inputs, 1024)])

    def _tensors(self, X: ArrayLike, y: ArrayLike, prefix: str = "") -> tuple[Tensor, Tensor]:
        inputs = self._inputs(f"{prefix}X", X)
        return inputs, self._targets(f"{prefix}y", y, len(inputs))

    def _inputs(self, name: str, array: ArrayLike) -> Tensor:
        numbers = _numbers(name, array)
        features = self.layers.input_size
        if numbers.ndim != 3 or numbers.shape[2] != features or 0 in numbers.shape:
            raise ConfigError(
                f"{name} has shape {numbers.shape}; expected (sequences, time steps, {features})"
            )
        return torch.from_numpy(numbers).to(self.head.weight.device)

    def _targets(self, name: str, array: ArrayLike, num_sequences: int) -> Tensor:
        numbers = _numbers(name, array)
        outputs = self.head.out_features
        columns = numbers[:, None] if numbers.ndim == 1 and outputs == 1 else numbers
        if columns.shape != (num_sequences, outputs):
            raise ConfigError(f"{name} has shape {numbers.shape}; expected ({num_sequences}, {outputs})")
        return torch.from_numpy(columns).to(self.head.weight.device)


def _numbers(name: str, array: ArrayLike) -> np.ndarray:
    """A float32 copy of an array of finite numbers."""
    try:
        numbers = np.asarray(array)
    except ValueError as error:
        raise ConfigError(f"{name} is not an array: {error}") from error
    if numbers.dtype.kind not in "biuf":
        raise ConfigError(f"{name} is an array of {numbers.dtype}, not of real numbers")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinity and is refused as such
        numbers = numbers.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise ConfigError(f"{name} holds NaN or infinity; leave those sequences out or fill the gaps")
    return numbers


_RANGES = {"epochs": COUNT, "batch_size": COUNT, "learning_rate": POSITIVE, "seed": SEED}


def _check_options(**options: float) -> None:
    for name, value in options.items():
        if broken := _RANGES[name].violation(value):
            raise ConfigError(f"{name}={value!r}: {broken}")
