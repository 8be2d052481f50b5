"""The surprisal of each token of a text under a network, and the tokens that it found most likely.

Shapes: N tokens, K alternatives, V model_vocab_size, H hidden_size, T tokens of one window.
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
    """The surprisal of each token in bits, (N,) float64, and the K most likely tokens, most likely first.

    model_ids (N, K) int64 and probabilities (N, K) float64; K is ALTERNATIVES, or V if that is smaller. The
    bits agree with evaluate: tokens that training never saw share one fixed probability.
    """

    bits: np.ndarray
    model_ids: np.ndarray
    probabilities: np.ndarray


@torch.no_grad()
def measure_surprisal(
    model: LanguageModel, outputs: np.ndarray, model_ids: np.ndarray, vocab_size: int
) -> Surprisal:
    """The surprisal of model_ids (N,), predicted from outputs (N, H) or (N - 1, H); see gates.Record.

    With N - 1 outputs, the first token is predicted by the token frequencies of the training text. vocab_size
    is that of the tokenizer.
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
    """Logits (1, T, V) and targets (1, T), window by window, to bound the memory that the logits take."""
    targets = torch.from_numpy(model_ids)[None]  # (1, N)
    unpredicted = len(model_ids) - len(outputs)  # 1 without a start token
    if unpredicted:
        yield torch.from_numpy(np.log(model.vocab.frequencies))[None, None], targets[:, :unpredicted]
    window = max(LOGITS // model.vocab.size, 1)
    for start in range(0, len(outputs), window):
        logits = model.logits(torch.from_numpy(outputs[None, start : start + window]))
        yield logits, targets[:, unpredicted + start :][:, :window]
