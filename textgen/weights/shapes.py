"""The arrays of a network by name and shape, written once and without torch.

LanguageModel is built from these shapes, the engines and a run's model.safetensors are checked against them,
models/cost.py counts them.

Shapes: V model_vocab_size, E embedding_dim, H hidden_size, L num_layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from textgen.errors import RunError
from textgen.settings.cells import Shape, find_spec
from textgen.settings.config import ModelConfig

if TYPE_CHECKING:
    import numpy as np

Item = TypeVar("Item")

EMBEDDING, HEAD, HEAD_BIAS = "embedding.weight", "head.weight", "head.bias"
LABELS = "label_embedding.weight"
PROJECTION = "projection.weight"  # H -> E, where a tied head is narrower or wider than the stack
LAYERS = "layers."  # before the names of the recurrent stack
TOKEN_IDS, TOKEN_COUNTS = "token_ids", "token_counts"  # the model vocabulary, int64 (V,) each
NORM_NAMES = "norm_weight", "norm_bias"
# The weights of a residual stack have the names and shapes of a plain one's; this array tells them apart.
RESIDUAL_MARK = "residual_mark"

_NOT_LEARNED = {TOKEN_IDS, TOKEN_COUNTS, LAYERS + RESIDUAL_MARK}
_SHOWN = 5  # problems in one message


def layer_name(name: str, layer: int) -> str:
    """The name of a layer's weight in its stack, as torch.nn has it; layers count from 0."""
    return f"{name}_l{layer}"


def stack_shapes(
    cell: str,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    *,
    residual: bool = False,
    layer_norm: bool = False,
) -> dict[str, Shape]:
    """The arrays of a recurrent stack, from the first layer up. Raises ConfigError for an unknown cell."""
    spec = find_spec(cell)
    shapes: dict[str, Shape] = {}
    for layer in range(num_layers):
        own = spec.weight_shapes(hidden_size if layer else input_size, hidden_size)._asdict()
        if layer_norm:
            own |= dict.fromkeys(NORM_NAMES, (hidden_size,))
        shapes |= {layer_name(name, layer): shape for name, shape in own.items()}
    if residual:
        shapes[RESIDUAL_MARK] = (1,)
    return shapes


def weight_shapes(config: ModelConfig) -> dict[str, Shape]:
    """All arrays of a language model: those of LanguageModel.weights() and of model.safetensors.

    With tie_weights there is no head.weight: the head reads embedding.weight.
    """
    V, E, H = config.model_vocab_size, config.embedding_dim, config.hidden_size
    shapes: dict[str, Shape] = {TOKEN_IDS: (V,), TOKEN_COUNTS: (V,), EMBEDDING: (V, E)}
    if config.labels:
        shapes[LABELS] = (len(config.labels), E)
    stack = stack_shapes(
        config.cell, E, H, config.num_layers, residual=config.residual, layer_norm=config.layer_norm
    )
    shapes |= {LAYERS + name: shape for name, shape in stack.items()}
    if config.projects_to_tied_head:
        shapes[PROJECTION] = (E, H)
    if not config.tie_weights:
        shapes[HEAD] = (V, H)
    return shapes | {HEAD_BIAS: (V,)}


def parameter_shapes(config: ModelConfig) -> dict[str, Shape]:
    """The arrays that training learns, tied ones once."""
    return {name: shape for name, shape in weight_shapes(config).items() if name not in _NOT_LEARNED}


def layer_arrays(weights: Mapping[str, np.ndarray], names: Sequence[str], layer: int) -> list[np.ndarray]:
    """The arrays of one layer of a language model, in the order of their names."""
    return [weights[LAYERS + layer_name(name, layer)] for name in names]


def check_weights(config: ModelConfig, weights: Mapping[str, Any], where: str | None = None) -> None:
    """Refuse arrays whose names and shapes are not exactly those of the config's network.

    weights: by name, with a `shape` each: arrays, or what a file says about them before they are read.
    `where` names their source in the message. Raises RunError.
    """
    expected = weight_shapes(config)
    found = {name: tuple(array.shape) for name, array in weights.items()}
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} is unknown" for name in found.keys() - expected.keys()]
    problems += [
        f"{name} has shape {found[name]}, not {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if problems:
        shown = sorted(problems)[:_SHOWN]
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        source = "" if where is None else f"{where}: "
        raise RunError(f"{source}not the weights of this model: {'; '.join(shown)}{more}")
