"""The recurrent layers of the NumPy engine: the equations of models/cells.py in the fewest NumPy calls.

Shapes: B batch (texts side by side), E input_size (embedding_dim, or hidden_size of the layer below),
H hidden_size, G rows of a weight matrix (LSTM 4H, GRU 3H, RNN H).
"""

from __future__ import annotations

import numpy as np


class Memory:
    """One layer's state and working space for B texts, both of the caller's own; a step overwrites them."""

    def __init__(self, state: tuple[np.ndarray, ...], num_gates: int) -> None:
        self.state = tuple(part.astype(np.float32) for part in state)  # (B, H) each, h first; astype copies
        batch_size, hidden_size = state[0].shape
        self.gates = np.empty((batch_size, num_gates * hidden_size), np.float32)  # (B, G)
        self.blocks = np.split(self.gates, num_gates, axis=1)  # views of it, (B, H) each


class Layer:
    """The weights of one recurrent layer, arranged for speed.

    All gates take one tanh, because the logistic function is one: s(x) = (1 + tanh(x / 2)) / 2, which cannot
    overflow. For that the rows of the logistic gates are halved, which floating point does exactly, and moved
    before the others.
    """

    num_states = 1
    order: tuple[int, ...]  # where each block of H rows comes from, in torch's order of gates
    num_logistic: int  # the first so many blocks are logistic gates

    def __init__(
        self, weight_ih: np.ndarray, weight_hh: np.ndarray, bias_ih: np.ndarray, bias_hh: np.ndarray
    ) -> None:
        self.hidden_size = weight_hh.shape[1]
        # Copied into the order in which a product with a row reads them.
        self.from_input = np.ascontiguousarray(self._arrange(weight_ih).T)  # (E, G)
        self.from_hidden = np.ascontiguousarray(self._arrange(weight_hh).T)  # (H, G)
        self.bias = self._arrange(bias_ih) + self._arrange(self._bias_beside_input(bias_hh))  # (G,)
        self.logistic = slice(0, self.num_logistic * self.hidden_size)

    def _arrange(self, weights: np.ndarray) -> np.ndarray:
        """The blocks of rows in this layer's order, in float32, those of the logistic gates halved."""
        blocks = np.split(weights.astype(np.float32), len(self.order))
        halved = [blocks[place] * 0.5 for place in self.order[: self.num_logistic]]
        return np.concatenate([*halved, *(blocks[place] for place in self.order[self.num_logistic :])])

    def _bias_beside_input(self, bias_hh: np.ndarray) -> np.ndarray:
        """What of the second bias can be added once and for all to the first: everything."""
        return bias_hh

    def project(self, x: np.ndarray) -> np.ndarray:
        """What inputs (N, E) contribute to the gates: (N, G), biases included."""
        projected: np.ndarray = np.dot(x, self.from_input)
        projected += self.bias
        return projected

    def remember(self, state: tuple[np.ndarray, ...]) -> Memory:
        """A memory that starts with a copy of that state, (B, H) per part."""
        return Memory(state, len(self.order))

    def step(self, projected: np.ndarray, memory: Memory) -> np.ndarray:
        """Go one step with what the input contributes to the gates (B, G).

        Returns the new hidden state (B, H): the memory's own array, which the next step overwrites.
        """
        raise NotImplementedError


class LSTMLayer(Layer):
    """lstm_step of models/cells.py."""

    num_states = 2
    order, num_logistic = (0, 1, 3, 2), 3  # input, forget, output; cell candidate

    def step(self, projected: np.ndarray, memory: Memory) -> np.ndarray:
        """As Layer.step."""
        hidden, cell = memory.state
        np.dot(hidden, self.from_hidden, out=memory.gates)
        memory.gates += projected
        np.tanh(memory.gates, out=memory.gates)
        _open(memory.gates[:, self.logistic])
        input_gate, forget_gate, output_gate, candidate = memory.blocks
        cell *= forget_gate
        candidate *= input_gate
        cell += candidate
        np.tanh(cell, out=hidden)
        hidden *= output_gate
        return hidden


class GRULayer(Layer):
    """gru_step of models/cells.py."""

    order, num_logistic = (0, 1, 2), 2  # reset, update; new

    def __init__(
        self, weight_ih: np.ndarray, weight_hh: np.ndarray, bias_ih: np.ndarray, bias_hh: np.ndarray
    ) -> None:
        super().__init__(weight_ih, weight_hh, bias_ih, bias_hh)
        self.bias_new = np.split(bias_hh.astype(np.float32), 3)[2]  # (H,)

    def _bias_beside_input(self, bias_hh: np.ndarray) -> np.ndarray:
        """All but the new gate's, on which the reset gate acts."""
        reset, update, new = np.split(bias_hh, 3)
        return np.concatenate([reset, update, np.zeros_like(new)])

    def step(self, projected: np.ndarray, memory: Memory) -> np.ndarray:
        """As Layer.step."""
        (hidden,) = memory.state
        np.dot(hidden, self.from_hidden, out=memory.gates)
        logistic = memory.gates[:, self.logistic]
        logistic += projected[:, self.logistic]
        np.tanh(logistic, out=logistic)
        _open(logistic)
        reset, update, new = memory.blocks
        new += self.bias_new
        new *= reset
        new += projected[:, self.logistic.stop :]
        np.tanh(new, out=new)
        hidden -= new  # h' = (1 - z) * n + z * h = n + z * (h - n)
        hidden *= update
        hidden += new
        return hidden


class RNNLayer(Layer):
    """rnn_step of models/cells.py."""

    order, num_logistic = (0,), 0

    def step(self, projected: np.ndarray, memory: Memory) -> np.ndarray:
        """As Layer.step."""
        (hidden,) = memory.state
        np.dot(hidden, self.from_hidden, out=memory.gates)
        memory.gates += projected
        np.tanh(memory.gates, out=hidden)
        return hidden


LAYERS: dict[str, type[Layer]] = {"lstm": LSTMLayer, "gru": GRULayer, "rnn": RNNLayer}


def _open(halves: np.ndarray) -> None:
    """From tanh(x / 2) to the logistic function of x, in place."""
    halves *= 0.5
    halves += 0.5
