"""The n-gram companion of a network: an n-gram model of its training text, and how the two are mixed.

    log p(token) = weight x log p_network(token) + (1 - weight) x log p_ngrams(token) + constant

A recurrent network generalises, and n-grams remember word for word, so that together they predict better than
either. A companion is a file of the run, ngram.safetensors, with the tokens of the model vocabulary in it: it
is of no use beside another network.

Shapes: V model vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textgen.ngram.model import NGramModel
from textgen.settings.config import ModelConfig
from textgen.system.digests import DamagedError
from textgen.text.model_vocab import ModelVocab
from textgen.weights.file import read_arrays, weights_file
from textgen.weights.shapes import TOKEN_IDS, parameter_shapes

# The file is at most twice as large as the network in float32, or has at most so many bytes.
TIMES_THE_NETWORK, SMALLEST_LIMIT = 2, 8_000_000
_HEADER_BYTES = 2**14  # of the file, beside its arrays
_WEIGHT = "mixture_weight"


@dataclass(frozen=True, eq=False)
class Companion:
    """An n-gram model, and the weight of the network in the mixture with it, from 0 to 1."""

    model: NGramModel
    weight: float


def largest_companion(config: ModelConfig) -> int:
    """How many bytes the companion of a network has at most."""
    num_weights = sum(int(np.prod(shape)) for shape in parameter_shapes(config).values())
    return max(TIMES_THE_NETWORK * 4 * num_weights, SMALLEST_LIMIT)


def room_for_model(config: ModelConfig) -> int:
    """How many bytes the arrays of the n-gram model have at most, in the companion of a network."""
    return largest_companion(config) - _HEADER_BYTES - 8 * (config.model_vocab_size + 1)


def companion_file(companion: Companion, vocab: ModelVocab) -> bytes:
    """The content of an ngram.safetensors, with a digest of itself."""
    own = {_WEIGHT: np.array([companion.weight]), TOKEN_IDS: vocab.token_ids}
    arrays = companion.model.to_arrays()
    assert not own.keys() & arrays.keys()
    return weights_file(own | arrays)


def read_companion(path: Path, config: ModelConfig, vocab: ModelVocab) -> Companion:
    """The companion of a network with this vocabulary.

    Raises FileNotFoundError, PermissionError; DamagedError for a file that is not as it was written or not of
    this network; RunError for one that is not an n-gram model.
    """
    arrays = read_arrays(path, largest_companion(config))
    weight, token_ids = arrays.pop(_WEIGHT, np.zeros(0)), arrays.pop(TOKEN_IDS, np.zeros(0))
    if weight.shape != (1,) or weight.dtype != np.float64 or not 0 <= weight[0] <= 1:
        raise DamagedError(f"its {_WEIGHT} is not a number from 0 to 1")
    if not np.array_equal(token_ids, vocab.token_ids):
        raise DamagedError("it has other tokens than the network")
    model = NGramModel.from_arrays(arrays, str(path))
    if model.vocab_size != vocab.size:
        raise DamagedError("it has other tokens than the network")
    return Companion(model, float(weight[0]))
