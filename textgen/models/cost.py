"""The cost of a network, in parameters and arithmetic, from its shapes alone: no network is built.

Shapes: V model_vocab_size, E embedding_dim, H hidden_size.
"""

from __future__ import annotations

import bisect
import dataclasses
import math

from textgen.settings.config import ModelConfig
from textgen.weights.shapes import EMBEDDING, LABELS, parameter_shapes

# Relative difference up to which two numbers of parameters count as equal.
CLOSE = 0.02


def num_parameters(config: ModelConfig) -> int:
    """How many numbers training learns: LanguageModel.num_parameters, from the shapes."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def multiply_adds(config: ModelConfig) -> int:
    """How many multiplications, each with an addition, it takes to read one token and predict the next.

    Those of the matrix products: the embedding is looked up, and elementwise operations (gates, biases,
    norms) are negligible. A training step takes about three times as many; where the first layer reads
    one-hot ids (LanguageModel), the E of its input is V.
    """
    products = [math.prod(shape) for shape in parameter_shapes(config).values() if len(shape) == 2]
    # The embedding is a product only where it is the head too; labels are looked up.
    shapes = parameter_shapes(config)
    looked_up = 0 if config.tie_weights else math.prod(shapes[EMBEDDING])
    looked_up += math.prod(shapes[LABELS]) if config.labels else 0
    return sum(products) - looked_up


def matched_hidden_size(config: ModelConfig, cell: str) -> int:
    """The hidden_size at which another cell has as many parameters as this network, all else equal.

    It is a round number if one is CLOSE enough, because processors multiply in blocks; else the nearest.
    Only the number of parameters is matched, as in Chung, Gulcehre, Cho & Bengio, "Empirical evaluation of
    gated recurrent neural networks on sequence modeling", 2014.
    """
    if cell == config.cell:
        return config.hidden_size
    wanted = num_parameters(config)

    def parameters(hidden_size: int) -> int:
        return num_parameters(dataclasses.replace(config, cell=cell, hidden_size=hidden_size))

    def distance(hidden_size: int) -> float:
        return abs(parameters(hidden_size) / wanted - 1)

    # An RNN has a quarter of an LSTM's weight rows: four times the units are always enough to match it.
    sizes = range(1, 4 * config.hidden_size + 1)
    above = bisect.bisect_left(sizes, wanted, key=parameters)
    nearest = min(sizes[max(above - 1, 0) : above + 1], key=distance)
    for multiple in (64, 32, 16, 8, 4, 2):
        rounded = round(nearest / multiple) * multiple
        if rounded and distance(rounded) <= CLOSE:
            return rounded
    return nearest
