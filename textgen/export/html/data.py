"""The data of the page: a run as one JSON object with arrays in base64.

What the scripts compute from it is in engine.js, tokenizers.js and writer.js; names and shapes of the
network's arrays are those of weights/shapes.py.

Shapes: V model vocabulary, N tokens of the tokenizer.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from textgen.errors import ConfigError
from textgen.export.source import ExportSource
from textgen.models.cost import num_parameters
from textgen.ngram.companion import Companion
from textgen.settings.config import LAYER_NORM_EPSILON, SampleConfig
from textgen.settings.option import options_of
from textgen.text.token_costs import TokenCosts
from textgen.text.tokenizer import Tokenizer
from textgen.weights.quantized import SCALE, narrowed
from textgen.weights.shapes import LAYERS, RESIDUAL_MARK, TOKEN_COUNTS, TOKEN_IDS

_NOT_WEIGHTS = {TOKEN_IDS, TOKEN_COUNTS, LAYERS + RESIDUAL_MARK}
_CELLS = ("lstm", "gru", "rnn")  # of engine.js


def require_expressible(source: ExportSource) -> None:
    """Raise ConfigError for a run that the page cannot be exactly."""
    cell, kind = source.config.model.cell, source.tokenizer.kind
    if cell not in _CELLS:
        raise ConfigError(f"{source.run.path}: the page has no cell {cell}; it has {', '.join(_CELLS)}")
    if kind == "external":
        raise ConfigError(
            f"{source.run.path}: the page has textgen's tokenizers (char, byte, bpe, word), and this one "
            "is from another program; train with one of those"
        )


def packed(weights: Mapping[str, np.ndarray], kind: str) -> dict[str, dict[str, Any]]:
    """The arrays of a network for the page, by name, with matrices in a type: float16, float32 or int8.

    Raises ConfigError for a weight that is too large for the type.
    """
    learned = {name: array for name, array in weights.items() if name not in _NOT_WEIGHTS}
    narrow = narrowed(learned, kind)
    arrays: dict[str, dict[str, Any]] = {}
    for name in learned:
        array = narrow[name]
        arrays[name] = {"type": array.dtype.name, "shape": array.shape, "data": array}
        if name + SCALE in narrow:
            arrays[name]["scale"] = narrow[name + SCALE]
    return arrays


def page_data(source: ExportSource, arrays: Mapping[str, Mapping[str, Any]], *, inspect: bool = False) -> str:
    """The JSON of a run with these packed arrays; inspect: with the surprise of what is typed."""
    config, vocab = source.config.model, source.vocab
    costs = TokenCosts(vocab, source.tokenizer.vocab_size - vocab.size)
    defaults = SampleConfig()
    data = {
        "name": source.name,
        "inspect": inspect,
        "defaults": {
            "temperature": defaults.temperature,
            "top_p": defaults.top_p or "off",
            "top_k": defaults.top_k or "off",
            "min_p": defaults.min_p or "off",
            "max_tokens": defaults.max_new_tokens,
        },
        "ranges": _ranges(),
        "config": {
            "cell": config.cell,
            "hidden_size": config.hidden_size,
            "num_layers": config.num_layers,
            "embedding_dim": config.embedding_dim,
            "labels": config.labels,
            "start_id": config.start_id,
            "tie_weights": config.tie_weights,
            "residual": config.residual,
            "layer_norm": config.layer_norm,
            "layer_norm_epsilon": LAYER_NORM_EPSILON,
        },
        "parameters": num_parameters(config),
        "arrays": arrays,
        "start_id": source.start_id,
        "token_ids": vocab.token_ids.astype(np.uint32),
        "frequencies": vocab.frequencies.astype(np.float32),
        "costs": {"seen": costs.seen_nats, "unseen": costs.unseen_nats if costs.num_unseen else None},
        "ngram": None if source.companion is None else _ngram(source.companion),
        "tokenizer": _tokenizer(source.tokenizer, source.config.data.normalize),
    }
    return json.dumps(data, default=_base64, allow_nan=False, separators=(",", ":"))


def _ranges() -> dict[str, dict[str, Any]]:
    """The numbers that each setting may be, and whether they are whole, by the setting's name on the page."""
    options = options_of(SampleConfig)
    names = {name: name for name in ("temperature", "top_p", "top_k", "min_p")}
    ranges = {}
    for name, ours in {**names, "max_tokens": "max_new_tokens"}.items():
        allowed = options[ours].range
        assert allowed is not None
        ranges[name] = {**asdict(allowed), "whole": options[ours].kind is int}
    return ranges


def _ngram(companion: Companion) -> dict[str, Any]:
    """The tables of an n-gram model, and the weight of the network beside it; ngram.js computes the rest."""
    tables = companion.model.tables
    levels = [
        {
            name: {"width": array.itemsize, "data": array}
            for name, array in vars(level).items()
            if array is not None
        }
        for level in tables.levels
    ]
    return {"weight": companion.weight, "discounts": tables.discounts.tolist(), "levels": levels}


def _base64(array: Any) -> str:
    """An array as base64 of its numbers, little-endian."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode()


def _tokenizer(tokenizer: Tokenizer, normalize: str | None) -> dict[str, Any]:
    token_bytes = tokenizer.token_bytes
    assert token_bytes is not None  # require_expressible
    data = {
        "kind": tokenizer.kind,
        "normalize": normalize,
        "end_of_text_id": tokenizer.end_of_text_id,
        "bytes": np.frombuffer(b"".join(token_bytes), np.uint8),
        "lengths": np.array([len(each) for each in token_bytes], np.uint16),
    }
    if tokenizer.kind == "bpe":
        data["merges"] = _merges(tokenizer)
    return data


def _merges(tokenizer: Tokenizer) -> np.ndarray:
    """The merges of a bpe tokenizer, first to last: token ids of both parts and of the result, (N, 3)."""
    model = json.loads(tokenizer.to_json())["model"]
    vocabulary = model["vocab"]
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"])
    rows = [(vocabulary[left], vocabulary[right], vocabulary[left + right]) for left, right in pairs]
    return np.array(rows, np.uint32).reshape(-1, 3)
