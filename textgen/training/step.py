"""One training step: forward, loss, backward, clipping, AdamW; and the state carried between windows.

    window k      inputs, state  ->  logits, state'  ->  loss  ->  gradients, clipped  ->  AdamW
    window k+1    inputs, state' (detached)  ->  ...

This is truncated backpropagation through time: the state after one window is the initial state of the next
(except for a few sequences, see drop_state), but the gradient stops at the window's start.

Shapes: B batch_size, T window length, L num_layers, H hidden_size, V model_vocab_size.
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

# The probability that a sequence starts a window from the zero state; see RECIPE.md, "dropped state"
DROP_STATE_PROBABILITY = 0.05


class TrainStep:
    """A model with its optimizer and carried state; calling it takes one training step.

    Everything that the next step depends on can be read and restored as tensors: `weights`,
    `optimizer_tensors` and `carried`.
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
        # Sums since reset_loss. They are kept on the device, so that a step does not wait for it.
        self._loss_sum = torch.zeros((), dtype=widest_float(self.device), device=self.device)
        self._failed_steps = torch.zeros((), device=self.device)
        self.loss_count = 0  # tokens
        self.loss_steps = 0

    def __call__(self, batch: Batch, *, learning_rate: float, step: int) -> tuple[Tensor, Tensor]:
        """Take one optimizer step on a window; `step` is its number in the run, counted from 1.

        Returns the loss (nats per token) and the gradient norm, scalars on the device. The weights do not
        change if the norm is not finite.
        """
        set_learning_rate(self.optimizer, learning_rate)
        if batch.starts_epoch or not self._state:
            self._state = self.model.zero_state(batch.inputs.shape[0])
        else:
            self._state = drop_state(self._state, DROP_STATE_PROBABILITY)
            if batch.starts_document is not None:
                self._state = keep_state(self._state, ~torch.from_numpy(batch.starts_document))
        inputs = _on_device(torch.from_numpy(batch.inputs), self.device)  # (B, T)
        targets = _on_device(torch.from_numpy(batch.targets), self.device)  # (B, T)
        outputs, state = self.model.read(inputs, self._state)  # (B, T, H)
        loss = mean_loss(self.model.logits(self._regularized(outputs)), targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = self.optimizer.step(self.config.clip_norm)
        if self.average is not None:
            self.average.update(step)
        # Detach here, not in the model: evaluation carries state across windows without a graph.
        self._state = tuple(part.detach() for part in state)
        self._failed_steps += ~norm.isfinite()
        self._loss_sum += loss.detach() * targets.numel()
        self.loss_count += targets.numel()
        self.loss_steps += 1
        return loss.detach(), norm.detach()

    def _regularized(self, outputs: Tensor) -> Tensor:
        """The outputs (B, T, H) with dropout; penalties in use add their gradients in the backward pass."""
        if self.config.temporal_activation_penalty:
            outputs = temporal_activation_regularization(outputs, self.config.temporal_activation_penalty)
        dropped: Tensor = self.model.dropout(outputs)
        if self.config.activation_penalty:
            dropped = activation_regularization(dropped, self.config.activation_penalty)
        return dropped

    @property
    def loss_sum(self) -> float:
        """The sum of the losses of all tokens since reset_loss, in nats."""
        return float(self._loss_sum)

    @property
    def nats_per_token(self) -> float:
        """The mean loss since reset_loss. There must have been a step."""
        return self.loss_sum / self.loss_count

    @property
    def failed_steps(self) -> int:
        """Steps since reset_loss whose gradient norm was not finite."""
        return int(self._failed_steps)

    def reset_loss(self) -> None:
        """Set the sums of loss, tokens, steps and failed steps to zero."""
        self._loss_sum.zero_()
        self._failed_steps.zero_()
        self.loss_count = self.loss_steps = 0

    def eval_weights(self) -> AbstractContextManager[None]:
        """In the block, the model has the weights to be evaluated and kept: averaged ones with ema_decay."""
        return nullcontext() if self.average is None else self.average.in_place()

    # -- saving and restoring ------------------------------------------------------------

    def weights(self) -> dict[str, Tensor]:
        """The parameters by name. All tensors given here are those in use, not copies."""
        return dict(self.model.named_parameters())

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """The optimizer's state by name."""
        return optimizer_tensors(self.model, self.optimizer)

    def carried(self) -> dict[str, Tensor]:
        """Everything else that the next step depends on, apart from loss_count and loss_steps, no tensors."""
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
        loss_steps: int,
    ) -> None:
        """Restore weights, optimizer and carried tensors, torch's global random generators among them.

        Raises KeyError or ValueError for the weights of another network.
        """
        for name, parameter in self.model.named_parameters():
            if weights[name].shape != parameter.shape:
                raise ValueError(
                    f"{name} has shape {tuple(weights[name].shape)}, by config.json {tuple(parameter.shape)}"
                )
        for name, parameter in self.model.named_parameters():
            parameter.copy_(weights[name])
        self.optimizer.state.clear()  # the tensors may be those before the first step, which are none
        load_optimizer_tensors(self.model, self.optimizer, optimizer)
        parts = sum(name.startswith("state/") for name in carried)
        self._state = tuple(carried[f"state/{index}"].to(self.device) for index in range(parts))
        self._loss_sum.copy_(carried["loss_sum"])
        # Checkpoints of earlier versions do not have it.
        self._failed_steps.copy_(carried.get("failed_steps", torch.zeros(())))
        self.loss_count, self.loss_steps = loss_count, loss_steps
        if self.average is not None:
            self.average.load({name.removeprefix("average/"): tensor for name, tensor in carried.items()})
        torch.set_rng_state(carried["rng/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(carried["rng/cuda"], self.device)


def drop_state(state: tuple[Tensor, ...], probability: float) -> tuple[Tensor, ...]:
    """Reset the state of each sequence to zero with some probability, drawn from torch's global generator.

    Each part of the state is (L, B, H); what is given is not changed. A state that is carried through a whole
    epoch is zero only at its start, so that the network would barely learn to begin a text from zero (Melis,
    Dyer & Blunsom, "On the state of the art of evaluation in neural language models", 2018).
    """
    return keep_state(state, torch.rand(state[0].shape[1]) >= probability)


def keep_state(state: tuple[Tensor, ...], kept: Tensor) -> tuple[Tensor, ...]:
    """The state of each sequence that is kept (B,) bool, and zero for the others; each part is (L, B, H)."""
    if kept.all():
        return state
    mask = _on_device(kept.to(state[0].dtype), state[0].device).unsqueeze(1)  # (B, 1)
    return tuple(part * mask for part in state)


def _on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; a GPU's unfinished work is not waited for."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # other memory is copied when the GPU is idle
