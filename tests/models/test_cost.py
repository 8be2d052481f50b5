"""Costs from the shapes are those of the networks themselves."""

from __future__ import annotations

from typing import Any

import pytest

from textgen.models.cost import CLOSE, matched_hidden_size, multiply_adds, num_parameters
from textgen.models.language_model import LanguageModel
from textgen.settings.config import CELLS, ModelConfig

ARRANGEMENTS: list[dict[str, Any]] = [
    {},
    {"num_layers": 3, "layer_norm": True, "residual": True},
    {"tie_weights": True},
    {"tie_weights": True, "embedding_dim": 24, "num_layers": 2},
]


def config(**settings: Any) -> ModelConfig:
    return ModelConfig(**{"model_vocab_size": 31, "embedding_dim": 12, "hidden_size": 24} | settings)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=str)
def test_parameters_are_those_that_the_network_learns(cell: str, arrangement: dict[str, Any]) -> None:
    network = config(cell=cell, **arrangement)
    assert num_parameters(network) == LanguageModel(network).num_parameters


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=str)
def test_multiply_adds_are_the_numbers_of_all_matrices_but_the_embedding(
    cell: str, arrangement: dict[str, Any]
) -> None:
    network = config(cell=cell, **arrangement)
    model = LanguageModel(network)
    matrices = [weight for weight in model.layers.parameters() if weight.dim() == 2]
    matrices += [model.head.weight, *([model.projection.weight] if model.projection is not None else [])]
    assert multiply_adds(network) == sum(weight.numel() for weight in matrices)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reference", CELLS)
@pytest.mark.parametrize("size", [128, 256, 384, 1024])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_matched_sizes_have_as_many_parameters(cell: str, reference: str, size: int, num_layers: int) -> None:
    network = config(
        cell=reference, hidden_size=size, num_layers=num_layers, model_vocab_size=65, embedding_dim=64
    )
    units = matched_hidden_size(network, cell)
    matched = config(
        cell=cell, hidden_size=units, num_layers=num_layers, model_vocab_size=65, embedding_dim=64
    )
    assert abs(num_parameters(matched) / num_parameters(network) - 1) <= CLOSE
    if cell == reference:
        assert units == size
    elif size >= 384:
        assert units % 4 == 0  # whole blocks


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_small_network_is_matched_as_nearly_as_whole_units_allow(size: int) -> None:
    def parameters(cell: str, units: int) -> int:
        return num_parameters(config(cell=cell, hidden_size=units, embedding_dim=1, model_vocab_size=2))

    wanted = parameters("lstm", size)
    units = matched_hidden_size(config(hidden_size=size, embedding_dim=1, model_vocab_size=2), "rnn")
    assert units == min(range(1, 20), key=lambda size: abs(parameters("rnn", size) - wanted))
