"""The losses of network, n-grams and both, against their definition; and the weight of the mixture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textgen.evaluation.evaluate import TokenScorer, evaluate, evaluate_whole, evaluate_with_resets
from textgen.evaluation.score import Scorer
from textgen.evaluation.with_ngrams import (
    FIT_SEGMENTS,
    GRID,
    MixtureObserver,
    fit,
    grid_nats,
    mixture_nats,
)
from textgen.generation.mixed_engine import MixedEngine
from textgen.generation.numpy_engine.engine import NumpyEngine
from textgen.models.language_model import LanguageModel
from textgen.ngram.companion import Companion
from textgen.ngram.model import NGramModel
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

TEXT = "".join(f"{n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(200))
OTHER = "".join(f"{n % 3} cats and {n % 8} dogs of {n * 7 % 89} streets!\n" for n in range(60))
WEIGHT = 0.4


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train("char", [TEXT])


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> LanguageModel:
    ids = tokenizer.encode(TEXT)
    vocab = ModelVocab.from_counts(np.bincount(ids, minlength=tokenizer.vocab_size))
    torch.manual_seed(3)
    return LanguageModel(ModelConfig(model_vocab_size=vocab.size, hidden_size=16, embedding_dim=8), vocab)


@pytest.fixture(scope="module")
def ngrams(model: LanguageModel, tokenizer: Tokenizer) -> NGramModel:
    return NGramModel.train(model.vocab.to_model_ids(tokenizer.encode(TEXT)), model.vocab.size, 5)


def observer(
    model: LanguageModel, ngrams: NGramModel, tokenizer: Tokenizer, num_tokens: int, weight: float | None
) -> MixtureObserver:
    costs = TokenScorer(model.vocab, tokenizer.vocab_size - model.vocab.size)
    return MixtureObserver(model, ngrams, costs, num_tokens, weight)


def test_the_grid_is_the_mixture_at_each_of_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    network, ngrams = (
        (scale * torch.randn(3, 20, 30, generator=generator)).log_softmax(-1) for scale in (1.0, 8.0)
    )
    targets = torch.randint(0, 30, (3, 20), generator=generator)
    grid = grid_nats(network, ngrams, targets)
    assert grid.shape == (GRID + 1, 3, 20)
    for k, nats in enumerate(grid):
        expected = mixture_nats(network.double(), ngrams.double(), targets, k / GRID)
        torch.testing.assert_close(nats.double(), expected, atol=2e-4, rtol=1e-4)
    monkeypatch.setattr("textgen.evaluation.with_ngrams.LOGITS", 7 * network[:, 0].numel())
    torch.testing.assert_close(grid_nats(network, ngrams, targets), grid)


@pytest.mark.parametrize("weight", [WEIGHT, None])
def test_the_three_losses_are_those_of_evaluate_of_the_n_grams_and_of_score(
    model: LanguageModel, ngrams: NGramModel, tokenizer: Tokenizer, weight: float | None
) -> None:
    ids = tokenizer.encode(OTHER)  # with a token that training never saw
    start = int(model.vocab.to_model_ids(tokenizer.encode("\n"))[0])
    watching = observer(model, ngrams, tokenizer, len(ids), weight)
    loss = evaluate(model, ids, vocab_size=tokenizer.vocab_size, start_id=start, observer=watching)
    nats = watching.nats.sum(axis=0)
    assert (watching.tokens.sum(), watching.unseen.sum()) == (len(ids), loss.unseen_tokens)
    assert loss.unseen_tokens > 0
    assert nats[-1] == pytest.approx(loss.total_nats, rel=1e-5)
    engine = NumpyEngine(model.config, model.weights())
    for place, at in ((0, 0.0), (1 if weight else round(WEIGHT * GRID), WEIGHT)):
        scorer = Scorer(MixedEngine(engine, Companion(ngrams, at)), tokenizer)
        expected = sum(piece.nats.sum() for piece in scorer.read([OTHER]))
        assert nats[place] == pytest.approx(expected, rel=1e-5)


def test_contexts_are_reset_with_the_state(
    model: LanguageModel, ngrams: NGramModel, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode(TEXT[:400])
    settings = {"vocab_size": tokenizer.vocab_size, "start_id": 0}
    carried, often = (observer(model, ngrams, tokenizer, 400, WEIGHT) for _ in range(2))
    evaluate(model, ids, **settings, observer=carried)
    evaluate_with_resets(model, ids, **settings, reset_every=2, observer=often)
    assert often.tokens.sum() == 400
    assert often.nats[:, 0].sum() > 1.2 * carried.nats[:, 0].sum()
    # With resets farther apart than contexts are long, and read as one text, it is the same.
    whole, seldom = (observer(model, ngrams, tokenizer, 400, WEIGHT) for _ in range(2))
    evaluate_whole(model, ids, **settings, observer=whole)
    evaluate_with_resets(model, ids, **settings, reset_every=400, observer=seldom)
    assert whole.nats == pytest.approx(carried.nats)
    assert seldom.nats == pytest.approx(carried.nats)


def test_a_weight_is_judged_on_the_half_that_it_is_not_fitted_on(
    model: LanguageModel, ngrams: NGramModel, tokenizer: Tokenizer
) -> None:
    # n-grams predict the first half well and the second badly, so that each half wants another weight.
    rng = np.random.default_rng(0)
    noise = "".join(rng.permutation(list(TEXT))[:2000])
    ids = tokenizer.encode(TEXT[:2000] + noise)
    start = int(model.vocab.to_model_ids(tokenizer.encode("\n"))[0])
    settings = {"vocab_size": tokenizer.vocab_size, "start_id": start}
    found = fit(model, ngrams, ids, **settings)
    watching = observer(model, ngrams, tokenizer, len(ids), None)
    evaluate(model, ids, **settings, observer=watching)
    assert watching.tokens.tolist() == [2000, 2000]
    first, second = watching.nats
    assert first.argmin() < second.argmin()
    both = first + second
    assert found.weight == both.argmin() / GRID
    assert found.losses.together.total_nats == pytest.approx(first[second.argmin()] + second[first.argmin()])
    assert found.losses.together.total_nats > both.min()
    assert found.losses.ngrams.total_nats == pytest.approx(both[0])
    assert found.losses.network.total_nats == pytest.approx(both[-1])


def test_a_first_token_without_a_start_token_counts_by_its_frequency(
    model: LanguageModel, ngrams: NGramModel, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode(TEXT[:300])
    losses = fit(model, ngrams, ids, vocab_size=tokenizer.vocab_size, start_id=None).losses
    assert [loss.tokens for loss in losses] == [300] * 3
    whole = evaluate(model, ids, vocab_size=tokenizer.vocab_size, start_id=None)
    assert losses.network.total_nats == pytest.approx(whole.total_nats, rel=1e-6)


def test_of_a_long_text_spread_segments_are_read(
    model: LanguageModel, ngrams: NGramModel, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.evaluation.with_ngrams.FIT_TOKENS", 3200)
    ids = tokenizer.encode(TEXT + TEXT[::-1])  # what is easy first, what is hard then
    losses = fit(model, ngrams, ids, vocab_size=tokenizer.vocab_size, start_id=0).losses
    assert losses.network.tokens == 3200 == 200 * FIT_SEGMENTS
    half = len(ids) // 2
    easy, hard = (
        fit(model, ngrams, part, vocab_size=tokenizer.vocab_size, start_id=0).losses.ngrams.nats_per_token
        for part in (ids[:half], ids[half:])
    )
    assert losses.ngrams.nats_per_token == pytest.approx((easy + hard) / 2, rel=0.1)
