"""The loss with resets agrees with evaluate; the usable context follows from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textgen.analysis.memory import usable_context
from textgen.analysis.memory.usable_context import UsableContext, measure_usable_context
from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import evaluate, evaluate_with_resets
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab

TOKENIZER_SIZE = 12
VOCAB = ModelVocab.from_counts(np.array([0, 5, 4, 8, 0, 9, 2]))
# 4 and 11 are tokens that training never saw.
TEXT = np.random.default_rng(5).choice([1, 2, 3, 5, 6, 4, 11], size=700)


def make(cell: str) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(
        ModelConfig(model_vocab_size=5, embedding_dim=6, hidden_size=12, cell=cell), VOCAB
    ).eval()


@pytest.mark.parametrize("start_id", [2, None])
@pytest.mark.parametrize("length", [700, 512, 9, 2])
def test_the_losses_agree_with_evaluate(
    start_id: int | None, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usable_context, "LOGITS", 1500)  # small enough for several batches
    model, text = make("lstm"), TEXT[:length]
    where = {"vocab_size": TOKENIZER_SIZE, "start_id": start_id}
    found = measure_usable_context(model, text, **where)
    assert list(found.by_reset) == [every for every in usable_context.RESETS if every < length]
    pairs = [(found.carried, evaluate(model, text, **where))]
    for every, loss in found.by_reset.items():
        pairs.append((loss, evaluate_with_resets(model, text, **where, reset_every=every)))
    for loss, expected in pairs:
        assert loss.total_nats == pytest.approx(expected.total_nats, rel=1e-6)
        assert (loss.tokens, loss.unseen_tokens) == (expected.tokens, expected.unseen_tokens)


@torch.no_grad()
def test_the_excess_is_over_tokens_that_see_more_than_half_of_the_reset_length() -> None:
    model, text = make("gru"), TEXT[:60]
    model_ids = [2, *VOCAB.to_model_ids(text).tolist()]

    def nats(first: int, index: int) -> float:
        """The loss in nats of the target after index when reading starts at first; 0 for an unseen token."""
        logits, _ = model(torch.tensor([model_ids[first : index + 1]]))
        target = model_ids[index + 1]
        return 0.0 if target == VOCAB.size else -float(logits[0, -1].log_softmax(0)[target])

    found = measure_usable_context(model, text, vocab_size=TOKENIZER_SIZE, start_id=2)
    for every in (1, 8):
        expected = []
        for index in range(60):
            seen = index % every + 1
            if seen > every / 2:
                expected.append(nats(index - seen + 1, index) - nats(0, index))
        assert found.excess[every] == pytest.approx(np.mean(expected), abs=1e-6)


def test_a_network_without_recurrence_needs_only_one_token() -> None:
    model = make("rnn")
    with torch.no_grad():
        model.layers.layer_weights(0).weight_hh.zero_()
    found = measure_usable_context(model, TEXT, vocab_size=TOKENIZER_SIZE, start_id=2)
    assert max(map(abs, found.excess.values())) < 1e-6
    assert (found.reset_tokens, found.seen_tokens) == (1, 1)


def loss(nats_per_token: float) -> Loss:
    return Loss(nats_per_token * 100, 100, 0)


@pytest.mark.parametrize(
    ("losses", "excess", "reset_tokens", "seen_tokens"),
    [
        ([2.0, 1.5, 1.02, 1.005], [1.0, 0.2, 0.01, -0.02], 8, 4),
        ([2.0, 1.5, 1.4, 1.02], [1.0, 0.2, 0.1, 0.011], None, None),
        ([1.001, 0.9, 1.0, 1.0], [0.001, 0.2, 0.0, 0.0], 1, 4),  # only the last crossing counts
        ([np.nan] * 4, [np.nan] * 4, None, None),
        ([], [], None, None),
    ],
)
def test_the_usable_context_is_the_smallest_within_the_tolerance(
    losses: list[float], excess: list[float], reset_tokens: int | None, seen_tokens: int | None
) -> None:
    resets = [1, 2, 4, 8][: len(losses)]
    found = UsableContext(
        loss(1.0),
        dict(zip(resets, map(loss, losses), strict=True)),
        dict(zip(resets, excess, strict=True)),
    )
    assert (found.reset_tokens, found.seen_tokens) == (reset_tokens, seen_tokens)


def test_progress_is_reported_up_to_the_end() -> None:
    reported: list[tuple[int, int]] = []
    measure_usable_context(
        make("gru"), TEXT, vocab_size=TOKENIZER_SIZE, start_id=2, progress=lambda *done: reported.append(done)
    )
    shares = [done / total for done, total in reported]
    assert shares == sorted(shares)
    assert shares[-1] == 1
