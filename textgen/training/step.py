"""What a step reads and changes: the network, the optimizer, the state that is carried, sums of the loss.

    window k      inputs, state  ->  logits, state'  ->  loss  ->  gradients, clipped  ->  AdamW
    window k+1    inputs, state' (detached)  ->  ...

That is truncated backpropagation through time: the state that left one window enters the next (but for a few
lanes, see drop_state), the gradient does not.

Shapes: B batch_size, T window, L num_layers, H hidden_size, V rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from textgen.models.language_model import LanguageModel
from textgen.settings.config import TrainingConfig
from textgen.system.device import widest_float
from textgen.text.batches import Batch
from textgen.training.ema import WeightAverage
from textgen.training.loss import activation_regularization, mean_loss, temporal_activation_regularization
from textgen.training.optimizer import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)

DROP_STATE_PROBABILITY = 0.05  # of the lanes, on average, start a window from the zero state


class TrainStep:
    """Takes steps, and gives all that they depend on as tensors: weights, optimizer's and carried ones.

    It knows no time, no files and no budget; those are the trainer's.
    """

    def __init__(self, model: LanguageModel, config: TrainingConfig) -> None:
        self.model = model
        self.config = config
        self.device = next(model.parameters()).device
        self.optimizer = build_optimizer(
            model,
            learning_rate=config.learning_rate,
            beta1=config.beta1,
            weight_decay=config.weight_decay,
        )
        self.average = WeightAverage(model, config.ema_decay) if config.ema_decay else None
        self._state: tuple[Tensor, ...] = ()
        # Since they were last forgotten, summed on the device: nothing waits for it between two looks.
        self._loss_sum = torch.zeros((), dtype=widest_float(self.device), device=self.device)
        self._failed_steps = torch.zeros((), device=self.device)
        self.loss_count = 0  # tokens

    def step(self, batch: Batch, *, learning_rate: float, number: int) -> tuple[Tensor, Tensor]:
        """One optimizer step on a window, the run's `number`-th, counted from 1.

        Returns its loss and gradient norm as scalars on the device. A norm that is no number changes nothing.
        """
        set_learning_rate(self.optimizer, learning_rate)
        if batch.starts_epoch or not self._state:
            self._state = self.model.zero_state(batch.inputs.shape[0])
        else:
            self._state = drop_state(self._state, DROP_STATE_PROBABILITY)
        inputs = torch.from_numpy(batch.inputs).to(self.device, non_blocking=True)  # (B, T)
        targets = torch.from_numpy(batch.targets).to(self.device, non_blocking=True)  # (B, T)
        outputs, state = self.model.read(inputs, self._state)  # (B, T, H)
        loss = mean_loss(self.model.logits(self._penalised(outputs)), targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.optimizer.step(self.config.clip_norm)
        if self.average is not None:
            self.average.update(number)
        # Detach here, not in the model: evaluation carries state across windows without a graph.
        self._state = tuple(part.detach() for part in state)
        self._failed_steps += ~norm.isfinite()
        self._loss_sum += loss.detach() * targets.numel()
        self.loss_count += targets.numel()
        return loss.detach(), norm.detach()

    def _penalised(self, outputs: Tensor) -> Tensor:
        """What the head reads (B, T, H), with dropout; the penalties that are on come in on the way back."""
        if self.config.temporal_activation_penalty:
            outputs = temporal_activation_regularization(outputs, self.config.temporal_activation_penalty)
        dropped: Tensor = self.model.dropout(outputs)
        if self.config.activation_penalty:
            dropped = activation_regularization(dropped, self.config.activation_penalty)
        return dropped

    @property
    def nats_per_token(self) -> float:
        """The mean loss since it was last forgotten; there must have been a step."""
        return float(self._loss_sum) / self.loss_count

    @property
    def failed_steps(self) -> int:
        """How many steps since then had gradients that were no numbers."""
        return int(self._failed_steps)

    def reset_loss(self) -> None:
        """Start the sums anew."""
        self._loss_sum.zero_()
        self._failed_steps.zero_()
        self.loss_count = 0

    def eval_weights(self) -> AbstractContextManager[None]:
        """Inside, the model has the weights that are validated and kept: the averaged ones, if they are."""
        return nullcontext() if self.average is None else self.average.in_place()

    # -- saving and going back ------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """The parameters by name; these and the other tensors are those in use, not copies."""
        return dict(self.model.named_parameters())

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimizer's state by name."""
        return optimizer_tensors(self.model, self.optimizer)

    def carried(self) -> dict[str, Tensor]:
        """All else that the next step depends on, but for loss_count, which is no tensor."""
        carried = {f"state/{index}": part for index, part in enumerate(self._state)}
        carried |= {
            "loss_sum": self._loss_sum,
            "failed_steps": self._failed_steps,
            "rng/cpu": torch.get_rng_state(),
        }
        if self.average is not None:
            carried |= {f"average/{name}": tensor for name, tensor in self.average.tensors().items()}
        if self.device.type == "cuda":
            carried["rng/cuda"] = torch.cuda.get_rng_state(self.device)
        return carried

    @torch.no_grad()
    def load(
        self,
        *,
        weights: Mapping[str, Tensor],
        optimizer: Mapping[str, Tensor],
        carried: Mapping[str, Tensor],
        loss_count: int,
    ) -> None:
        """Put back what the three gave; torch's global random generators are set too.

        Raises KeyError or ValueError for the weights of another network.
        """
        for name, parameter in self.model.named_parameters():
            if weights[name].shape != parameter.shape:
                raise ValueError(
                    f"{name} is {tuple(weights[name].shape)}, by config.json {tuple(parameter.shape)}"
                )
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name])
        self.optimizer.state.clear()  # none of it belongs to the first step
        load_optimizer_tensors(self.model, self.optimizer, optimizer)
        parts = sum(name.startswith("state/") for name in carried)
        self._state = tuple(carried[f"state/{index}"].to(self.device) for index in range(parts))
        self._loss_sum.copy_(carried["loss_sum"])
        # Not in a checkpoint of an earlier version.
        self._failed_steps.copy_(carried.get("failed_steps", torch.zeros(())))
        self.loss_count = loss_count
        if self.average is not None:
            self.average.load({name.removeprefix("average/"): tensor for name, tensor in carried.items()})
        torch.set_rng_state(carried["rng/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(carried["rng/cuda"], self.device)


def drop_state(state: tuple[Tensor, ...], share: float) -> tuple[Tensor, ...]:
    """The state (L, B, H) per part with a share of its lanes, drawn from torch's global generator, at zero.

    Carried on for an epoch, the state would be zero once in hundreds of steps, and the network would never
    learn to begin: texts that start from nothing were seen to fall into noise and stay there.

    Melis, Dyer & Blunsom, "On the state of the art of evaluation in neural language models", 2018.
    """
    kept = torch.rand(state[0].shape[1]) >= share  # (B,)
    if kept.all():
        return state
    mask = kept.to(state[0]).unsqueeze(1)  # (B, 1)
    return tuple(part * mask for part in state)
