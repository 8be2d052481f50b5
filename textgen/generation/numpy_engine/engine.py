"""The engine for a CPU: the network in NumPy.

Shapes: B batch (number of texts), T time, V vocabulary, E embedding_dim, H hidden_size, L num_layers,
G rows of a weight matrix (LSTM 4H, GRU 3H, RNN H).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from textgen.generation.engine import Engine, State
from textgen.generation.numpy_engine.layers import LAYER_STATES
from textgen.generation.numpy_engine.stack import build_stack
from textgen.run import vocab_of
from textgen.settings.cells import find_spec
from textgen.settings.config import ModelConfig
from textgen.weights.shapes import EMBEDDING, HEAD, HEAD_BIAS, LABELS, PROJECTION, check_weights

# Up to this many numbers (64 MB), the first layer's input product is computed once per token and looked up.
LARGEST_TABLE = 2**24
# A long prompt is read in pieces of this many tokens, so that memory does not grow with it.
READ_STEPS = 512


def has_twin(cell: str) -> bool:
    """Whether a cell has a NumPy twin; one without is sampled with its equations, by the torch engine."""
    return cell in LAYER_STATES


def input_vectors(config: ModelConfig, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the first layer reads for each model id (V + 1 + number of labels, E), in float32."""
    known = weights[EMBEDDING].astype(np.float32)  # (V, E)
    # A token that training never saw: the frequency-weighted mean of those that it did.
    rows = [known, vocab_of(weights).frequencies.astype(np.float32) @ known]
    if config.labels:
        rows.append(known[config.start_id] + weights[LABELS].astype(np.float32))
    return np.vstack(rows)


class NumpyEngine:
    """The network in NumPy, in float32: faster than torch at single steps on a CPU, and does not load it.

    `weights` are named as in weights/shapes.py, LanguageModel.weights() and a run's model.safetensors. The
    cell must have a NumPy twin: see `has_twin`.

    Raises RunError when the weights are not those of the config.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, np.ndarray]) -> None:
        check_weights(config, weights)
        self.config = config
        self.vocab = vocab_of(weights)
        head = weights[EMBEDDING if config.tie_weights else HEAD].astype(np.float32)  # (V, E or H)
        if config.projects_to_tied_head:
            # (V, E) becomes (V, H), so that projection and head are one product.
            head = head @ weights[PROJECTION].astype(np.float32)
        head_bias = weights[HEAD_BIAS].astype(np.float32)  # (V,)
        self._stack, first = build_stack(config, weights, (head, head_bias))
        self._first_input = _first_input(input_vectors(config, weights), *first)
        self.reset_state(1)

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        """Read prompts (B, T), T >= 1, from the zero state in one pass. Returns the next logits (B, V)."""
        batch_size, steps = prompt_ids.shape
        self.reset_state(batch_size)
        for begin in range(0, steps, READ_STEPS):
            stream = self._advance(prompt_ids[:, begin : begin + READ_STEPS])
        return self._stack.logits(stream[-1])

    def advance(self, ids: np.ndarray) -> np.ndarray:
        """Read more of each text (B, T), T >= 1. Returns the next logits (B, V)."""
        return self._stack.logits(self._advance(ids)[-1])

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each text (B,). Returns the next logits (B, V)."""
        return self._stack.step(self._first_input(ids), self._states).copy()

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Read more of each text (B, T), T >= 1. Returns the logits after each token (B, T, V)."""
        stream = self._advance(ids)  # (T, B, H)
        logits = self._stack.logits(stream.reshape(-1, stream.shape[2]))  # (T * B, V)
        return logits.reshape(*stream.shape[:2], -1).swapaxes(0, 1)

    def _advance(self, ids: np.ndarray) -> np.ndarray:
        """(B, T) -> what the head reads (T, B, H)"""
        projected = self._first_input(ids.T.reshape(-1))  # (T * B, G)
        return self._stack.read(projected.reshape(*ids.T.shape, -1), self._states)

    @property
    def state(self) -> State:
        """The recurrent state, (L, B, H) per part, as a copy."""
        parts = zip(*(layer_state.state for layer_state in self._states), strict=True)  # each L of (B, H)
        return tuple(np.stack(part) for part in parts)

    @state.setter
    def state(self, state: State) -> None:
        self._states = self._stack.init_state(state)

    def select(self, places: Sequence[int]) -> None:
        """Keep the texts at these places of the batch, in this order; one may be kept several times."""
        self.state = tuple(part[:, places] for part in self.state)

    def join(self, other: Engine) -> None:
        """Add the texts of a copy of this engine at the end of the batch."""
        pairs = zip(self.state, other.state, strict=True)
        self.state = tuple(np.concatenate(pair, axis=1) for pair in pairs)

    def reset_state(self, batch_size: int) -> None:
        """Set the state to zeros, for batch_size texts."""
        zeros = np.zeros((self.config.num_layers, batch_size, self.config.hidden_size), np.float32)
        self.state = (zeros,) * len(find_spec(self.config.cell).state)


def _first_input(
    embedding: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """The function from ids (N,) to what they contribute to the first layer's gates (N, G)."""

    def project(embedded: np.ndarray) -> np.ndarray:  # (N, E) -> (N, G)
        projected: np.ndarray = np.dot(embedded, weight.T)
        projected += bias
        return projected

    if len(embedding) * len(bias) > LARGEST_TABLE:
        return lambda ids: project(embedding[ids])
    table = project(embedding)  # (V + 1 + number of labels, G)

    def look_up(ids: np.ndarray) -> np.ndarray:
        if len(ids) > 1:
            return table.take(ids, axis=0)
        return table[ids.item(), None]  # a view: a copy would take longer

    return look_up
