"""The shapes that are written down are those of the networks; weights that do not fit them are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from textgen.errors import ConfigError, RunError
from textgen.models.language_model import LanguageModel
from textgen.settings.cells import CELL_SPECS
from textgen.settings.config import ModelConfig
from textgen.weights.shapes import check_weights, parameter_shapes, stack_shapes, weight_shapes

ARRANGEMENTS: list[dict[str, Any]] = [
    {},
    {"num_layers": 3, "layer_norm": True, "residual": True},
    {"tie_weights": True},
    {"tie_weights": True, "embedding_dim": 24, "num_layers": 2},
]


def config(**settings: Any) -> ModelConfig:
    return ModelConfig(**{"model_vocab_size": 31, "embedding_dim": 12, "hidden_size": 24} | settings)


@pytest.mark.parametrize("cell", CELL_SPECS)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids=str)
def test_they_are_the_arrays_and_the_parameters_of_the_network(
    cell: str, arrangement: dict[str, Any]
) -> None:
    network = config(cell=cell, **arrangement)
    model = LanguageModel(network)
    weights = model.weights()
    assert weight_shapes(network) == {name: array.shape for name, array in weights.items()}
    parameters = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert parameter_shapes(network) == parameters  # named_parameters has tied ones once
    check_weights(network, weights)


def test_a_stacks_arrays_are_named_as_torch_names_them_from_the_first_layer_up() -> None:
    assert stack_shapes("gru", 5, 7, 2, residual=True, layer_norm=True) == {
        "weight_ih_l0": (21, 5),
        "weight_hh_l0": (21, 7),
        "bias_ih_l0": (21,),
        "bias_hh_l0": (21,),
        "norm_weight_l0": (7,),
        "norm_bias_l0": (7,),
        "weight_ih_l1": (21, 7),
        "weight_hh_l1": (21, 7),
        "bias_ih_l1": (21,),
        "bias_hh_l1": (21,),
        "norm_weight_l1": (7,),
        "norm_bias_l1": (7,),
        "residual_mark": (1,),
    }
    with pytest.raises(ConfigError, match="unknown cell 'gur'; did you mean 'gru'"):
        stack_shapes("gur", 5, 7, 2)


def test_what_does_not_fit_is_named_in_one_line_that_stays_short() -> None:
    network = config(num_layers=2)
    weights = LanguageModel(network).weights()
    weights["head.bias"] = weights["head.bias"][:3]
    weights["more"] = np.zeros(1)
    del weights["token_ids"]
    with pytest.raises(RunError) as caught:
        check_weights(network, weights, "runs/x")
    assert str(caught.value) == (
        "runs/x: not the weights of this model: head.bias has shape (3,), not (31,); more is unknown; "
        "token_ids is missing"
    )
    with pytest.raises(RunError, match=r"^not the weights of this model: .* is missing; and 8 more$"):
        check_weights(network, {})
