"""What a step lowers: the cross-entropy, and on request penalties on the outputs of the last layer.

Merity, McCann & Socher, "Revisiting activation regularization for language RNNs", 2017: large activations are
penalised as large weights are, and so is a state that changes quickly. Both are means over all numbers, in
float32 whatever the network computes in.

Training needs the gradients of the penalties alone, a product and a difference of what is there: the fast
twins penalise_... let the outputs pass and add that on the way back.

Shapes: B batch_size, T window, H hidden_size, V rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn.functional import cross_entropy


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats per token, for logits (B, T, V) and targets (B, T)."""
    # Time first, as the logits lie in memory; the mean is the same.
    return cross_entropy(logits.transpose(0, 1).flatten(0, 1).float(), targets.t().flatten())


def activation_penalty(outputs: Tensor) -> Tensor:
    """The mean square of the outputs (B, T, H) after dropout: what the head reads."""
    return outputs.float().square().mean()


def temporal_activation_penalty(outputs: Tensor) -> Tensor:
    """The mean square of the step from each output (B, T, H), before dropout, to the next; 0 where T is 1."""
    steps = outputs[:, 1:].float() - outputs[:, :-1].float()  # (B, T-1, H)
    return steps.square().sum() / max(steps.numel(), 1)


def activation_regularization(outputs: Tensor, strength: float) -> Tensor:
    """The outputs (B, T, H); backward, the gradient of `strength` x activation_penalty(outputs) is added."""
    scale = 2 * strength / outputs.numel()

    def add_gradient(gradient: Tensor, outputs: Tensor) -> Tensor:
        return torch.add(gradient, outputs, alpha=scale)

    return _penalise(outputs, add_gradient)


def temporal_activation_regularization(outputs: Tensor, strength: float) -> Tensor:
    """The outputs (B, T, H); backward, that of `strength` x temporal_activation_penalty(outputs) is added."""
    if outputs.shape[1] == 1:
        return outputs
    scale = 2 * strength / outputs[:, 1:].numel()

    def add_gradient(gradient: Tensor, outputs: Tensor) -> Tensor:
        steps = outputs[:, 1:] - outputs[:, :-1]  # (B, T-1, H)
        gradient = gradient.clone()
        gradient[:, 1:].add_(steps, alpha=scale)
        gradient[:, :-1].sub_(steps, alpha=scale)
        return gradient

    return _penalise(outputs, add_gradient)


class _Penalise(Function):
    """Nothing forward; backward, what add_gradient makes of the gradient and the outputs, (B, T, H) each."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, add_gradient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Let the outputs pass."""
        ctx.save_for_backward(outputs)
        ctx.add_gradient = add_gradient
        return outputs.view_as(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Add the penalty's gradient."""
        (outputs,) = ctx.saved_tensors
        return ctx.add_gradient(gradient, outputs), None


def _penalise(outputs: Tensor, add_gradient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    penalised: Tensor = _Penalise.apply(outputs, add_gradient)  # type: ignore[no-untyped-call]
    return penalised
