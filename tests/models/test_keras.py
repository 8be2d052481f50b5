"""Weights from real Keras layers in our regressors: the same numbers in, the same predictions out."""

import importlib.util
import os
from types import ModuleType

import numpy as np
import pytest
import torch

from textgen.models.regressor import SequenceRegressor

UNITS = 50

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("keras") is None,
        reason="Keras is not installed: pip install 'textgen[test]'",
    ),
    # Keras' variables do not know the keyword that NumPy 2 gives to __array__.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    # Keras reads its backend from here, once, when it is first imported.
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    assert keras.backend.backend() == "torch"
    return keras


def from_keras(cell: str, weights: list[np.ndarray]) -> SequenceRegressor:
    """A regressor with the weights of a Keras LSTM or GRU (reset_after=True) and Dense, as Keras lists them.

    Keras computes x W where torch computes W x: every matrix is transposed. The gates of both LSTMs come as
    i, f, c, o; a Keras GRU has z, r, h where torch has r, z, n. A Keras LSTM has one bias, a GRU two.
    """
    kernel, recurrent_kernel, bias, dense_kernel, dense_bias = (
        weights  # (F, G*H), (H, G*H), ..., (H, O), (O,)
    )
    input_size, hidden_size = kernel.shape[0], recurrent_kernel.shape[0]
    biases = np.atleast_2d(bias)  # (1 or 2, G*H)
    if cell == "lstm":
        order, biases = [0, 1, 2, 3], np.concatenate([biases, np.zeros_like(biases)])
    else:
        order = [1, 0, 2]

    def to_torch_order(array: np.ndarray) -> np.ndarray:
        """(..., G*H) with the gates of the last axis in torch's order."""
        gates = np.split(array, len(order), axis=-1)
        return np.concatenate([gates[index] for index in order], axis=-1)

    model = SequenceRegressor(cell, input_size, hidden_size, output_size=len(dense_bias))
    bias_ih, bias_hh = to_torch_order(biases)
    arrays = {
        "layers.weight_ih_l0": to_torch_order(kernel).T,
        "layers.weight_hh_l0": to_torch_order(recurrent_kernel).T,
        "layers.bias_ih_l0": bias_ih,
        "layers.bias_hh_l0": bias_hh,
        "head.weight": dense_kernel.T,
        "head.bias": dense_bias,
    }
    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
    return model


@pytest.mark.parametrize(("cell", "num_parameters"), [("lstm", 10_451), ("gru", 8_001)])
def test_weights_from_keras_give_its_predictions(keras: ModuleType, cell: str, num_parameters: int) -> None:
    keras.utils.set_random_seed(1)
    layers = {
        "lstm": lambda: keras.layers.LSTM(UNITS),
        "gru": lambda: keras.layers.GRU(UNITS, reset_after=True),
    }
    theirs = keras.Sequential([keras.layers.Input((10, 1)), layers[cell](), keras.layers.Dense(1)])
    assert theirs.count_params() == num_parameters
    rng = np.random.default_rng(1)
    # Fresh biases are 0 or 1 and would hide a mistake in their order.
    shapes = [weight.shape for weight in theirs.get_weights()]
    theirs.set_weights([rng.normal(scale=0.3, size=shape).astype(np.float32) for shape in shapes])
    ours = from_keras(cell, theirs.get_weights())
    assert ours.num_parameters == num_parameters + (4 * UNITS if cell == "lstm" else 0)
    X = rng.normal(size=(64, 10, 1)).astype(np.float32)
    expected = theirs.predict(X, verbose=0)
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours.predict(X), expected, rtol=0, atol=1e-5)
