"""Cross-entropy of a text under a model, every token counted once.

    targets    t0  t1  t2  ...  tN-1
    inputs     s   t0  t1  ...  tN-2         s: the token that sampling starts after

The state is carried over the whole text, or with `reset_every` set to zero after every so many tokens, to
compare with models of a fixed context.

Tokens that training never saw share the probability 1 / (training tokens + 1) equally; the seen ones share
the rest in the proportions that the softmax gives. So every text has a finite loss, and an honest one.

Shapes: B lanes, T window, V rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.models.language_model import LanguageModel
from textgen.text.rows import Rows

# A call of the model is worth its while with many steps, but its logits (B, T, V) should fit into cache.
LOGITS = 2**20
LONGEST_WINDOW = 512  # steps


@dataclass(frozen=True)
class Loss:
    """The summed cross-entropy of some tokens, in nats."""

    total_nats: float
    tokens: int
    unseen_tokens: int

    @property
    def nats_per_token(self) -> float:
        """Mean cross-entropy of a token."""
        return self.total_nats / self.tokens


@dataclass(frozen=True)
class TokenScorer:
    """Nats of target rows under logits, with the shared probability of unseen tokens.

    num_unseen is how many tokens the tokenizer has that training never saw.
    """

    rows: Rows
    num_unseen: int

    @property
    def seen_nats(self) -> float:
        """What every seen token pays for the probability that unseen ones hold."""
        return -math.log1p(-1 / (self.rows.total + 1)) if self.num_unseen else 0.0

    @property
    def unseen_nats(self) -> float:
        """The cost of one unseen token."""
        return math.log(self.rows.total + 1) + math.log(self.num_unseen) if self.num_unseen else math.inf

    def token_nats(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The nats of each target, float64 (B, T), from logits (B, T, V) and targets (B, T)."""
        unseen = targets == logits.shape[-1]
        nats = cross_entropy(
            logits.float().flatten(0, 1), targets.masked_fill(unseen, -100).flatten(), reduction="none"
        )  # -100 is cross_entropy's "ignore this one", and costs 0
        nats = nats.double().view_as(targets) + self.seen_nats
        return nats.masked_fill(unseen, self.unseen_nats) if self.num_unseen else nats

    def total_nats(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of token_nats and the number of unseen targets, both scalars."""
        return self.token_nats(logits, targets).sum(), (targets == logits.shape[-1]).sum()


def _first_nats(scorer: TokenScorer, first_row: int) -> float:
    """The cost of a text's first token where there is no token to start after: by training frequency."""
    if first_row == scorer.rows.size:
        return scorer.unseen_nats
    return -math.log(scorer.rows.frequencies[first_row]) + scorer.seen_nats


class Stretches(NamedTuple):
    """Parts of a text to read side by side: where each starts (B,), and how many tokens each has."""

    starts: np.ndarray
    length: int


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    token_ids: np.ndarray,
    *,
    vocab_size: int,
    start_row: int | None,
    stretches: Stretches | None = None,
    reset_every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loss:
    """The cross-entropy of token ids (N,) under a model, in the model's compute_dtype.

    vocab_size is the tokenizer's, all tokens counted. start_row is the row of the token that the text starts
    after; None charges the first token by its training frequency. Given stretches, only they are read, side
    by side, each from a zero state after the token before it: quick and comparable with itself, for use
    during training. reset_every, in tokens, is for the whole text. progress is called with (tokens read,
    tokens in all).
    """
    assert stretches is None or reset_every is None
    rows = model.rows
    scorer = TokenScorer(rows, vocab_size - rows.size)
    starts, length = (np.zeros(1, np.int64), len(token_ids)) if stretches is None else stretches
    lanes = len(starts)
    device = next(model.parameters()).device
    total = torch.zeros((), dtype=torch.float64, device="cpu" if device.type == "mps" else device)
    num_unseen = torch.zeros((), dtype=torch.int64, device=total.device)
    was_training = model.training
    model.eval()
    state = None
    extra_nats, first = 0.0, 0
    if start_row is None:
        extra_nats, first = _first_nats(scorer, int(rows.to_rows(token_ids[:1])[0])), 1
    window = reset_every or min(max(LOGITS // (lanes * rows.size), 16), LONGEST_WINDOW)
    for start in range(first, length, window):
        stop = min(start + window, length)
        # One token more to the left: the input of the first target. The text's own start stands before it
        # all.
        positions = starts[:, None] + np.arange(start - 1, stop)[None, :]  # (B, T + 1)
        read = rows.to_rows(token_ids[positions.clip(min=0)])
        if start_row is not None:
            read[positions < 0] = start_row
        chunk = torch.from_numpy(read).to(device)
        if reset_every is not None:
            state = None
        logits, state = model(chunk[:, :-1], state)
        nats, unseen = scorer.total_nats(logits, chunk[:, 1:])
        total += nats.to(total.device)
        num_unseen += unseen.to(total.device)
        if progress is not None:
            progress(stop * lanes, length * lanes)
    model.train(was_training)
    if first and rows.to_rows(token_ids[:1])[0] == rows.size:
        num_unseen += 1
    return Loss(float(total) + extra_nats, lanes * (length - first) + first, int(num_unseen))
