"""What reads tokens and gives logits while text is written: the interface, and the engine for a CPU.

An engine's tokens are rows, as the model's: 0..V-1 for tokens that training saw, V for any other.

Shapes: B batch (texts side by side), T time, V vocab_size, E embedding_dim, H hidden_size, L num_layers,
G rows of a weight matrix (LSTM 4H, GRU 3H, RNN H).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from textgen.config import ModelConfig
from textgen.errors import RunError
from textgen.generation.layers import LAYERS, Layer
from textgen.run import rows_of
from textgen.text.rows import Rows

State = tuple[np.ndarray, ...]
"""What the network remembers, (L, B, H) per part: LSTM (h, c), GRU and RNN (h,)."""

# Up to so many numbers (64 MB), what the first layer makes of each token is computed once and looked up.
LARGEST_TABLE = 2**24
# A long prompt is read in pieces of so many steps, so that memory does not grow with it.
READ_STEPS = 512


@runtime_checkable
class Engine(Protocol):
    """A network that reads token after token and gives the logits of the next.

    Every array that comes back is the caller's own. A shallow copy (copy.copy) shares the weights and, once
    it is started or given a state, reads a text of its own.
    """

    @property
    def rows(self) -> Rows:
        """Which token id each row stands for, and how often training saw it."""

    @property
    def state(self) -> State:
        """What the network remembers, as a copy; a state that is set may have another batch size."""

    @state.setter
    def state(self, state: State) -> None: ...

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        """Forget everything and read prompts (B, T), T >= 1, in one pass. Returns the next logits (B, V)."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each text (B,). Returns the next logits (B, V)."""


class NumpyEngine:
    """The network in NumPy alone, float32: on a CPU, step by step, faster than torch, which it does not load.

    `weights` are named as LanguageModel.weights() and a run's model.safetensors name them.

    Raises RunError when they are not those of the config.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, np.ndarray]) -> None:
        _check_weights(config, weights)
        self.config = config
        self.rows = rows_of(weights)
        self._layers = [
            LAYERS[config.cell](*(weights[f"layers.{name}_l{layer}"] for name in _LAYER_WEIGHTS))
            for layer in range(config.num_layers)
        ]
        known = weights["embedding.weight"].astype(np.float32)  # (V, E)
        # A token that training never saw: the frequency-weighted mean of those that it did.
        embedding = np.vstack([known, self.rows.frequencies.astype(np.float32) @ known])  # (V + 1, E)
        first, *upper = self._layers
        self._inputs = [_first_input(embedding, first), *(layer.project for layer in upper)]
        self._head = (known if config.tie_weights else weights["head.weight"].astype(np.float32)).T  # (H, V)
        self._head_bias = weights["head.bias"].astype(np.float32)  # (V,)
        self._forget(1)

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        """Forget everything and read prompts (B, T), T >= 1, in one pass. Returns the next logits (B, V)."""
        batch_size, steps = prompt_ids.shape
        self._forget(batch_size)
        for begin in range(0, steps, READ_STEPS):
            hidden = self._read(prompt_ids[:, begin : begin + READ_STEPS])
        return self._logits(hidden)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each text (B,). Returns the next logits (B, V)."""
        x = ids
        for to_gates, layer, memory in zip(self._inputs, self._layers, self._memories, strict=True):
            x = layer.step(to_gates(x), memory)
        return self._logits(x)

    @property
    def state(self) -> State:
        """What the network remembers, (L, B, H) per part, as a copy."""
        parts = zip(*(memory.state for memory in self._memories), strict=True)  # each L of (B, H)
        return tuple(np.stack(part) for part in parts)

    @state.setter
    def state(self, state: State) -> None:
        self._memories = [
            layer.remember(tuple(part[number] for part in state)) for number, layer in enumerate(self._layers)
        ]

    def _forget(self, batch_size: int) -> None:
        zeros = np.zeros((self.config.num_layers, batch_size, self.config.hidden_size), np.float32)
        self.state = (zeros,) * self._layers[0].num_states

    def _read(self, ids: np.ndarray) -> np.ndarray:
        """Read (B, T) from the present state, layer after layer, each with one input product for all steps.

        Returns the last layer's hidden state (B, H).
        """
        batch_size, steps = ids.shape
        x = ids.T.reshape(-1)  # (T * B,), then (T * B, H)
        for to_gates, layer, memory in zip(self._inputs, self._layers, self._memories, strict=True):
            projected = to_gates(x).reshape(steps, batch_size, -1)  # (T, B, G)
            x = np.concatenate([layer.step(step, memory).copy() for step in projected])
        return x[-batch_size:]

    def _logits(self, hidden: np.ndarray) -> np.ndarray:
        """(B, H) -> (B, V)"""
        logits: np.ndarray = hidden @ self._head
        logits += self._head_bias
        return logits


def _first_input(embedding: np.ndarray, layer: Layer) -> Callable[[np.ndarray], np.ndarray]:
    """What takes ids (N,) to what the first layer's gates get from them (N, G)."""
    if len(embedding) * layer.bias.size > LARGEST_TABLE:
        return lambda ids: layer.project(embedding[ids])
    table = layer.project(embedding)  # (V + 1, G)
    return lambda ids: table[ids]


_LAYER_WEIGHTS: Sequence[str] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _check_weights(config: ModelConfig, weights: Mapping[str, np.ndarray]) -> None:
    """Raises RunError unless names and shapes are those of the network that the config describes."""
    V, E, H = config.vocab_size, config.embedding_dim, config.hidden_size
    G = len(LAYERS[config.cell].order) * H
    expected: dict[str, tuple[int, ...]] = {"token_ids": (V,), "token_counts": (V,), "head.bias": (V,)}
    expected["embedding.weight"] = (V, E)
    if not config.tie_weights:
        expected["head.weight"] = (V, H)
    for layer in range(config.num_layers):
        shapes = (G, H if layer else E), (G, H), (G,), (G,)
        names = (f"layers.{name}_l{layer}" for name in _LAYER_WEIGHTS)
        expected |= zip(names, shapes, strict=True)
    found = {name: array.shape for name, array in weights.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise RunError(
            f"not the weights of this model: {name} is {found.get(name, 'missing')}, "
            f"expected {expected.get(name, 'no such array')} ({len(wrong)} wrong in all)"
        )
