"""How much each token of a text surprisals a network, and what it expected instead.

Shapes: N tokens, K alternatives, V model_ids, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from textgen.evaluation.evaluate import LOGITS, TokenScorer
from textgen.evaluation.report import BITS
from textgen.models.language_model import LanguageModel

ALTERNATIVES = 5


@dataclass(frozen=True, eq=False)
class Surprisal:
    """The bits of each token, (N,) float64, and the K most likely rows in its place, the likeliest first.

    model_ids (N, K) int64, probabilities (N, K) float64; K is ALTERNATIVES, or V where that is fewer. Bits
    are those that evaluate counts: tokens that training never saw share a probability of their own.
    """

    bits: np.ndarray
    model_ids: np.ndarray
    probabilities: np.ndarray


@torch.no_grad()
def surprisal(model: LanguageModel, outputs: np.ndarray, model_ids: np.ndarray, vocab_size: int) -> Surprisal:
    """Compare what was predicted with what came: model_ids (N,), from outputs (N, H), or (N - 1, H).

    With one output fewer than model_ids, the first token is predicted by the frequencies of training.
    vocab_size is the tokenizer's, all tokens counted.
    """
    known = model.vocab
    scorer = TokenScorer(known, vocab_size - known.size)
    parts = []
    for logits, targets in _predictions(model, outputs, model_ids):  # (1, T, V), (1, T)
        nats = scorer.token_nats(logits, targets)[0]  # (T,)
        best = logits[0].double().log_softmax(dim=-1).topk(min(ALTERNATIVES, known.size))  # (T, K)
        probabilities = torch.exp(best.values - scorer.seen_nats)
        parts.append((nats * BITS, best.indices, probabilities))
    return Surprisal(*(torch.cat(part).numpy() for part in zip(*parts, strict=True)))


def _predictions(
    model: LanguageModel, outputs: np.ndarray, model_ids: np.ndarray
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits and what came, a segment of the text at a time: the logits of all of it may be too many."""
    targets = torch.from_numpy(model_ids)[None]  # (1, N)
    unpredicted = len(model_ids) - len(outputs)  # 1 where nothing stands before the first token
    if unpredicted:
        yield torch.from_numpy(np.log(model.vocab.frequencies))[None, None], targets[:, :unpredicted]
    window = max(LOGITS // model.vocab.size, 1)
    for start in range(0, len(outputs), window):
        logits = model.logits(torch.from_numpy(outputs[None, start : start + window]))
        yield logits, targets[:, unpredicted + start :][:, :window]
