"""What a step lowers: the cross-entropy, and on request penalties on the outputs of the last layer.

Merity, McCann & Socher, "Revisiting activation regularization for language RNNs", 2017: large activations are
penalised as large weights are, and so is a state that changes quickly. Both are means over all numbers, in
float32 whatever the network computes in.

Shapes: B batch_size, T window, H hidden_size, V rows.
"""

from __future__ import annotations

from torch import Tensor
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
