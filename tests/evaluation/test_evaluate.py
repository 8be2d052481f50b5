"""Evaluation against its slow definition: one token at a time, with probabilities that sum to 1."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from tests.evaluation.conftest import COUNTS, TOKENIZER_SIZE
from textgen.evaluation.evaluate import Segments, TokenScorer, evaluate, evaluate_whole, evaluate_with_resets
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    config = ModelConfig(
        model_vocab_size=5, embedding_dim=6, hidden_size=12, num_layers=2, cell="lstm", dropout=0.5
    )
    return LanguageModel(config, ModelVocab.from_counts(COUNTS)).train()


@pytest.fixture
def token_ids() -> np.ndarray:
    # Training never saw the tokens 7 and 30.
    return np.random.default_rng(1).choice(
        [3, 5, 8, 13, 21, 7, 30], size=1300, p=[0.2] * 4 + [0.1, 0.05, 0.05]
    )


@torch.no_grad()
def slow_nats(
    model: LanguageModel, token_ids: np.ndarray, start_id: int | None, reset_every: int | None = None
) -> list[float]:
    """The definition: the nats of each token given all tokens before it, with unseen tokens' probability."""
    model.eval()
    vocab = model.vocab
    unseen_probability = 1 / (vocab.total + 1)
    num_unseen = TOKENIZER_SIZE - vocab.size
    frequencies = np.append(vocab.frequencies, 0.0)
    state, previous, nats, position = None, start_id, [], 0
    for token_id in token_ids:
        model_id = int(vocab.to_model_ids(np.array([token_id]))[0])
        if previous is None:
            probabilities = frequencies[:-1]
        else:
            if reset_every is not None and position % reset_every == 0:
                state = None
            logits, state = model(torch.tensor([[previous]]), state)
            probabilities = torch.softmax(logits[0, 0].double(), dim=0).numpy()
            position += 1
        if model_id == vocab.size:
            nats.append(-math.log(unseen_probability / num_unseen))
        else:
            nats.append(-math.log(probabilities[model_id] * (1 - unseen_probability)))
        previous = model_id
    return nats


@pytest.mark.parametrize("start_id", [2, None])
def test_evaluate_equals_the_definition(
    model: LanguageModel, token_ids: np.ndarray, start_id: int | None
) -> None:
    loss = evaluate(model, token_ids, vocab_size=TOKENIZER_SIZE, start_id=start_id)
    assert loss.tokens == len(token_ids)
    assert loss.unseen_tokens == int(np.isin(token_ids, [7, 30]).sum())
    assert loss.total_nats == pytest.approx(sum(slow_nats(model, token_ids, start_id)), rel=1e-6)


def test_an_unseen_first_token_is_counted(model: LanguageModel) -> None:
    ids = np.array([7, 3, 5])
    loss = evaluate(model, ids, vocab_size=TOKENIZER_SIZE, start_id=None)
    assert loss.unseen_tokens == 1
    assert loss.total_nats == pytest.approx(sum(slow_nats(model, ids, None)), rel=1e-6)


@pytest.mark.parametrize("window", [1, 7, 256, 1300, 5000, 10**20])
@pytest.mark.parametrize("start_id", [2, None])
def test_the_state_is_reset_every_reset_every_tokens(
    model: LanguageModel,
    token_ids: np.ndarray,
    window: int,
    start_id: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("textgen.evaluation.evaluate.LOGITS", 4 * 256 * 3)  # several segments per batch
    reported: list[tuple[int, int]] = []
    loss = evaluate_with_resets(
        model,
        token_ids,
        vocab_size=TOKENIZER_SIZE,
        start_id=start_id,
        reset_every=window,
        progress=lambda *done: reported.append(done),
    )
    assert loss.tokens == len(token_ids)
    assert loss.unseen_tokens == int(np.isin(token_ids, [7, 30]).sum())
    expected = sum(slow_nats(model, token_ids, start_id, reset_every=window))
    assert loss.total_nats == pytest.approx(expected, rel=1e-6)
    assert reported == sorted(reported)
    assert reported[-1] == (1300, 1300)


def test_a_long_segment_is_read_in_windows_at_the_same_cost(
    model: LanguageModel, token_ids: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nats_and_longest(longest: int) -> tuple[float, int]:
        lengths: list[int] = []
        monkeypatch.setattr("textgen.evaluation.evaluate.MAX_WINDOW", longest)
        with model.register_forward_pre_hook(lambda _, read: lengths.append(read[0].shape[1])):
            loss = evaluate_with_resets(
                model, token_ids, vocab_size=TOKENIZER_SIZE, start_id=2, reset_every=700
            )
        return loss.total_nats, max(lengths)

    whole, pieces = nats_and_longest(1000), nats_and_longest(150)
    assert pieces[0] == pytest.approx(whole[0], rel=1e-6)
    assert (whole[1], pieces[1]) == (700, 150)


def test_each_segment_is_read_from_a_zero_state_after_the_token_before_it(
    model: LanguageModel, token_ids: np.ndarray
) -> None:
    segments = Segments(np.array([0, 400, 1100]), 200)
    loss = evaluate(model, token_ids, vocab_size=TOKENIZER_SIZE, start_id=2, segments=segments)
    model_ids = model.vocab.to_model_ids(token_ids)
    expected = 0.0
    for start in segments.starts.tolist():
        before = int(model_ids[start - 1]) if start else 2
        expected += sum(slow_nats(model, token_ids[start : start + 200], before))
    assert loss.tokens == 600
    assert loss.total_nats == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("shortest", "starts"), [(700, [0]), (400, [0, 433, 866, 1299])])
def test_a_long_text_is_read_in_segments_in_one_batch(
    model: LanguageModel,
    token_ids: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    shortest: int,
    starts: list[int],
) -> None:
    monkeypatch.setattr("textgen.evaluation.evaluate.MIN_SEGMENT_TOKENS", shortest)
    loss = evaluate_whole(model, token_ids, vocab_size=TOKENIZER_SIZE, start_id=2)
    model_ids = model.vocab.to_model_ids(token_ids)
    expected = 0.0
    for start, stop in itertools.pairwise([*starts, 1300]):
        expected += sum(slow_nats(model, token_ids[start:stop], int(model_ids[start - 1]) if start else 2))
    assert loss.tokens == 1300
    assert loss.unseen_tokens == np.isin(token_ids, [7, 30]).sum()
    assert loss.total_nats == pytest.approx(expected, rel=1e-6)


def test_the_probabilities_of_all_tokens_sum_to_one() -> None:
    vocab = ModelVocab.from_counts(COUNTS)
    scorer = TokenScorer(vocab, TOKENIZER_SIZE - vocab.size)
    logits = torch.randn(1, 1, 5)
    seen = [float(scorer.total_nats(logits, torch.tensor([[model_id]]))[0]) for model_id in range(5)]
    unseen = float(scorer.total_nats(logits, torch.tensor([[5]]))[0])
    total = sum(math.exp(-nats) for nats in seen) + (TOKENIZER_SIZE - 5) * math.exp(-unseen)
    assert total == pytest.approx(1, abs=1e-6)


def test_without_unseen_tokens_the_loss_is_that_of_the_softmax() -> None:
    vocab = ModelVocab.from_counts(np.array([3, 4]))
    scorer = TokenScorer(vocab, 0)
    logits = torch.tensor([[[0.3, -0.2]]])
    nats = float(scorer.total_nats(logits, torch.tensor([[0]]))[0])
    assert nats == pytest.approx(-float(torch.log_softmax(logits, dim=-1)[0, 0, 0]), rel=1e-6)


def test_evaluation_does_not_change_the_model(model: LanguageModel, token_ids: np.ndarray) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, token_ids, vocab_size=TOKENIZER_SIZE, start_id=2)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_progress_is_reported_up_to_the_end(model: LanguageModel, token_ids: np.ndarray) -> None:
    reported: list[tuple[int, int]] = []
    evaluate(
        model, token_ids, vocab_size=TOKENIZER_SIZE, start_id=2, progress=lambda *done: reported.append(done)
    )
    assert reported[-1] == (len(token_ids), len(token_ids))
    assert [done for done, _ in reported] == sorted(done for done, _ in reported)
