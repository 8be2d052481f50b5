"""Measures the usable context: how much of the loss depends on tokens further back than k, without gradients.

    reset every 4:   |t0 t1 t2 t3|t4 t5 t6 t7|t8 ...      each segment is read from a zero state, after the
    tokens seen:      1  2  3  4  1  2  3  4  1           token before it, which counts as seen

The cost compared with a state that is carried over the whole text is reported in two ways. Over all tokens,
it says how often the state may be reset; most of it comes from the first tokens of each segment, which see
little context. Over the tokens that see more than k/2 tokens, it says how much context a prediction needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import LOGITS, MAX_WINDOW, TokenScorer, evaluate
from textgen.models.language_model import LanguageModel

RESETS = tuple(2**power for power in range(10))  # 1 .. 512 tokens
TOLERANCE = 0.01  # nats per token


@dataclass(frozen=True)
class UsableContext:
    """The loss of a text with the state carried throughout, and with resets, by tokens between resets.

    excess[k] is how much higher the loss with resets is than the carried one, in nats per token, over the
    tokens that see more than k/2 tokens.
    """

    carried: Loss
    by_reset: dict[int, Loss]
    excess: dict[int, float]

    @property
    def reset_tokens(self) -> int | None:
        """The smallest reset length that costs at most TOLERANCE; None if all of them cost more."""
        limit = self.carried.nats_per_token + TOLERANCE
        within = [every for every, loss in self.by_reset.items() if loss.nats_per_token <= limit]
        return min(within, default=None)

    @property
    def seen_tokens(self) -> int | None:
        """The smallest k from which the excess stays within TOLERANCE; None if there is none."""
        smallest = None
        for every in sorted(self.excess, reverse=True):
            if not self.excess[every] <= TOLERANCE:
                break
            smallest = every
        return smallest


@torch.no_grad()
def measure_usable_context(
    model: LanguageModel,
    token_ids: np.ndarray,
    *,
    vocab_size: int,
    start_id: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> UsableContext:
    """The losses of token_ids (N,), N >= 2, for every reset length in RESETS below N.

    They agree with evaluate_with_resets, which takes the same vocab_size and start_id. The model must be in
    eval mode. progress is called with (tokens read, total).
    """
    assert not model.training
    model_ids = model.vocab.to_model_ids(token_ids)
    first = Loss(0.0, 0, 0)
    if start_id is None:  # nothing precedes the first token; its loss does not depend on resets
        first = evaluate(model, token_ids[:1], vocab_size=vocab_size, start_id=None)
    else:
        model_ids = np.concatenate([[start_id], model_ids])  # each target follows its input: (n + 1,)
    scorer = TokenScorer(model.vocab, vocab_size - model.vocab.size)
    num_unseen = first.unseen_tokens + int((model_ids[1:] == model.vocab.size).sum())

    def loss_of(nats: np.ndarray) -> Loss:
        return Loss(first.total_nats + float(nats.sum()), first.tokens + len(nats), num_unseen)

    resets = [every for every in RESETS if every < len(token_ids)]
    by_reset, excess = {}, {}
    carried = _carried_nats(model, model_ids, scorer)
    for number, every in enumerate(resets, start=1):
        if progress is not None:
            progress(number * len(token_ids), (len(resets) + 1) * len(token_ids))
        nats = _reset_nats(model, model_ids, every, scorer)
        by_reset[every] = loss_of(nats)
        seen = np.arange(len(nats)) % every + 1
        excess[every] = float((nats - carried)[2 * seen > every].mean())
    if progress is not None:
        progress(1, 1)
    return UsableContext(loss_of(carried), by_reset, excess)


def _carried_nats(model: LanguageModel, model_ids: np.ndarray, scorer: TokenScorer) -> np.ndarray:
    """The loss of each target in model_ids (n + 1,) with the state carried throughout, (n,) nats."""
    found, state = [], None
    for begin in range(0, len(model_ids) - 1, MAX_WINDOW):
        read = _as_tensor(model, model_ids[None, begin : begin + MAX_WINDOW + 1])  # (1, T + 1)
        logits, state = model(read[:, :-1], state)
        found.append(scorer.token_nats(logits, read[:, 1:]).flatten().cpu().numpy())
    return np.concatenate(found)


def _reset_nats(model: LanguageModel, model_ids: np.ndarray, every: int, scorer: TokenScorer) -> np.ndarray:
    """The same with the state reset every `every` targets; segments are batched to bound the logits."""
    num_segments = (len(model_ids) - 1) // every
    starts = np.arange(num_segments)[:, None] * every
    segments = model_ids[starts + np.arange(every + 1)]  # (num_segments, every + 1)
    batch_size = max(LOGITS // (every * model.vocab.size), 1)
    batches = [segments[begin : begin + batch_size] for begin in range(0, num_segments, batch_size)]
    rest = model_ids[num_segments * every :]
    if len(rest) > 1:
        batches.append(rest[None, :])
    found = []
    for batch in batches:
        read = _as_tensor(model, batch)  # (B, T + 1)
        logits, _ = model(read[:, :-1])
        found.append(scorer.token_nats(logits, read[:, 1:]).flatten().cpu().numpy())
    return np.concatenate(found)


def _as_tensor(model: LanguageModel, model_ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(model_ids).to(next(model.parameters()).device)
