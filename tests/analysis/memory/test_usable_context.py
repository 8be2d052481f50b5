"""The loss with resets against evaluate, and which horizon follows from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textgen.analysis.memory import usable_context as horizon
from textgen.analysis.memory.usable_context import Horizon, measure_horizon
from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import evaluate, evaluate_with_resets
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab

TOKENIZER_SIZE = 12
ROWS = ModelVocab.from_counts(np.array([0, 5, 4, 8, 0, 9, 2]))
# 4 and 11 are tokens that training never saw.
TEXT = np.random.default_rng(5).choice([1, 2, 3, 5, 6, 4, 11], size=700)


def make(cell: str) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(
        ModelConfig(model_vocab_size=5, embedding_dim=6, hidden_size=12, cell=cell), ROWS
    ).eval()


@pytest.mark.parametrize("start_id", [2, None])
@pytest.mark.parametrize("length", [700, 512, 9, 2])
def test_the_losses_are_those_of_the_whole_evaluation(
    start_id: int | None, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon, "LOGITS", 1500)  # so that there are several batches
    model, text = make("lstm"), TEXT[:length]
    where = {"vocab_size": TOKENIZER_SIZE, "start_id": start_id}
    found = measure_horizon(model, text, **where)
    assert list(found.by_reset) == [every for every in horizon.RESETS if every < length]
    pairs = [(found.carried, evaluate(model, text, **where))]
    for every, loss in found.by_reset.items():
        pairs.append((loss, evaluate_with_resets(model, text, **where, reset_every=every)))
    for loss, expected in pairs:
        assert loss.total_nats == pytest.approx(expected.total_nats, rel=1e-6)
        assert (loss.tokens, loss.unseen_tokens) == (expected.tokens, expected.unseen_tokens)


@torch.no_grad()
def test_the_excess_is_of_the_tokens_that_see_more_than_half_as_many() -> None:
    model, text = make("gru"), TEXT[:60]
    rows = [2, *ROWS.to_model_ids(text).tolist()]

    def nats(first: int, index: int) -> float:
        """Of the target after rows[index], read from rows[first] on; 0 for one that training never saw."""
        logits, _ = model(torch.tensor([rows[first : index + 1]]))
        target = rows[index + 1]
        return 0.0 if target == ROWS.size else -float(logits[0, -1].log_softmax(0)[target])

    found = measure_horizon(model, text, vocab_size=TOKENIZER_SIZE, start_id=2)
    for every in (1, 8):
        expected = []
        for index in range(60):
            seen = index % every + 1
            if seen > every / 2:
                expected.append(nats(index - seen + 1, index) - nats(0, index))
        assert found.excess[every] == pytest.approx(np.mean(expected), abs=1e-6)


def test_a_network_without_a_memory_needs_one_token_only() -> None:
    model = make("rnn")
    with torch.no_grad():
        model.layers.layer_weights(0).weight_hh.zero_()
    found = measure_horizon(model, TEXT, vocab_size=TOKENIZER_SIZE, start_id=2)
    assert max(map(abs, found.excess.values())) < 1e-6
    assert (found.reset_tokens, found.seen_tokens) == (1, 1)


def loss(nats_per_token: float) -> Loss:
    return Loss(nats_per_token * 100, 100, 0)


@pytest.mark.parametrize(
    ("losses", "excess", "reset_tokens", "seen_tokens"),
    [
        ([2.0, 1.5, 1.02, 1.005], [1.0, 0.2, 0.01, -0.02], 8, 4),
        ([2.0, 1.5, 1.4, 1.02], [1.0, 0.2, 0.1, 0.011], None, None),
        ([1.001, 0.9, 1.0, 1.0], [0.001, 0.2, 0.0, 0.0], 1, 4),  # by chance: what stays near counts
        ([np.nan] * 4, [np.nan] * 4, None, None),
        ([], [], None, None),
    ],
)
def test_the_horizon_is_the_first_that_is_near_the_carried_loss(
    losses: list[float], excess: list[float], reset_tokens: int | None, seen_tokens: int | None
) -> None:
    resets = [1, 2, 4, 8][: len(losses)]
    found = Horizon(
        loss(1.0),
        dict(zip(resets, map(loss, losses), strict=True)),
        dict(zip(resets, excess, strict=True)),
    )
    assert (found.reset_tokens, found.seen_tokens) == (reset_tokens, seen_tokens)


def test_progress_is_told_up_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    measure_horizon(
        make("gru"), TEXT, vocab_size=TOKENIZER_SIZE, start_id=2, progress=lambda *done: told.append(done)
    )
    shares = [done / total for done, total in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
