"""What a network costs by its shapes alone: gates, parameters, arithmetic. No network is built for it.

Shapes: V vocabulary, E embedding_dim, H hidden_size, L num_layers, G gates (LSTM 4, GRU 3, RNN 1).
"""

from __future__ import annotations

import bisect
import dataclasses
from typing import NamedTuple

from textgen.settings.config import ModelConfig


class Gates(NamedTuple):
    """The gates of a cell, as cells.py has them in its equations."""

    number: int  # G, with the candidate
    names: str  # what opens and shuts, and what is let through


GATES = {
    "lstm": Gates(4, "input, forget, output + cell candidate"),
    "gru": Gates(3, "reset, update + new"),
    "rnn": Gates(1, "none"),
}

# Parameters that differ by less count as the same.
CLOSE = 0.02


def num_parameters(config: ModelConfig) -> int:
    """How many numbers training learns: LanguageModel.num_parameters, from the shapes."""
    V, E, H, L = config.model_vocab_size, config.embedding_dim, config.hidden_size, config.num_layers
    rows = _gates(config) * H
    inputs = E + (L - 1) * H  # of all layers together
    layers = rows * inputs + L * rows * (H + 2)
    norms = 2 * H * L if config.layer_norm else 0
    projection = E * H if config.projects_to_tied_head else 0
    head = V + (0 if config.tie_weights else V * H)
    return V * E + layers + norms + projection + head


def multiply_adds(config: ModelConfig) -> int:
    """Multiplications, each with its addition, that reading one token and predicting the next takes.

    Those of the matrix products: the embedding is looked up, and what is done to each unit alone (gates,
    biases, norms) is less than a hundredth from 256 units on. Training takes about three times as many; where
    the first layer reads rows (LanguageModel), the E of its input is V.
    """
    V, E, H, L = config.model_vocab_size, config.embedding_dim, config.hidden_size, config.num_layers
    stack = _gates(config) * H * (E + (L - 1) * H + L * H)
    if config.projects_to_tied_head:
        return stack + E * H + V * E
    return stack + V * H


def _gates(config: ModelConfig) -> int:
    return GATES[config.cell].number


def matched_hidden_size(config: ModelConfig, cell: str) -> int:
    """The units that give another cell as many parameters as this network has, all else equal.

    A round number where one is CLOSE enough, for processors multiply whole blocks; else the nearest.
    Nothing but parameters is matched, as Chung, Gulcehre, Cho & Bengio did ("Empirical evaluation of gated
    recurrent neural networks on sequence modeling", 2014).
    """
    if cell == config.cell:
        return config.hidden_size
    wanted = num_parameters(config)

    def parameters(hidden_size: int) -> int:
        return num_parameters(dataclasses.replace(config, cell=cell, hidden_size=hidden_size))

    def distance(hidden_size: int) -> float:
        return abs(parameters(hidden_size) / wanted - 1)

    # Four times the units make up for an RNN's one gate where an LSTM has four, and more than that.
    sizes = range(1, 4 * config.hidden_size + 1)
    above = bisect.bisect_left(sizes, wanted, key=parameters)
    nearest = min(sizes[max(above - 1, 0) : above + 1], key=distance)
    for multiple in (64, 32, 16, 8, 4, 2):
        rounded = round(nearest / multiple) * multiple
        if rounded and distance(rounded) <= CLOSE:
            return rounded
    return nearest
