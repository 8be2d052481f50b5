"""The recurrent layers of the NumPy engine: the equations of models/cells.py in the fewest NumPy calls.

A NumPy call on a short row costs more than its arithmetic, and every step reads the matrices from memory, so
few calls and few products are what counts. A new hidden state h' is multiplied twice, by the layer's own
recurrent weights for the next step and by the weights above it; here that is one product:

    h' ─(matrix)→ [ own: to this layer's gates, a step later | above: to the next layer's gates, or logits ]

Shapes: B batch (number of texts), E input_size (embedding_dim, or hidden_size of the layer below),
H hidden_size, G rows of a weight matrix (LSTM 4H, GRU 3H, RNN H), A numbers for above (that layer's G, or V),
K what the product multiplies: H, one of biases, and zeros; N what it gives: G + A, and zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

# Rows of the product are aligned for vector instructions: 8 numbers are 32 bytes.
ALIGNMENT = 8
# The number of columns of the product is a multiple of this, so that each of two threads gets whole blocks of
# them: OpenBLAS rounds differently outside its blocks, and a text must not depend on the number of threads.
BLOCK = 64
# Rows that are this many numbers (4 KB) apart, or a multiple of it, compete for the same cache lines.
PAGE = 1024
# Numbers in a product from which a second thread can help a single text: an LSTM of 384 units.
WIDE = 2**19

# A zero-dimensional array, which NumPy handles faster than a Python number.
_HALF = np.array(0.5, np.float32)


class Product(NamedTuple):
    """What a layer multiplies h by: the one matrix, and its two parts as views."""

    matrix: np.ndarray  # (K, N)
    own: np.ndarray  # (K, G)
    above: np.ndarray  # (H, A), without the bias


class Layer:
    """The weights of one recurrent layer and of what reads it, arranged for speed.

    `weights` are CellWeights, as a sequence. Those for the input are part of the product of the layer below;
    this layer's product includes `above`: the weight (A, H) and bias (A,) of the next layer, which
    input_weights gives, or of the head.
    """

    def __init__(
        self, cell: str, weights: Sequence[np.ndarray], above: tuple[np.ndarray, np.ndarray]
    ) -> None:
        self.state_type = LAYER_STATES[cell]
        _, weight_hh, _, bias_hh = map(self.state_type.arrange, weights)
        _, beside_hidden = self.state_type.split_bias(bias_hh)
        weight, bias = above
        self.num_own, self.hidden_size = weight_hh.shape
        self.num_used = self.num_own + len(weight)
        num_rows = _round_up(self.num_used, BLOCK)
        if num_rows % PAGE == 0:
            num_rows += BLOCK
        rows = np.zeros((num_rows, _round_up(self.hidden_size + 1, ALIGNMENT)), np.float32)  # (N, K)
        rows[: self.num_used, : self.hidden_size] = np.concatenate([weight_hh, weight])
        rows[: self.num_used, self.hidden_size] = np.concatenate([beside_hidden, bias])
        self._rows = rows
        self.above_bias = rows[self.num_own : self.num_used, self.hidden_size].copy()  # (A,)

    @staticmethod
    def input_weights(cell: str, weights: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The weight (G, E) and bias (G,) that a layer with these weights applies to its input."""
        state_type = LAYER_STATES[cell]
        weight_ih, _, bias_ih, bias_hh = map(state_type.arrange, weights)
        return weight_ih, bias_ih + state_type.split_bias(bias_hh)[0]

    def product(self, num_rows: int) -> Product:
        """The weights in the best memory layout for a product with this many rows.

        Output by output for one row and a wide layer: then two threads are exact to the last bit, and faster.
        Input by input otherwise, which is faster there: for several rows OpenBLAS has no fast kernel for the
        other layout on processors with AVX-512; see BENCHMARKS.md, "weight layout".
        """
        return self._by_output if num_rows == 1 and self._rows.size >= WIDE else self._by_input

    @cached_property
    def _by_output(self) -> Product:
        return self._parts(self._rows.T)

    @cached_property
    def _by_input(self) -> Product:
        return self._parts(np.ascontiguousarray(self._rows.T))

    def _parts(self, matrix: np.ndarray) -> Product:
        return Product(
            matrix, matrix[:, : self.num_own], matrix[: self.hidden_size, self.num_own : self.num_used]
        )

    def init_state(self, state: tuple[np.ndarray, ...]) -> LayerState:
        """The working state, which starts with a copy of `state`, (B, H) per part."""
        return self.state_type(self, state)

    def read(self, projected: np.ndarray, layer_state: LayerState) -> np.ndarray:
        """Go T >= 1 steps with what the inputs contribute to the gates (T, B, G). Returns all h (T, B, H).

        Afterwards the layer state is ready for a step, except for what it contributes above.
        """
        steps, batch_size, _ = projected.shape
        hidden = np.empty((steps, batch_size, self.hidden_size), np.float32)
        for row, step in zip(hidden, projected, strict=True):
            layer_state.advance(step)
            row[:] = layer_state.hidden
            layer_state.multiply_own()
        return hidden

    def project(self, hidden: np.ndarray) -> np.ndarray:
        """What hidden states (N, H) contribute above: (N, A), biases included."""
        # Not np.dot, which would first copy the weights, a slice of the matrix.
        projected: np.ndarray = np.matmul(hidden, self.product(len(hidden)).above)
        projected += self.above_bias
        return projected


class LayerState:
    """One layer's state and working arrays for B texts; a step overwrites them.

    All gates take one tanh, because the logistic function is one: s(x) = (1 + tanh(x / 2)) / 2, which cannot
    overflow. For that the rows of the logistic gates are halved, which floating point does exactly, and moved
    before the others.
    """

    order: tuple[int, ...]  # where each block of H rows comes from, in torch's order of gates
    num_logistic: int  # how many blocks, the first ones, are logistic gates

    def __init__(self, layer: Layer, state: tuple[np.ndarray, ...]) -> None:
        H = layer.hidden_size
        self.matrix, self._own_matrix, _ = layer.product(len(state[0]))
        self.padded = np.zeros((len(state[0]), len(self.matrix)), np.float32)  # (B, K): h, 1, zeros
        self.hidden = self.padded[:, :H]  # (B, H)
        self.hidden[:] = state[0]
        self.padded[:, H] = 1
        self.product = np.dot(self.padded, self.matrix)  # (B, N)
        self.own = self.product[:, : layer.num_own]  # (B, G)
        self.above: np.ndarray = self.product[:, layer.num_own : layer.num_used]  # (B, A)

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        """The layer's state, (B, H) per part, h first; the arrays in use, not copies."""
        return (self.hidden,)

    def step(self, projected: np.ndarray) -> np.ndarray:
        """Go one step with what the input contributes to the gates (B, G).

        Returns what the new hidden state contributes above (B, A), an array that the next step overwrites.
        """
        self.advance(projected)
        np.dot(self.padded, self.matrix, out=self.product)
        return self.above

    def multiply_own(self) -> None:
        """Compute only the part of a step's product that this layer's gates need."""
        np.matmul(self.padded, self._own_matrix, out=self.own)

    def advance(self, projected: np.ndarray) -> None:
        """Go from the old state to the new one, given the input's part of the gates (B, G)."""
        raise NotImplementedError

    @classmethod
    def arrange(cls, weights: np.ndarray) -> np.ndarray:
        """The blocks of rows in this state's order, in float32, those of the logistic gates halved."""
        blocks = np.split(weights.astype(np.float32), len(cls.order))
        halved = [blocks[place] * _HALF for place in cls.order[: cls.num_logistic]]
        return np.concatenate([*halved, *(blocks[place] for place in cls.order[cls.num_logistic :])])

    @classmethod
    def split_bias(cls, bias_hh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The second bias (G,), arranged: the part that can be merged into the first, and the rest."""
        return bias_hh, np.zeros_like(bias_hh)


class LSTMState(LayerState):
    """lstm_step of models/cells.py.

    Gates and cell are adjacent in memory, input | forget | output | candidate | cell, so that one elementwise
    product makes both parts of the new cell: input * candidate and forget * cell.
    """

    order, num_logistic = (0, 1, 3, 2), 3

    def __init__(self, layer: Layer, state: tuple[np.ndarray, ...]) -> None:
        super().__init__(layer, state)
        H = layer.hidden_size
        work = np.empty((len(self.hidden), 5 * H), np.float32)  # (B, 5H)
        self.gates, self.logistic, self.output = work[:, : 4 * H], work[:, : 3 * H], work[:, 2 * H : 3 * H]
        self.input_and_forget, self.candidate_and_cell = work[:, : 2 * H], work[:, 3 * H :]  # (B, 2H) each
        self.cell = work[:, 4 * H :]
        self.cell[:] = state[1]
        self.parts = np.empty((len(self.hidden), 2 * H), np.float32)
        self.written, self.kept = self.parts[:, :H], self.parts[:, H:]

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        """As LayerState.state."""
        return self.hidden, self.cell

    def advance(self, projected: np.ndarray) -> None:
        """As LayerState.advance."""
        gates, logistic, cell, hidden = self.gates, self.logistic, self.cell, self.hidden
        np.add(self.own, projected, gates)
        np.tanh(gates, gates)
        np.multiply(logistic, _HALF, logistic)  # from tanh(x / 2) to s(x)
        np.add(logistic, _HALF, logistic)
        np.multiply(self.input_and_forget, self.candidate_and_cell, self.parts)
        np.add(self.written, self.kept, cell)
        np.tanh(cell, hidden)
        np.multiply(hidden, self.output, hidden)


class GRUState(LayerState):
    """gru_step of models/cells.py."""

    order, num_logistic = (0, 1, 2), 2  # reset, update; new

    def __init__(self, layer: Layer, state: tuple[np.ndarray, ...]) -> None:
        super().__init__(layer, state)
        H = layer.hidden_size
        self.gates = np.empty((len(self.hidden), 2 * H), np.float32)  # (B, 2H)
        self.reset, self.update = self.gates[:, :H], self.gates[:, H:]
        self.new = np.empty((len(self.hidden), H), np.float32)
        self.own_gates, self.own_new = self.own[:, : 2 * H], self.own[:, 2 * H :]

    @classmethod
    def split_bias(cls, bias_hh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As LayerState.split_bias: the reset gate acts on the new gate's part, so it stays separate."""
        beside_hidden = bias_hh.copy()
        beside_hidden[: len(bias_hh) // 3 * 2] = 0
        return bias_hh - beside_hidden, beside_hidden

    def advance(self, projected: np.ndarray) -> None:
        """As LayerState.advance."""
        gates, new, hidden = self.gates, self.new, self.hidden
        border = gates.shape[1]
        np.add(self.own_gates, projected[:, :border], gates)
        np.tanh(gates, gates)
        np.multiply(gates, _HALF, gates)  # from tanh(x / 2) to s(x)
        np.add(gates, _HALF, gates)
        np.multiply(self.own_new, self.reset, new)
        np.add(new, projected[:, border:], new)
        np.tanh(new, new)
        np.subtract(hidden, new, hidden)  # h' = (1 - z) * n + z * h = n + z * (h - n)
        np.multiply(hidden, self.update, hidden)
        np.add(hidden, new, hidden)


class RNNState(LayerState):
    """rnn_step of models/cells.py."""

    order, num_logistic = (0,), 0

    def advance(self, projected: np.ndarray) -> None:
        """As LayerState.advance."""
        np.add(self.own, projected, self.hidden)
        np.tanh(self.hidden, self.hidden)


LAYER_STATES: dict[str, type[LayerState]] = {"lstm": LSTMState, "gru": GRUState, "rnn": RNNState}


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
