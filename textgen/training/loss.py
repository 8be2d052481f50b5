"""What a step lowers: the cross-entropy.

Shapes: B batch_size, T window, V rows.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats per token, for logits (B, T, V) and targets (B, T)."""
    # Time first, as the logits lie in memory; the mean is the same.
    return cross_entropy(logits.transpose(0, 1).flatten(0, 1).float(), targets.t().flatten())
