"""Dynamic evaluation of a mixture against its definition: n-grams are counted anew before each window."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.evaluation.conftest import COUNTS, SEEN, TOKENIZER_SIZE, UNSEEN, dynamic_loss
from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import TokenScorer, evaluate
from textgen.evaluation.learning_mixture import NETWORK_WEIGHTS, LearningMixture
from textgen.evaluation.with_ngrams import MixtureObserver
from textgen.models.language_model import LanguageModel
from textgen.ngram.companion import Companion
from textgen.ngram.model import NGramModel
from textgen.settings.config import DynamicConfig, ModelConfig
from textgen.text.model_vocab import ModelVocab

COUNTED = np.random.default_rng(4).integers(0, 5, 400)
START, ORDER, WINDOW = 2, 4, 7
CONFIG = DynamicConfig(method="sgd", rate=0, window=WINDOW, mix=False)


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    config = ModelConfig(model_vocab_size=5, embedding_dim=6, hidden_size=12)
    return LanguageModel(config, ModelVocab.from_counts(COUNTS))


@pytest.fixture
def companion() -> Companion:
    return Companion(NGramModel.train(COUNTED, 5, ORDER, prune_from=None), 0.3)


@pytest.fixture
def token_ids() -> np.ndarray:
    return np.random.default_rng(1).choice(SEEN + UNSEEN, size=120, p=[0.2] * 4 + [0.1, 0.05, 0.05])


def read(
    model: LanguageModel,
    companion: Companion,
    token_ids: np.ndarray,
    config: DynamicConfig = CONFIG,
    *,
    weight: float | None = 0.6,
    start_id: int | None = START,
) -> tuple[Loss, LearningMixture]:
    """The loss of the network while a copy of it adapts, and the sums of the mixture."""
    costs = TokenScorer(model.vocab, TOKENIZER_SIZE - model.vocab.size)
    mixture = LearningMixture(model, companion, costs, weight)
    return dynamic_loss(model, token_ids, config, start_id, ngrams=mixture), mixture


@pytest.mark.parametrize("start_id", [START, None])
def test_each_window_is_counted_with_the_n_grams_of_the_text_before_it(
    model: LanguageModel, companion: Companion, token_ids: np.ndarray, start_id: int | None
) -> None:
    _, mixture = read(model, companion, token_ids, start_id=start_id)
    ids = model.vocab.to_model_ids(token_ids)
    costs = TokenScorer(model.vocab, TOKENIZER_SIZE - model.vocab.size)
    expected = [0.0, 0.0]
    if start_id is None:
        expected = [costs.first_nats(int(ids[0]))] * 2
    else:
        ids = np.append(start_id, ids)
    logits = model.eval()(torch.from_numpy(ids)[None])[0][0].detach()
    network = logits.double().log_softmax(-1).numpy()
    for position, token in enumerate(ids[1:].tolist(), 1):
        # The input of the window's first prediction is known, though it is learnt with the window before.
        known = ids[: (position - 1) // WINDOW * WINDOW + 1] if position > WINDOW else ids[:0]
        counted = NGramModel.train(np.concatenate([COUNTED, [5], known]), 5, ORDER, prune_from=None)
        counted = NGramModel(replace(counted.tables, discounts=companion.model.tables.discounts))
        ngrams = counted.read(ids[None, :position])[0][0, -1].astype(np.float64)
        for k, weight in enumerate((0.0, 0.6)):
            mixed = weight * network[position - 1] + (1 - weight) * ngrams
            if token == 5:
                expected[k] += costs.unseen_nats
            else:
                expected[k] += math.log(np.exp(mixed).sum()) - mixed[token] + costs.seen_nats
    assert [mixture.ngrams_nats, mixture.together_nats] == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_the_network_is_the_same_as_without_n_grams(
    model: LanguageModel, companion: Companion, token_ids: np.ndarray
) -> None:
    config = DynamicConfig(method="sgd", rate=0.5, window=WINDOW)
    loss, mixture = read(model, companion, token_ids, config)
    assert loss == dynamic_loss(model, token_ids, config, START)
    loss, mixture = read(model, companion, token_ids, replace(config, mix=False), weight=1)
    assert mixture.together_nats == pytest.approx(loss.total_nats, rel=1e-6)


# After 21 tokens, three windows, the next token begins a window; after 24 it is the fourth of its window.
@pytest.mark.parametrize("length", [21, 24])
@pytest.mark.parametrize(("mix", "weight"), [(False, 0.6), (True, None)])
def test_the_probabilities_of_the_next_token_sum_to_one_so_no_token_is_learnt_before_it_is_counted(
    model: LanguageModel,
    companion: Companion,
    token_ids: np.ndarray,
    length: int,
    mix: bool,
    weight: float | None,
) -> None:
    config = DynamicConfig(method="sgd", rate=1.0, window=WINDOW, mix=mix)

    def nats(ids: np.ndarray) -> float:
        return read(model, companion, ids, config, weight=weight)[1].together_nats

    before = nats(token_ids[:length])
    total = sum(
        math.exp(before - nats(np.append(token_ids[:length], token))) for token in range(TOKENIZER_SIZE)
    )
    assert total == pytest.approx(1, abs=1e-4)


def test_on_a_text_that_repeats_nothing_it_is_hardly_worse_than_the_static_mixture(
    model: LanguageModel, companion: Companion
) -> None:
    ids = np.array(SEEN)[np.random.default_rng(6).integers(0, 5, 400)]
    costs = TokenScorer(model.vocab, TOKENIZER_SIZE - model.vocab.size)
    observer = MixtureObserver(model, companion.model, costs, len(ids), companion.weight)
    evaluate(model, ids, vocab_size=TOKENIZER_SIZE, start_id=START, observer=observer)
    static = observer.nats[:, 1].sum()
    config = DynamicConfig(method="sgd", rate=2.0, window=5, decay=0, clip_norm=5.0)
    _, mixed = read(model, companion, ids, config, weight=1)
    _, unmixed = read(model, companion, ids, replace(config, mix=False), weight=1)
    assert unmixed.together_nats > static + 20
    assert mixed.together_nats < static + 4


def test_without_a_weight_it_is_nearly_as_good_as_with_the_best_for_each_part(
    model: LanguageModel, companion: Companion
) -> None:
    ids = np.concatenate([np.tile(SEEN, 30), np.array(SEEN)[np.random.default_rng(7).integers(0, 5, 150)]])

    def nats(weight: float | None) -> tuple[float, float]:
        first, whole = (read(model, companion, part, weight=weight)[1] for part in (ids[:150], ids))
        return first.together_nats, whole.together_nats - first.together_nats

    by_weight = np.array([nats(weight) for weight in NETWORK_WEIGHTS])  # (weights, 2)
    assert by_weight[:, 0].argmin() != by_weight[:, 1].argmin()
    assert sum(nats(None)) < by_weight.min(axis=0).sum() + 10
    assert sum(nats(None)) < np.median(by_weight.sum(axis=1)) - 20
    _, mixture = read(model, companion, ids, weight=None)
    assert mixture.weight == NETWORK_WEIGHTS[by_weight.sum(axis=1).argmin()]


def test_the_companion_has_learnt_the_text(model: LanguageModel, companion: Companion) -> None:
    ids = np.tile(SEEN, 40)
    _, mixture = read(model, companion, ids)
    learnt = mixture.companion()
    assert learnt.weight == 0.6
    history = model.vocab.to_model_ids(ids[:11])[None]
    following = int(model.vocab.to_model_ids(ids[11:12])[0])
    before, after = (np.exp(ngrams.read(history)[0][0, -1]) for ngrams in (companion.model, learnt.model))
    assert before[following] < 0.5 < 0.9 < after[following]


def test_labels_are_start_tokens_to_the_n_grams(companion: Companion) -> None:
    vocab = ModelVocab.from_counts(COUNTS)
    torch.manual_seed(0)
    config = ModelConfig(
        model_vocab_size=5, embedding_dim=6, hidden_size=12, labels=("a", "b"), start_id=START
    )
    model = LanguageModel(config, vocab)
    costs = TokenScorer(vocab, TOKENIZER_SIZE - 5)
    sums = []
    for start in (START, 5 + 1, 5 + 2):
        mixture = LearningMixture(model, companion, costs, 0.6)
        targets = torch.tensor([[1, 0, 3]])
        mixture.observe(np.array([start, 1, 0]), targets, torch.zeros(1, 3, 5), None)
        mixture.observe(np.array([3, 1, 0]), targets, torch.zeros(1, 3, 5), None)
        sums.append(mixture.ngrams_nats)
    assert sums[0] == sums[1] == sums[2]
