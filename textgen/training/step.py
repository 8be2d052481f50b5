"""One training step: forward, loss, backward, clipping, AdamW; and the state carried between windows.

    window k      inputs, state  ->  logits, state'  ->  loss  ->  gradients, clipped  ->  AdamW
    window k+1    inputs, state' (detached)  ->  ...

This is truncated backpropagation through time: the state after one window is the initial state of the next
(except for a few sequences, see drop_state), but the gradient stops at the window's start.

A batch may be divided: among the processes of a World, each of which has some of its sequences, and within a
process into micro-batches, of which only one is in memory at a time. The gradient is that of the whole batch:
all masks follow from the seed of the step, and each part's loss counts by its share of the sequences.

Shapes: B sequences in this process (or micro-batch), T window length, L num_layers, H hidden_size, V
model_vocab_size.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from textgen.distributed.world import World
from textgen.models.dropout import rows_of_batch
from textgen.models.language_model import LanguageModel
from textgen.settings.config import TrainingConfig
from textgen.system.device import seed_generators, widest_float
from textgen.text.batches import Batch, Rows
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

    Everything that the next step depends on, apart from the seed that it is given, can be read and restored
    as tensors: `weights`, `optimizer_tensors` and `carried`.

    world: the processes that take each step together, all with the same weights; None: this one alone.
    """

    def __init__(self, model: LanguageModel, config: TrainingConfig, world: World | None = None) -> None:
        self.model = model
        self.config = config
        self.world = world or World()
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

    def __call__(self, batch: Batch, *, learning_rate: float, step: int, seed: int) -> tuple[Tensor, Tensor]:
        """Take one optimizer step on a window; `step` is its number in the run, counted from 1.

        seed: of everything that is drawn in this step; see step_seed.

        Returns the loss of the whole batch (nats per token) and the gradient norm, scalars on the device. The
        weights do not change if the norm is not finite.
        """
        set_learning_rate(self.optimizer, learning_rate)
        self._begin(batch, seed)
        self.optimizer.zero_grad()
        loss = self._backward(batch, seed)
        self.world.sum([*self.optimizer.gradients(), loss])
        norm = self.optimizer.step(self.config.clip_norm)
        if self.average is not None:
            self.average.update(step)
        self._failed_steps += ~norm.isfinite()
        self._loss_sum += loss * batch.total_tokens
        self.loss_count += batch.total_tokens
        self.loss_steps += 1
        return loss, norm.detach()

    def _begin(self, batch: Batch, seed: int) -> None:
        """Set the state that the window is read from."""
        if batch.starts_epoch or not self._state:
            self._state = self.model.zero_state(len(batch.inputs))
            return
        seed_generators(self.device, seed)
        self._state = drop_state(self._state, DROP_STATE_PROBABILITY, batch.rows)
        if batch.starts_document is not None:
            self._state = keep_state(self._state, ~torch.from_numpy(batch.starts_document))

    def _backward(self, batch: Batch, seed: int) -> Tensor:
        """Add this process's share of the gradients to the parameters; returns its share of the loss."""
        inputs = _on_device(torch.from_numpy(batch.inputs), self.device)  # (B, T)
        targets = _on_device(torch.from_numpy(batch.targets), self.device)  # (B, T)
        losses, ends = [], []
        for rows in batch.rows.divided(self.config.accumulate):
            part = slice(rows.start - batch.rows.start, rows.stop - batch.rows.start)
            start = tuple(tensor[:, part].contiguous() for tensor in self._state)
            share = len(rows) / rows.total
            seed_generators(self.device, seed ^ 1)  # not the numbers by which states were dropped
            with rows_of_batch(rows):
                outputs, state = self.model.read(inputs[part], start)  # (B, T, H)
                regularized = self._regularized(outputs, share)
            loss = mean_loss(self.model.logits(regularized), targets[part])
            loss = loss if share == 1 else loss * share
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
            # Detach here, not in the model: evaluation carries state across windows without a graph.
            ends.append([tensor.detach() for tensor in state])
        if len(ends) == 1:
            self._state = tuple(ends[0])
            return losses[0]
        self._state = tuple(torch.cat(parts, dim=1) for parts in zip(*ends, strict=True))
        return torch.stack(losses).sum()

    def _regularized(self, outputs: Tensor, share: float) -> Tensor:
        """The outputs (B, T, H) with dropout; penalties in use add their gradients in the backward pass.

        share: of these sequences in the whole batch, over which penalties are means.
        """
        if self.config.temporal_activation_penalty:
            strength = self.config.temporal_activation_penalty * share
            outputs = temporal_activation_regularization(outputs, strength)
        dropped: Tensor = self.model.dropout(outputs)
        if self.config.activation_penalty:
            dropped = activation_regularization(dropped, self.config.activation_penalty * share)
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
        """Everything else that the next step depends on, apart from loss_count and loss_steps, no tensors.

        The state is that of all sequences of the batch, so that all processes must call this together.
        """
        state = [self.world.gathered(part, dim=1) for part in self._state]
        carried = {f"state/{index}": part for index, part in enumerate(state)}
        carried |= {"loss_sum": self._loss_sum, "failed_steps": self._failed_steps}
        if self.average is not None:
            carried |= {f"average/{name}": tensor for name, tensor in self.average.tensors().items()}
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
        """Restore weights, optimizer and carried tensors, the latter saved by any number of processes.

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
        self._state = tuple(self._own_rows(carried[f"state/{index}"]) for index in range(parts))
        self._loss_sum.copy_(carried["loss_sum"])
        # Checkpoints of earlier versions do not have it.
        self._failed_steps.copy_(carried.get("failed_steps", torch.zeros(())))
        self.loss_count, self.loss_steps = loss_count, loss_steps
        if self.average is not None:
            self.average.load({name.removeprefix("average/"): tensor for name, tensor in carried.items()})

    def _own_rows(self, state: Tensor) -> Tensor:
        """The part of a state (L, B, H) of all sequences that belongs to this process."""
        rows = self.world.share(Rows.whole(state.shape[1]))
        return state[:, rows.start : rows.stop].to(self.device)


def step_seed(seed: int, rollbacks: int, step: int) -> int:
    """The seed of all that a step draws, from the seed of the run, so that nothing else has to be carried.

    rollbacks: how often the run went back; after each, the same steps draw other masks.
    """
    return int(np.random.SeedSequence([seed, rollbacks, step]).generate_state(1, np.uint64)[0])


def drop_state(state: tuple[Tensor, ...], probability: float, rows: Rows) -> tuple[Tensor, ...]:
    """Reset the state of each sequence to zero with some probability, drawn from torch's global generator.

    Each part of the state is (L, B, H), of these rows of the batch, for all of which there is a draw; what is
    given is not changed. A state that is carried through a whole epoch is zero only at its start, so that the
    network would barely learn to begin a text from zero (Melis, Dyer & Blunsom, "On the state of the art of
    evaluation in neural language models", 2018).
    """
    kept = torch.rand(rows.total) >= probability
    return keep_state(state, kept[rows.start : rows.stop])


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
