"""The training loss: cross-entropy, and optional penalties on the outputs of the last layer.

The penalties are activation regularization, on large outputs, and temporal activation regularization, on
outputs that change quickly from one time step to the next (Merity, McCann & Socher, "Revisiting activation
regularization for language RNNs", 2017). Both are means over all numbers, in float32 whatever the network
computes in.

Each penalty has two forms. ..._penalty is the definition, slow and readable. ..._regularization is used in
training, which needs only the gradient: it returns the outputs unchanged and adds the gradient of the penalty
in the backward pass.

Shapes: B batch_size, T window length, H hidden_size, V model_vocab_size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn.functional import cross_entropy


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats per token, of logits (B, T, V) and targets (B, T)."""
    # Time comes first, as in the memory of the logits; the mean is the same.
    return cross_entropy(logits.transpose(0, 1).flatten(0, 1).float(), targets.t().flatten())


def activation_penalty(outputs: Tensor) -> Tensor:
    """The mean square of the outputs (B, T, H), after dropout."""
    return outputs.float().square().mean()


def temporal_activation_penalty(outputs: Tensor) -> Tensor:
    """The mean square of the changes between successive outputs (B, T, H), before dropout; 0 where T is 1."""
    changes = outputs[:, 1:].float() - outputs[:, :-1].float()  # (B, T-1, H)
    return changes.square().sum() / max(changes.numel(), 1)


def activation_regularization(outputs: Tensor, strength: float) -> Tensor:
    """The outputs (B, T, H); backward adds the gradient of strength * activation_penalty(outputs)."""
    scale = 2 * strength / outputs.numel()

    def add_gradient(gradient: Tensor, outputs: Tensor) -> Tensor:
        return torch.add(gradient, outputs, alpha=scale)

    return _with_gradient(outputs, add_gradient)


def temporal_activation_regularization(outputs: Tensor, strength: float) -> Tensor:
    """As activation_regularization, with the gradient of strength * temporal_activation_penalty(outputs)."""
    if outputs.shape[1] == 1:
        return outputs
    scale = 2 * strength / outputs[:, 1:].numel()

    def add_gradient(gradient: Tensor, outputs: Tensor) -> Tensor:
        changes = outputs[:, 1:] - outputs[:, :-1]  # (B, T-1, H)
        gradient = gradient.clone()
        gradient[:, 1:].add_(changes, alpha=scale)
        gradient[:, :-1].sub_(changes, alpha=scale)
        return gradient

    return _with_gradient(outputs, add_gradient)


class _WithGradient(Function):
    """Identity whose backward pass returns add_gradient(gradient, outputs); all are (B, T, H)."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, add_gradient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return the outputs, and keep them for the backward pass."""
        ctx.save_for_backward(outputs)
        ctx.add_gradient = add_gradient
        return outputs.view_as(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient with that of the penalty added."""
        (outputs,) = ctx.saved_tensors
        return ctx.add_gradient(gradient, outputs), None


def _with_gradient(outputs: Tensor, add_gradient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    same: Tensor = _WithGradient.apply(outputs, add_gradient)  # type: ignore[no-untyped-call]
    return same
