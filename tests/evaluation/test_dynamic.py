"""Dynamic evaluation against its definition: each window is counted before the step that learns from it."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.evaluation.conftest import COUNTS, SEEN, TOKENIZER_SIZE, UNSEEN, dynamic_loss
from textgen.errors import CorpusError, TrainingError
from textgen.evaluation.dynamic import (
    RMS_FACTOR,
    RMS_FLOOR,
    DynamicWeights,
    evaluate_dynamically,
    root_mean_squares,
)
from textgen.evaluation.evaluate import evaluate, evaluate_with_resets
from textgen.models.language_model import LanguageModel
from textgen.settings.config import DynamicConfig, ModelConfig
from textgen.text.model_vocab import ModelVocab

CONFIG = DynamicConfig(method="sgd", rate=0.5, window=7, decay=0.01, clip_norm=0.3, mix=False)


def tiny_model(cell: str = "lstm") -> LanguageModel:
    torch.manual_seed(0)
    config = ModelConfig(
        model_vocab_size=5, embedding_dim=6, hidden_size=12, num_layers=2, cell=cell, dropout=0.5
    )
    return LanguageModel(config, ModelVocab.from_counts(COUNTS)).train()


@pytest.fixture
def model() -> LanguageModel:
    return tiny_model()


@pytest.fixture
def token_ids() -> np.ndarray:
    return np.random.default_rng(1).choice(SEEN + UNSEEN, size=150, p=[0.2] * 4 + [0.1, 0.05, 0.05])


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("start_id", [2, None])
def test_rate_0_equals_static_evaluation(cell: str, start_id: int | None, token_ids: np.ndarray) -> None:
    model = tiny_model(cell)
    dynamic = dynamic_loss(model, token_ids, DynamicConfig(method="sgd", rate=0, window=7), start_id)
    static = evaluate(model, token_ids, vocab_size=TOKENIZER_SIZE, start_id=start_id)
    assert dynamic.total_nats == pytest.approx(static.total_nats, rel=1e-6)
    assert (dynamic.tokens, dynamic.unseen_tokens) == (static.tokens, static.unseen_tokens)
    assert static.unseen_tokens > 0


# After 21 tokens, three windows, the next token begins a window; after 24 it is the fourth of its window.
@pytest.mark.parametrize("length", [21, 24])
@pytest.mark.parametrize("method", ["sgd", "rms"])
def test_the_probabilities_of_the_next_token_sum_to_one_so_no_token_is_learned_before_it_is_counted(
    model: LanguageModel, token_ids: np.ndarray, method: str, length: int
) -> None:
    config = DynamicConfig(method=method, rate=2.0, window=7, decay=0.01)
    scales = root_mean_squares(model, np.repeat(SEEN, 9), 7) if method == "rms" else None
    before = dynamic_loss(model, token_ids[:length], config, root_mean_squares=scales).total_nats
    total = 0.0
    for token_id in range(TOKENIZER_SIZE):
        text = np.append(token_ids[:length], token_id)
        total += math.exp(before - dynamic_loss(model, text, config, root_mean_squares=scales).total_nats)
    assert total == pytest.approx(1, abs=1e-4)


def test_the_loss_of_a_beginning_does_not_depend_on_what_follows(
    model: LanguageModel, token_ids: np.ndarray
) -> None:
    reported: list[float] = []

    class Recording(LanguageModel):
        def forward(self, tokens, state=None):  # type: ignore[no-untyped-def]
            logits, state = super().forward(tokens, state)
            reported.append(float(logits.detach().sum()))
            return logits, state

    model.__class__ = Recording
    dynamic_loss(model, token_ids, CONFIG)
    whole = reported.copy()
    reported.clear()
    dynamic_loss(model, token_ids[: 9 * 7], CONFIG)
    assert reported == whole[:9]


def slow(
    model: LanguageModel, token_ids: np.ndarray, config: DynamicConfig, scales: list[torch.Tensor] | None
) -> tuple[float, LanguageModel]:
    """The definition, window by window, with the gradients that autograd leaves on the parameters."""
    model = copy.deepcopy(model).eval()
    trained = [parameter.detach().clone() for parameter in model.parameters()]
    mean = sum(float(s.sum()) for s in scales) / model.num_parameters if scales else 1.0
    model_ids = torch.from_numpy(np.append(2, model.vocab.to_model_ids(token_ids)))[None]
    total, state = 0.0, None
    for start in range(0, len(token_ids), config.window):
        part = model_ids[:, start : start + config.window + 1]
        logits, state = model(part[:, :-1], state)
        loss = cross_entropy(logits[0], part[0, 1:], reduction="sum")
        total += float(loss.detach())
        model.zero_grad()
        (loss / config.window).backward()
        state = tuple(tensor.detach() for tensor in state)
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model.parameters() if p.grad is not None))
        clip = min(1.0, config.clip_norm / norm)
        for index, parameter in enumerate(model.parameters()):
            assert parameter.grad is not None
            relative = scales[index] / mean if scales else torch.ones(())
            divisor = RMS_FACTOR * (relative + RMS_FLOOR) if scales else torch.ones(())
            back = (config.decay * relative).clamp(max=1) * (trained[index] - parameter.data)
            parameter.data += back - config.rate * clip * parameter.grad / divisor
    return total, model


@pytest.mark.parametrize("method", ["sgd", "rms"])
@pytest.mark.parametrize("clip_norm", [0.3, 100.0])
def test_each_step_follows_the_equation(
    model: LanguageModel, token_ids: np.ndarray, method: str, clip_norm: float
) -> None:
    config = DynamicConfig(method=method, rate=0.5, window=7, decay=0.05, clip_norm=clip_norm, mix=False)
    seen = token_ids[np.isin(token_ids, SEEN)]
    scales = root_mean_squares(model, seen, 7) if method == "rms" else None
    expected_nats, expected = slow(model, seen, config, scales)
    loss = evaluate_dynamically(
        model, seen, vocab_size=5, start_id=2, config=config, root_mean_squares=scales
    )
    assert loss.total_nats == pytest.approx(expected_nats, rel=1e-5)
    for moved, parameter in zip(model.parameters(), expected.parameters(), strict=True):
        # Rounding errors in float32 accumulate from step to step.
        torch.testing.assert_close(moved, parameter, rtol=1e-4, atol=1e-5)


def test_decay_moves_a_fraction_of_the_way_back_to_the_trained_weights(model: LanguageModel) -> None:
    trained = [parameter.detach().clone() for parameter in model.parameters()]
    weights = DynamicWeights(model, DynamicConfig(method="sgd", rate=0, decay=0.25))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    weights.step(model(torch.tensor([[1, 2]]))[0].sum())
    for parameter, start in zip(model.parameters(), trained, strict=True):
        torch.testing.assert_close(parameter.detach(), start + 0.75)


def test_weights_return_to_the_trained_ones_when_there_is_no_gradient(
    model: LanguageModel, token_ids: np.ndarray
) -> None:
    config = DynamicConfig(method="sgd", rate=0.5, window=7, decay=0.2)
    text = np.concatenate([np.repeat(3, 70), np.repeat(UNSEEN, 200)])
    trained = copy.deepcopy(model)
    evaluate_dynamically(model, text, vocab_size=TOKENIZER_SIZE, start_id=2, config=config)
    for parameter, start in zip(model.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(parameter, start, rtol=1e-5, atol=1e-6)


def test_on_noise_the_mixture_is_hardly_worse_than_static_evaluation(
    model: LanguageModel,
) -> None:
    noise = np.random.default_rng(5).choice(SEEN, size=800)
    static = evaluate(model, noise, vocab_size=TOKENIZER_SIZE, start_id=2).nats_per_token
    config = {"method": "sgd", "rate": 2.0, "window": 5, "decay": 0.0, "clip_norm": 5.0}
    unmixed = dynamic_loss(model, noise, DynamicConfig(**config, mix=False)).nats_per_token
    mixed = dynamic_loss(model, noise, DynamicConfig(**config)).nats_per_token
    assert unmixed > static + 0.1
    assert mixed < static + 0.005


def test_on_a_repetitive_text_the_mixture_is_nearly_as_good_as_dynamic_weights(model: LanguageModel) -> None:
    text = np.tile(SEEN, 100)
    config = {"method": "sgd", "rate": 0.5, "window": 5, "decay": 0.0}
    static = evaluate(model, text, vocab_size=TOKENIZER_SIZE, start_id=2).nats_per_token
    followed = dynamic_loss(model, text, DynamicConfig(**config, mix=False)).nats_per_token
    mixed = dynamic_loss(model, text, DynamicConfig(**config)).nats_per_token
    assert followed < 0.8 * static
    assert mixed == pytest.approx(followed, abs=0.02)


def test_unseen_tokens_cost_the_same_and_change_no_weights(model: LanguageModel) -> None:
    before = copy.deepcopy(model)
    ids = np.array(UNSEEN * 10)
    static = evaluate(model, ids, vocab_size=TOKENIZER_SIZE, start_id=2)
    dynamic = evaluate_dynamically(model, ids, vocab_size=TOKENIZER_SIZE, start_id=2, config=CONFIG)
    assert dynamic.unseen_tokens == 20
    assert dynamic.total_nats == pytest.approx(static.total_nats, rel=1e-6)
    for parameter, start in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, start)


@pytest.mark.parametrize("start_id", [2, None])
@pytest.mark.parametrize("token_id", [SEEN[0], UNSEEN[0]])
def test_a_text_of_one_token_costs_the_same_as_in_static_evaluation(
    model: LanguageModel, start_id: int | None, token_id: int
) -> None:
    ids = np.array([token_id])
    dynamic = dynamic_loss(model, ids, CONFIG, start_id)
    static = evaluate(model, ids, vocab_size=TOKENIZER_SIZE, start_id=start_id)
    assert dynamic.total_nats == pytest.approx(static.total_nats, rel=1e-6)
    assert (dynamic.tokens, dynamic.unseen_tokens) == (1, static.unseen_tokens)


@pytest.mark.parametrize("rate", [1e5, 1e6])
def test_diverged_weights_are_an_error_that_suggests_a_lower_rate(
    model: LanguageModel, token_ids: np.ndarray, rate: float
) -> None:
    with pytest.raises(TrainingError, match="lower rate"):
        dynamic_loss(model, token_ids, DynamicConfig(method="sgd", rate=rate, window=7, clip_norm=1e9))


def test_the_mode_of_the_model_is_restored_and_progress_is_reported_to_the_end(
    model: LanguageModel, token_ids: np.ndarray
) -> None:
    reported: list[tuple[int, int]] = []
    evaluate_dynamically(
        model,
        token_ids,
        vocab_size=TOKENIZER_SIZE,
        start_id=2,
        config=CONFIG,
        progress=lambda *done: reported.append(done),
    )
    assert model.training
    assert reported[0] == (7, 150)
    assert reported[-1] == (150, 150)


# ---- the scales of rms


def test_the_scales_are_root_mean_squares_of_window_gradients(model: LanguageModel) -> None:
    ids = np.array([3, 5, 5])  # two pairs in two streams: one window of one token each, in either order
    found = root_mean_squares(model, ids, window=1)
    model_ids = torch.from_numpy(model.vocab.to_model_ids(ids))
    logits, _ = model.eval()(model_ids[:2, None])
    expected = torch.autograd.grad(cross_entropy(logits[:, 0], model_ids[1:]), list(model.parameters()))
    for root, gradient in zip(found, expected, strict=True):
        torch.testing.assert_close(root, gradient.abs(), rtol=1e-4, atol=1e-7)


def test_computing_scales_does_not_change_the_model_and_needs_two_tokens(
    model: LanguageModel, token_ids: np.ndarray
) -> None:
    before = copy.deepcopy(model)
    seen = token_ids[np.isin(token_ids, SEEN)]
    assert all(root.isfinite().all() and (root > 0).any() for root in root_mean_squares(model, seen, 5))
    assert model.training
    for parameter, start in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, start)
    with pytest.raises(CorpusError, match="too few"):
        root_mean_squares(model, seen[:1], 5)


# ---- its purpose


def languages(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Two noisy texts over the same tokens: one counts up, the other down."""
    rng = np.random.default_rng(0)
    noise = np.where(rng.random((2, length)) < 0.1, rng.integers(0, 5, (2, length)), 0)
    steps = np.array([[1], [-1]]) + noise
    up, down = np.cumsum(steps, axis=1) % 5
    return up, down


@pytest.mark.parametrize("method", ["sgd", "rms"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_adapted_to_one_of_two_languages_predict_it_better_from_then_on(
    method: str, cell: str
) -> None:
    torch.manual_seed(1)
    up, down = languages(1500)
    # Trained on single tokens without a state, the model cannot tell which of the two languages it reads.
    model = LanguageModel(ModelConfig(model_vocab_size=5, embedding_dim=8, hidden_size=16, cell=cell))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    inputs = torch.from_numpy(np.concatenate([up[:-1], down[:-1]]))[:, None]
    targets = torch.from_numpy(np.concatenate([up[1:], down[1:]]))
    for _ in range(60):
        loss = cross_entropy(model(inputs)[0][:, 0], targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    config = DynamicConfig(method=method)
    scales = root_mean_squares(model, np.concatenate([up, down]), 20) if method == "rms" else None
    first, rest = up[:1000], up[1000:]
    static = evaluate_with_resets(model, first, vocab_size=5, start_id=0, reset_every=1).nats_per_token
    before = evaluate(model, rest, vocab_size=5, start_id=0).nats_per_token
    dynamic = evaluate_dynamically(
        model, first, vocab_size=5, start_id=0, config=config, root_mean_squares=scales
    ).nats_per_token
    after = evaluate(model, rest, vocab_size=5, start_id=0).nats_per_token
    assert dynamic < static - 0.1
    assert after < before - 0.1
