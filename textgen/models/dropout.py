"""Dropout for sequences: of units, of whole embeddings, of weights.

Each draws one mask per call from torch's global generator and scales what stays by 1 / (1 - p), so that the
mean is that of eval mode, where dropout is the identity. With p = 0 nothing is drawn.

A batch may be read in parts, one after the other or by several processes. With the same seed before each part
the masks are those of the whole batch: masks of weights and of the vocabulary are the same for all sequences,
and in rows_of_batch each sequence has that of its row.

Shapes: B batch, T time, H units, V vocabulary, E embedding_dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from textgen.errors import ConfigError
from textgen.text.batches import Rows

_rows: ContextVar[Rows | None] = ContextVar("rows", default=None)


@contextmanager
def rows_of_batch(rows: Rows) -> Iterator[None]:
    """In the block, what is read are these rows of a larger batch, and get the masks of these rows."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


class _Dropout(nn.Module):
    """The probability p, and when dropout acts. Raises ConfigError unless 0 <= p < 1."""

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ConfigError(f"dropout={p!r}: must be at least 0 and below 1")
        self.p = p

    @property
    def acts(self) -> bool:
        """Whether anything is dropped: in training, and where p is above 0."""
        return self.training and self.p > 0

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"p={self.p}"


class LockedDropout(_Dropout):
    """Drop the same units at every time step: one mask (B, 1, H).

    With a new mask per step every unit gets through now and then, and a recurrent layer can accumulate it
    over time.

    Gal & Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) -> (B, T, H)."""
        if not self.acts:
            return x
        rows = _rows.get() or Rows.whole(len(x))
        mask = x.new_empty(rows.total, 1, x.shape[2]).bernoulli_(1 - self.p)[rows.start : rows.stop]
        return x * mask.div_(1 - self.p)  # the mask is (B, 1, H)


class EmbeddingDropout(_Dropout):
    """Drop whole tokens of the vocabulary: one mask (V, 1) over the rows of the embedding.

    The embedding of a dropped token is zero wherever it occurs, in all texts of the call, so that the network
    learns not to depend on any one word. Where the table is also the tied head, the head is not masked.

    Gal & Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016.
    """

    def forward(self, embedded: Tensor, model_ids: Tensor, model_vocab_size: int) -> Tensor:
        """The embeddings (..., E) of model ids (...), all below model_vocab_size -> (..., E)."""
        if not self.acts:
            return embedded
        mask = embedded.new_empty(model_vocab_size, 1).bernoulli_(1 - self.p).div_(1 - self.p)  # (V, 1)
        # On the embeddings, not on the table: a large vocabulary has more rows than a window has tokens.
        return embedded * mask[model_ids]


class WeightDrop(_Dropout):
    """Drop single recurrent weights (DropConnect), the same ones at all time steps and in all texts.

    No unit is dropped as a whole, so that the state can still carry information over long distances.

    Wan, Zeiler, Zhang, LeCun & Fergus, "Regularization of neural networks using DropConnect", 2013; on
    recurrent weights Merity, Keskar & Socher, "Regularizing and optimizing LSTM language models", 2018.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """(G*H, H) -> (G*H, H); a gradient passes to the weights that stay."""
        if not self.acts:
            return weight
        # Comparing uniform numbers is faster than bernoulli_, which draws in float64.
        mask = torch.rand_like(weight, requires_grad=False).ge_(self.p).div_(1 - self.p)
        return weight * mask
