"""The stack of layers of the NumPy engine, from what the first layer's gates get to logits.

In a plain stack each hidden state goes up as it is, in the one product of layers.py. A residual stack passes
up a stream, the sum of the hidden states so far, and layer norm normalises what is read of it to mean 0 and
variance 1. Neither is a product with the hidden state, so the one product becomes two, with a few short calls
between them; the norm's learned scale and offset become part of the weights above:

    h' ─(own)→ to this layer's gates, a step later
    stream = stream below + h' ─ norm ─(above)→ to the next layer's gates, or logits

Shapes: B batch (number of texts), T time, V vocabulary, E embedding_dim, H hidden_size, L num_layers,
G rows of a weight matrix (LSTM 4H, GRU 3H, RNN H), A numbers for above (that layer's G, or V), N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from textgen.generation.engine import State
from textgen.generation.numpy_engine.layers import Layer, LayerState
from textgen.settings.cells import CellWeights
from textgen.settings.config import LAYER_NORM_EPSILON, ModelConfig
from textgen.weights.shapes import NORM_NAMES, layer_arrays

_EPSILON = np.array(LAYER_NORM_EPSILON, np.float32)


class Stack:
    """Plain layers, from the first up: each reads the hidden state of the one below."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers

    def init_state(self, state: State) -> list[LayerState]:
        """One working state per layer, which start with a copy of `state`, (L, B, H) per part."""
        return [
            layer.init_state(tuple(part[number] for part in state))
            for number, layer in enumerate(self.layers)
        ]

    def step(self, projected: np.ndarray, states: Sequence[LayerState]) -> np.ndarray:
        """Go one step with what the input contributes to the first layer's gates (B, G).

        Returns the logits (B, V), which the next step may overwrite.
        """
        for layer_state in states:
            projected = layer_state.step(projected)
        return projected

    def read(self, projected: np.ndarray, states: Sequence[LayerState]) -> np.ndarray:
        """Go T >= 1 steps (T, B, G), layer after layer, with one product per layer for what it passes up.

        Returns what the head reads after each step (T, B, H).
        """
        steps, batch_size, _ = projected.shape
        stream = None
        for layer, layer_state in zip(self.layers, states, strict=True):
            hidden = layer.read(projected.reshape(steps, batch_size, -1), layer_state)  # (T, B, H)
            stream = self.add(hidden, stream)
            if layer is not self.layers[-1]:
                projected = layer.project(stream.reshape(steps * batch_size, -1))
        assert stream is not None  # a network has a layer
        return stream

    def logits(self, stream: np.ndarray) -> np.ndarray:
        """The logits (N, V) from what the head reads (N, H)."""
        return self.layers[-1].project(stream)

    def add(self, hidden: np.ndarray, below: np.ndarray | None) -> np.ndarray:
        """What a layer passes up, (..., H), given what was passed up to it; None below the first layer."""
        return hidden


class StreamStack(Stack):
    """Layers that pass up something other than their hidden state: a residual sum, a norm, or both."""

    def step(self, projected: np.ndarray, states: Sequence[LayerState]) -> np.ndarray:
        """As Stack.step."""
        stream = None
        for layer, layer_state in zip(self.layers, states, strict=True):
            layer_state.advance(projected)
            layer_state.multiply_own()
            stream = self.add(layer_state.hidden, stream)  # (B, H)
            projected = layer.project(stream)
        return projected


class ResidualStack(StreamStack):
    """Layers that add their hidden state to what the layer below passes up, from the second layer on."""

    def add(self, hidden: np.ndarray, below: np.ndarray | None) -> np.ndarray:
        """As Stack.add."""
        return hidden if below is None else hidden + below


class NormedLayer(Layer):
    """A layer whose stream is normalised above it; `norm` is the learned scale (H,) and offset (H,)."""

    def __init__(
        self,
        cell: str,
        weights: Sequence[np.ndarray],
        above: tuple[np.ndarray, np.ndarray],
        norm: tuple[np.ndarray, np.ndarray],
    ) -> None:
        weight, bias = above
        scale, offset = norm
        super().__init__(cell, weights, (weight * scale, bias + weight @ offset))
        self.average = np.full((self.hidden_size, 1), 1 / self.hidden_size, np.float32)  # x @ average: means

    def project(self, hidden: np.ndarray) -> np.ndarray:
        """What a stream (N, H) contributes above: (N, A), biases included."""
        centred = hidden - np.dot(hidden, self.average)
        variance = np.dot(centred * centred, self.average)  # (N, 1)
        variance += _EPSILON
        np.sqrt(variance, variance)
        centred /= variance
        return super().project(centred)


def build_stack(
    config: ModelConfig, weights: Mapping[str, np.ndarray], head: tuple[np.ndarray, np.ndarray]
) -> tuple[Stack, tuple[np.ndarray, np.ndarray]]:
    """The stack under a head (V, H) with its bias (V,), and the weight (G, E) and bias (G,) for its input."""
    layers: list[Layer] = []
    above = head
    for number in reversed(range(config.num_layers)):
        own = layer_arrays(weights, CellWeights._fields, number)
        if config.layer_norm:
            scale, offset = (array.astype(np.float32) for array in layer_arrays(weights, NORM_NAMES, number))
            layers.insert(0, NormedLayer(config.cell, own, above, (scale, offset)))
        else:
            layers.insert(0, Layer(config.cell, own, above))
        above = Layer.input_weights(config.cell, own)
    kind = ResidualStack if config.residual else StreamStack if config.layer_norm else Stack
    return kind(layers), above
