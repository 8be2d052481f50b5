"""Gradient norms agree with finite differences, products of Jacobians and a linear network's closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.analysis.memory import gradients
from textgen.analysis.memory.gradients import (
    WARM_UP,
    GradientNorms,
    Positions,
    draw_positions,
    gradient_norms,
    relative,
    steps_to,
)
from textgen.errors import CorpusError
from textgen.models.cells import CELLS, State
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab

VOCAB, HIDDEN, STEPS = 5, 4, 6
every_cell = pytest.mark.parametrize("cell", CELLS)
ARRANGEMENTS = [
    {},
    {"num_layers": 2},
    {"num_layers": 3, "residual": True},
    {"num_layers": 2, "layer_norm": True},
    {"num_layers": 2, "residual": True, "layer_norm": True, "tie_weights": True},
]
TEXT = np.random.default_rng(1).integers(0, VOCAB, 60)
POSITIONS = Positions(np.array([20, 31, 58]), STEPS, warm_up=9)


def make(cell: str, **arrangement: object) -> LanguageModel:
    """A network in float64 with random weights."""
    torch.manual_seed(3)
    sizes = {"model_vocab_size": VOCAB, "embedding_dim": 3, "hidden_size": HIDDEN}
    model = LanguageModel(ModelConfig(cell=cell, **(sizes | arrangement))).double().eval()
    model.compute_dtype = torch.float64
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.8, 0.8)
    return model


@torch.no_grad()
def state_at(model: LanguageModel, end: int, k: int) -> State:
    """state(t-k), t = end, read as gradient_norms reads it."""
    start = end - STEPS - POSITIONS.warm_up + 1
    return model.read(torch.from_numpy(TEXT[None, start : end - k + 1]))[1]


@torch.no_grad()
def loss_from(model: LanguageModel, state: State, end: int, k: int) -> float:
    """loss(t) when the network is in `state` after token t-k, k >= 1."""
    logits, _ = model(torch.from_numpy(TEXT[None, end - k + 1 : end + 1]), state)
    return float(cross_entropy(logits[0, -1], torch.tensor(TEXT[end + 1])))


def by_differences(model: LanguageModel, end: int, k: int) -> list[np.ndarray]:
    """d loss(t) / d state(t-k) by part, from two losses for each element of the state."""
    state = state_at(model, end, k)
    found = []
    for part in range(len(state)):
        slopes = np.zeros(state[part].numel())
        for index in range(len(slopes)):
            losses = []
            for nudge in (1e-5, -1e-5):
                nudged = [each.clone() for each in state]
                nudged[part].view(-1)[index] += nudge
                losses.append(loss_from(model, tuple(nudged), end, k))
            slopes[index] = (losses[0] - losses[1]) / 2e-5
        found.append(slopes)
    return found


@every_cell
@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=" ".join)
def test_the_norms_agree_with_finite_differences(cell: str, arrangement: dict[str, object]) -> None:
    model = make(cell, **arrangement)
    norms = gradient_norms(model, TEXT, POSITIONS).by_part
    for row, end in enumerate(POSITIONS.ends.tolist()):
        for k in (1, 2, STEPS):
            slopes = by_differences(model, end, k)
            whole = np.linalg.norm(np.concatenate(slopes))
            assert norms["state"][row, k] == pytest.approx(whole, rel=1e-5)
            if cell == "lstm":
                assert norms["hidden"][row, k] == pytest.approx(np.linalg.norm(slopes[0]), rel=1e-5)
                assert norms["cell"][row, k] == pytest.approx(np.linalg.norm(slopes[1]), rel=1e-5)
    assert set(norms) == ({"state", "hidden", "cell"} if cell == "lstm" else {"state"})


@every_cell
@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=" ".join)
def test_the_input_of_the_head_follows_from_the_state(cell: str, arrangement: dict[str, object]) -> None:
    model = make(cell, **arrangement)
    outputs, state = model.read(torch.from_numpy(TEXT[None, :7]))
    torch.testing.assert_close(gradients._outputs(model.layers, state), outputs[:, -1])


@every_cell
def test_at_k_0_the_gradient_comes_from_the_head_only_and_the_cell_has_none(cell: str) -> None:
    model = make(cell)
    norms = gradient_norms(model, TEXT, POSITIONS).by_part
    for row, end in enumerate(POSITIONS.ends.tolist()):
        hidden = state_at(model, end, 0)[0][0, 0]
        errors = torch.softmax(model.head(hidden), dim=0).detach()
        errors[TEXT[end + 1]] -= 1
        assert norms["state"][row, 0] == pytest.approx(float((errors @ model.head.weight.detach()).norm()))
    if cell == "lstm":
        assert (norms["cell"][:, 0] == 0).all()


def test_in_a_plain_rnn_the_norms_are_those_of_products_of_jacobians() -> None:
    """Each is diag(1 - h^2) U: Pascanu, Mikolov & Bengio 2013, equation 5."""
    model = make("rnn")
    norms = gradient_norms(model, TEXT, POSITIONS).by_part["state"]
    recurrent = model.layers.layer_weights(0).weight_hh.detach()
    for row, end in enumerate(POSITIONS.ends.tolist()):
        hidden = state_at(model, end, 0)[0][0, 0]
        errors = torch.softmax(model.head(hidden), dim=0).detach()
        errors[TEXT[end + 1]] -= 1
        gradient: Tensor = errors @ model.head.weight.detach()
        for k in range(STEPS):
            assert norms[row, k] == pytest.approx(float(gradient.norm()))
            hidden = state_at(model, end, k)[0][0, 0]
            gradient = (gradient * (1 - hidden**2)) @ recurrent


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_in_a_linear_rnn_the_norm_shrinks_or_grows_by_the_same_factor_at_each_step(factor: float) -> None:
    """Bengio, Simard & Frasconi 1994: exponentially, by how far a step shrinks what it is applied to."""
    model = make("rnn")
    weights = model.layers.layer_weights(0)
    with torch.no_grad():
        # So near 0 that tanh is the identity; a rotation shrinks nothing, so the factor is all there is.
        for tensor in (model.embedding.weight, weights.bias_ih, weights.bias_hh):
            tensor *= 1e-8
        weights.weight_hh.copy_(factor * torch.linalg.qr(weights.weight_hh)[0])
    norms = gradient_norms(model, TEXT, POSITIONS)
    expected = factor ** np.arange(STEPS + 1)
    for curve in (norms.mean(), norms.median(), norms.quantile(0.9)):
        np.testing.assert_allclose(relative(curve, curve[0]), expected, rtol=1e-9)


def test_the_norms_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("lstm", num_layers=2)
    reported: list[tuple[int, int]] = []
    in_one_batch = gradient_norms(model, TEXT, POSITIONS).by_part
    monkeypatch.setattr(gradients, "MAX_BATCH", 2)
    in_batches = gradient_norms(model, TEXT, POSITIONS, lambda *done: reported.append(done)).by_part
    assert reported == [(2, 3), (3, 3)]
    for part, norms in in_one_batch.items():
        np.testing.assert_allclose(in_batches[part], norms, rtol=1e-12)


def test_float32_agrees_with_float64_even_where_squared_gradients_underflow() -> None:
    model = make("rnn")
    with torch.no_grad():
        model.layers.layer_weights(0).weight_hh.mul_(1e-5)
    exact = gradient_norms(model, TEXT, POSITIONS).by_part["state"]
    model.float().compute_dtype = torch.float32
    assert 0 < exact[:, -1].max() < 1e-25
    np.testing.assert_allclose(gradient_norms(model, TEXT, POSITIONS).by_part["state"], exact, rtol=1e-4)


# ---- where to measure

SEEN = ModelVocab.from_counts(np.array([1, 1, 1, 1, 0]))


@pytest.mark.parametrize(
    ("length", "steps", "warm_up"), [(2000, 20, WARM_UP), (100, 20, 39), (24, 20, 1), (5, 1, 1)]
)
def test_positions_stay_within_the_text_and_before_a_token_that_training_saw(
    length: int, steps: int, warm_up: int
) -> None:
    text = np.random.default_rng(2).integers(0, 5, length)
    text[-3:] = 1
    positions = draw_positions(SEEN, text, steps=steps, count=400)
    assert positions.warm_up == warm_up
    assert positions.ends.min() - steps - warm_up + 1 >= 0
    assert positions.ends.max() + 1 < length
    assert (np.diff(positions.ends) > 0).all()
    assert (text[positions.ends + 1] < 4).all()
    assert np.array_equal(positions.ends, draw_positions(SEEN, text, steps=steps, count=400).ends)


def test_the_number_of_positions_asked_for_is_drawn_from_the_whole_text() -> None:
    positions = draw_positions(SEEN, np.zeros(100_000, np.uint8), steps=10, count=50)
    assert len(positions.ends) == 50
    assert np.histogram(positions.ends, bins=4, range=(0, 100_000))[0].min() > 5


def test_a_text_with_no_position_to_measure_is_refused() -> None:
    with pytest.raises(CorpusError, match="has 23 tokens, too few to look 20 steps back: at least 24"):
        draw_positions(SEEN, np.zeros(23, np.int64), steps=20, count=5)
    with pytest.raises(CorpusError, match="no token that occurs in training"):
        draw_positions(SEEN, np.full(100, 4), steps=20, count=5)


# ---- statistics


def test_the_statistics_are_over_positions() -> None:
    norms = GradientNorms({"state": np.array([[4.0, 0.0], [2.0, 1.0], [9.0, 5.0]])})
    assert norms.mean().tolist() == [5.0, 2.0]
    assert norms.median().tolist() == [4.0, 1.0]
    assert norms.quantile(0.1).tolist() == pytest.approx([2.4, 0.2])


@pytest.mark.parametrize(
    ("norms", "steps"),
    [
        ([2.0, 1.0, 0.021, 0.019], 3),
        ([2.0, 0.019, 0.03, 0.01], 3),  # it rises again: only the last crossing counts
        ([2.0, 0.0, 0.0, 0.0], 1),
        ([2.0, 0.1, 0.02, 0.02], None),
        ([0.0, 0.0, 0.0, 0.0], None),
        ([2.0, 0.01, np.nan, 0.01], 3),
        ([2.0, 0.01, 0.01, np.nan], None),
        ([np.inf, 1.0, 1.0, 1.0], None),
    ],
)
def test_steps_to_a_share_count_until_the_norm_stays_below_it(norms: list[float], steps: int | None) -> None:
    assert steps_to(np.array(norms), 0.01) == steps
