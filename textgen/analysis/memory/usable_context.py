"""The measured horizon: how much of the loss is owed to tokens that lie k back, without any gradient.

    reset every 4:   |t0 t1 t2 t3|t4 t5 t6 t7|t8 ...      each part is read from a zero state, after the
    tokens seen:      1  2  3  4  1  2  3  4  1           token before it, which counts as seen

What that costs against a state carried over the whole text is said twice. Of all tokens: how often may the
state be reset? That is mostly owed to the first tokens of each part, which see next to nothing. Of those that
see more than k/2: how many tokens must a prediction see?
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import LOGITS, LONGEST_WINDOW, TokenScorer, evaluate
from textgen.models.language_model import LanguageModel

RESETS = tuple(2**power for power in range(10))  # 1 .. 512 tokens
NEAR = 0.01  # nats per token


@dataclass(frozen=True)
class Horizon:
    """The loss of the same tokens with the state carried, and by how often it is reset, in tokens.

    excess is what the tokens of by_reset that see k/2 + 1 to k tokens lose against the state carried, in nats
    per token.
    """

    carried: Loss
    by_reset: dict[int, Loss]
    excess: dict[int, float]

    @property
    def reset_tokens(self) -> int | None:
        """The smallest reset length that costs at most NEAR nats per token; None: none of those measured."""
        limit = self.carried.nats_per_token + NEAR
        near = [every for every, loss in self.by_reset.items() if loss.nats_per_token <= limit]
        return min(near, default=None)

    @property
    def seen_tokens(self) -> int | None:
        """The smallest k from which on tokens that see about as many lose at most NEAR; None: none."""
        reached = None
        for every in sorted(self.excess, reverse=True):
            if not self.excess[every] <= NEAR:
                break
            reached = every
        return reached


@torch.no_grad()
def measure_horizon(
    model: LanguageModel,
    token_ids: np.ndarray,
    *,
    vocab_size: int,
    start_id: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> Horizon:
    """The losses of token ids (N,), N >= 2, for all of RESETS below N, under a model in eval mode.

    They are those of evaluate_with_resets, which has vocab_size and start_id too, token by token. progress
    is called with (tokens read, tokens in all).
    """
    assert not model.training
    model_ids = model.vocab.to_model_ids(token_ids)
    first = Loss(0.0, 0, 0)
    if start_id is None:  # the first token stands after nothing; it is charged alike, however often is reset
        first = evaluate(model, token_ids[:1], vocab_size=vocab_size, start_id=None)
    else:
        model_ids = np.concatenate([[start_id], model_ids])  # each target after its input: (n + 1,)
    scorer = TokenScorer(model.vocab, vocab_size - model.vocab.size)
    num_unseen = first.unseen_tokens + int((model_ids[1:] == model.vocab.size).sum())

    def summed(nats: np.ndarray) -> Loss:
        return Loss(first.total_nats + float(nats.sum()), first.tokens + len(nats), num_unseen)

    resets = [every for every in RESETS if every < len(token_ids)]
    by_reset, excess = {}, {}
    carried = _carried_nats(model, model_ids, scorer)
    for number, every in enumerate(resets, start=1):
        if progress is not None:
            progress(number * len(token_ids), (len(resets) + 1) * len(token_ids))
        nats = _reset_nats(model, model_ids, every, scorer)
        by_reset[every] = summed(nats)
        seen = np.arange(len(nats)) % every + 1
        excess[every] = float((nats - carried)[2 * seen > every].mean())
    if progress is not None:
        progress(1, 1)
    return Horizon(summed(carried), by_reset, excess)


def _carried_nats(model: LanguageModel, model_ids: np.ndarray, scorer: TokenScorer) -> np.ndarray:
    """The nats of each of n targets after model_ids (n + 1,), the state carried over them all, (n,)."""
    found, state = [], None
    for begin in range(0, len(model_ids) - 1, LONGEST_WINDOW):
        read = _as_tensor(model, model_ids[None, begin : begin + LONGEST_WINDOW + 1])  # (1, T + 1)
        logits, state = model(read[:, :-1], state)
        found.append(scorer.token_nats(logits, read[:, 1:]).flatten().cpu().numpy())
    return np.concatenate(found)


def _reset_nats(model: LanguageModel, model_ids: np.ndarray, every: int, scorer: TokenScorer) -> np.ndarray:
    """The same with the state reset every so many targets, as many parts at once as fit into LOGITS."""
    whole = (len(model_ids) - 1) // every
    parts = model_ids[np.arange(whole)[:, None] * every + np.arange(every + 1)]  # (whole, every + 1)
    lanes = max(LOGITS // (every * model.vocab.size), 1)
    batches = [parts[begin : begin + lanes] for begin in range(0, whole, lanes)]
    left = model_ids[whole * every :]
    if len(left) > 1:
        batches.append(left[None, :])
    found = []
    for batch in batches:
        read = _as_tensor(model, batch)  # (B, T + 1)
        logits, _ = model(read[:, :-1])
        found.append(scorer.token_nats(logits, read[:, 1:]).flatten().cpu().numpy())
    return np.concatenate(found)


def _as_tensor(model: LanguageModel, model_ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(model_ids).to(next(model.parameters()).device)
