"""Dropout for sequences."""

from __future__ import annotations

from torch import Tensor, nn

from textgen.errors import ConfigError


class LockedDropout(nn.Module):
    """Drop the same units at every time step: one mask (B, 1, H) a call, from torch's global generator.

    With a fresh mask per step every unit gets through now and then, and a recurrent layer can add that up
    over time. The units that stay are scaled by 1 / (1 - p), so that eval mode, where this is the identity,
    sees the same mean.

    Gal & Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016.

    Raises ConfigError unless 0 <= p < 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ConfigError(f"dropout={p!r}: must be at least 0 and below 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) -> (B, T, H)."""
        if not self.training or self.p == 0:
            return x
        mask = x.new_empty(x.shape[0], 1, x.shape[2]).bernoulli_(1 - self.p)  # (B, 1, H)
        return x * mask.div_(1 - self.p)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"p={self.p}"
