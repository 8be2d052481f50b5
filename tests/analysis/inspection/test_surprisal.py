"""The surprisal of tokens agrees with evaluate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from textgen.analysis.inspection import surprisal as surprisal_module
from textgen.analysis.inspection.gates import record
from textgen.analysis.inspection.surprisal import ALTERNATIVES, Surprisal, measure_surprisal
from textgen.evaluation.evaluate import evaluate
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab

TOKENIZER_SIZE = 20
COUNTS = np.bincount([3, 5, 5, 5, 8, 8, 13, 14, 15, 15], minlength=TOKENIZER_SIZE)


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    vocab = ModelVocab.from_counts(COUNTS)
    return LanguageModel(
        ModelConfig(model_vocab_size=vocab.size, embedding_dim=6, hidden_size=8), vocab
    ).eval()


@pytest.fixture
def ids() -> np.ndarray:
    return np.random.default_rng(1).choice([3, 5, 8, 13, 7, 19], size=200)  # 7 and 19 were never seen


def surprisal_of(model: LanguageModel, ids: np.ndarray, start_id: int | None) -> Surprisal:
    model_ids = model.vocab.to_model_ids(ids)
    return measure_surprisal(model, record(model, model_ids, start_id).outputs, model_ids, TOKENIZER_SIZE)


@pytest.mark.parametrize("start_id", [2, None])
@pytest.mark.parametrize("first", [3, 7])
def test_the_sum_of_the_bits_is_the_loss_of_evaluate(
    model: LanguageModel, ids: np.ndarray, start_id: int | None, first: int
) -> None:
    ids[0] = first
    bits = surprisal_of(model, ids, start_id).bits
    loss = evaluate(model, ids, vocab_size=TOKENIZER_SIZE, start_id=start_id)
    assert bits.shape == ids.shape
    assert bits.sum() == pytest.approx(loss.total_nats / math.log(2), rel=1e-6)
    assert loss.unseen_tokens


def test_it_does_not_depend_on_the_size_of_the_windows(
    model: LanguageModel, ids: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = surprisal_of(model, ids, None)
    monkeypatch.setattr(surprisal_module, "LOGITS", 7 * model.vocab.size)
    in_windows = surprisal_of(model, ids, None)
    np.testing.assert_allclose(in_windows.bits, at_once.bits, rtol=1e-6)
    np.testing.assert_array_equal(in_windows.model_ids, at_once.model_ids)


@pytest.mark.parametrize("start_id", [2, None])
def test_the_bits_of_a_seen_token_match_its_probability_among_the_alternatives(
    model: LanguageModel, ids: np.ndarray, start_id: int | None
) -> None:
    found = surprisal_of(model, ids, start_id)
    assert found.model_ids.shape == found.probabilities.shape == (len(ids), ALTERNATIVES)
    assert (np.diff(found.probabilities, axis=1) <= 0).all()
    came = found.model_ids == model.vocab.to_model_ids(ids)[:, None]
    places = came.any(axis=1)
    assert places.sum() > 50
    np.testing.assert_allclose(found.probabilities[came], 2.0 ** -found.bits[places], rtol=1e-5)


def test_a_small_vocabulary_has_fewer_alternatives() -> None:
    vocab = ModelVocab.from_counts(np.array([3, 4]))
    model = LanguageModel(ModelConfig(model_vocab_size=2, embedding_dim=2, hidden_size=3), vocab).eval()
    outputs = record(model, np.array([0, 1, 1]), None).outputs
    found = measure_surprisal(model, outputs, np.array([0, 1, 1]), vocab_size=2)
    assert found.model_ids.shape == (3, 2)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
