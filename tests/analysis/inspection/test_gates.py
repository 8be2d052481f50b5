"""The recorded gates and states agree with the fast layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from textgen.analysis.inspection.gates import record, saturation
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig

STACKS: list[dict[str, Any]] = [
    {"cell": cell, "num_layers": layers, **arrangement}
    for cell in ("lstm", "gru", "rnn")
    for layers, arrangement in ((1, {}), (3, {}), (3, {"residual": True, "layer_norm": True}))
]
LENGTH = 300  # more than one window


def make_model(**options: Any) -> LanguageModel:
    torch.manual_seed(3)
    return LanguageModel(ModelConfig(model_vocab_size=9, embedding_dim=6, hidden_size=11, **options)).eval()


@pytest.fixture
def model_ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 10, LENGTH)  # 9 is a token that training never saw


@torch.no_grad()
@pytest.mark.parametrize("start_id", [None, 4])
@pytest.mark.parametrize("options", STACKS, ids=lambda options: "-".join(map(str, options.values())))
def test_the_record_agrees_with_the_fast_layers(
    options: dict[str, Any], start_id: int | None, model_ids: np.ndarray
) -> None:
    model = make_model(**options)
    recorded = record(model, model_ids, start_id)
    state = None
    if start_id is not None:
        output, state = model.read(torch.tensor([[start_id]]))
        np.testing.assert_allclose(recorded.outputs[0], output[0, 0], atol=1e-5)
    shift = 0 if start_id is None else 1
    for place, model_id in enumerate(model_ids.tolist()):
        output, state = model.read(torch.tensor([[model_id]]), state)
        for name, part in zip(("hidden", "cell"), state, strict=False):
            np.testing.assert_allclose(recorded.series[name][:, place], part[:, 0], atol=1e-5)
        if place + shift < len(recorded.outputs):
            np.testing.assert_allclose(recorded.outputs[place + shift], output[0, 0], atol=1e-5)
    assert len(recorded.outputs) == LENGTH - 1 + shift


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("lstm", "hidden cell input forget cell_candidate output"),
        ("gru", "hidden reset update new"),
        ("rnn", "hidden"),
    ],
)
def test_the_series_have_the_names_and_shapes_expected(cell: str, names: str, model_ids: np.ndarray) -> None:
    recorded = record(make_model(cell=cell, num_layers=2), model_ids, None)
    assert list(recorded.series) == names.split()
    assert {series.shape for series in recorded.series.values()} == {(2, LENGTH, 11)}
    assert {series.dtype for series in recorded.series.values()} == {np.dtype(np.float32)}
    assert not {"cell_candidate", "new", "hidden"} & set(recorded.gates)


def test_the_states_follow_from_the_gates(model_ids: np.ndarray) -> None:
    lstm = record(make_model(cell="lstm", num_layers=2), model_ids, None).series
    before = np.concatenate([np.zeros_like(lstm["cell"][:, :1]), lstm["cell"][:, :-1]], axis=1)
    cell = lstm["forget"] * before + lstm["input"] * lstm["cell_candidate"]
    np.testing.assert_allclose(lstm["cell"], cell, atol=1e-6)
    np.testing.assert_allclose(lstm["hidden"], lstm["output"] * np.tanh(cell), atol=1e-6)
    gru = record(make_model(cell="gru", num_layers=2), model_ids, None).series
    before = np.concatenate([np.zeros_like(gru["hidden"][:, :1]), gru["hidden"][:, :-1]], axis=1)
    hidden = (1 - gru["update"]) * gru["new"] + gru["update"] * before
    np.testing.assert_allclose(gru["hidden"], hidden, atol=1e-6)


def test_the_state_is_that_of_the_cell_if_there_is_one(model_ids: np.ndarray) -> None:
    for cell, name in (("lstm", "cell"), ("gru", "hidden"), ("rnn", "hidden")):
        recorded = record(make_model(cell=cell), model_ids, None)
        assert recorded.state is recorded.series[name]


def test_saturation_is_the_share_of_tokens_below_a_tenth_and_above_nine_tenths() -> None:
    """As Karpathy, Johnson & Fei-Fei, 2015, define left- and right-saturated gates."""
    gate = np.array([[[0.05, 0.5], [0.09, 0.95], [0.11, 0.91], [0.95, 0.89]]])  # (1, 4 tokens, 2 units)
    shut, is_open = saturation(gate)
    assert shut.tolist() == [[0.5, 0.0]]
    assert is_open.tolist() == [[0.25, 0.5]]


def test_progress_is_reported_up_to_the_end(model_ids: np.ndarray) -> None:
    reported: list[tuple[int, int]] = []
    record(make_model(cell="gru"), model_ids, None, lambda *done: reported.append(done))
    assert reported == [(256, LENGTH), (LENGTH, LENGTH)]
