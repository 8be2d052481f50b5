"""A run as an ONNX model: one graph that reads a token, or a whole text, and goes on from a state.

    tokens (T, B) ─table─ rows ─ embedding ─┐                      ┌─ logits (T, B, N)
    hidden (L, B, H) ───────────────────────┼─ layers ─ norms ─ head
    cell (L, B, H), of an LSTM ─────────────┘    └─ new_hidden, new_cell (L, B, H)

Tokens and logits are of token ids, as tokenizer.json has them, and never of model ids. A token that training
never saw is read as the mean of the others, and has the logit minus infinity. Where documents have labels,
the start token with label k is read as the token id N + k.

The metadata has what a program needs to write text: see `_metadata`. Old runtimes read the model as well: its
opset and IR version are those of 2021 (2022 with layer norm).

Shapes: T time, B batch, N vocab_size of the tokenizer, V model_vocab_size, E embedding_dim, H hidden_size,
L num_layers, S labels, G gates.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from textgen.errors import ConfigError
from textgen.export.parity import losses
from textgen.export.report import ExportReport
from textgen.export.source import ExportSource
from textgen.generation.numpy_engine.engine import input_vectors
from textgen.run import TOKENIZER
from textgen.settings.cells import CellWeights, OnnxOperator, find_spec
from textgen.settings.config import LAYER_NORM_EPSILON
from textgen.system.atomic import write_file
from textgen.version import VERSION
from textgen.weights.shapes import (
    EMBEDDING,
    HEAD,
    HEAD_BIAS,
    LAYERS,
    NORM_NAMES,
    PROJECTION,
    layer_arrays,
    layer_name,
)

OPSET, OPSET_OF_LAYER_NORM, IR_VERSION = 15, 17, 8
# A protobuf message, which a model is, can be no larger.
LARGEST_BYTES = 2**31 - 1
CHECKED_TOKENS = 64


def export_onnx(source: ExportSource, output: Path, cache_dir: str | None = None) -> ExportReport:
    """Write the network of a run as one ONNX file, without its n-grams.

    cache_dir: of the encoded validation text, on which the loss without n-grams is measured; None: the
    user's. Raises ConfigError for what ONNX cannot express, OSError.
    """
    model = build_model(source)
    difference = largest_difference(model, source)
    write_file(output, model.SerializeToString())
    lines = [
        f"{output}: {output.stat().st_size / 1e6:.2f} MB, opset {model.opset_import[0].version}, "
        f"with {TOKENIZER} in its metadata",
        f"logits: at most {difference:.1e} from textgen's, over {CHECKED_TOKENS} tokens",
    ]
    if source.companion is not None:
        engines = {"the run": source.engine(), "the ONNX model": source.engine(ngram=False)}
        lines += losses(source, engines, cache_dir)
    return ExportReport((output,), tuple(lines))


def build_model(source: ExportSource) -> onnx.ModelProto:
    """The ONNX model of a run. Raises ConfigError for what ONNX cannot express."""
    config = source.config.model
    operator = find_spec(config.cell).onnx
    if operator is None:
        raise ConfigError(
            f"the cell {config.cell} has no ONNX operator; textgen export {source.run.path} weights works"
        )
    if 4 * sum(array.size for array in source.weights.values()) > LARGEST_BYTES:
        raise ConfigError("the network is larger than 2 GB, which one ONNX file cannot be")
    graph = _Graph(source)
    graph.build(operator)
    opset = OPSET_OF_LAYER_NORM if config.layer_norm else OPSET
    model = helper.make_model(
        graph.proto(),
        producer_name="textgen",
        producer_version=VERSION,
        opset_imports=[helper.make_opsetid("", opset)],
    )
    model.ir_version = IR_VERSION  # else that of the installed onnx, which only its newest runtimes read
    helper.set_model_props(model, _metadata(source))
    onnx.checker.check_model(model)
    return model


def _metadata(source: ExportSource) -> dict[str, str]:
    """What a program needs to write text with the model, as strings; JSON where it is not one value.

    Token ids: start_id, which a text begins with (none: it may begin with any token); end_of_text_id; labels,
    the start token with each label. vocab_size: how many logits there are. tokenizer: tokenizer.json, with
    its digest. normalize: the Unicode form of prompts, if they need one. config: of the network.
    """
    config, tokenizer = source.config, source.tokenizer
    text = (source.run.path / TOKENIZER).read_bytes().decode()
    found = {
        "vocab_size": str(tokenizer.vocab_size),
        "end_of_text_id": str(tokenizer.end_of_text_id),
        "config": json.dumps(dataclasses.asdict(config.model), ensure_ascii=False),
        "tokenizer": text,
        "tokenizer_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "textgen_version": VERSION,
    }
    if source.start_id is not None:
        found["start_id"] = str(source.vocab.to_token_ids(np.array(source.start_id)))
    if config.data.normalize is not None:
        found["normalize"] = config.data.normalize
    if config.model.labels:
        ids = {label: tokenizer.vocab_size + number for number, label in enumerate(config.model.labels)}
        found["labels"] = json.dumps(ids, ensure_ascii=False)
    return found


def largest_difference(model: onnx.ModelProto, source: ExportSource) -> float:
    """How far the logits of a model are from those of textgen at most, in onnx's reference evaluator.

    Both read CHECKED_TOKENS arbitrary tokens, in two texts, some of which training may never have seen.
    """
    random = np.random.default_rng(0)
    token_ids = random.integers(0, source.tokenizer.vocab_size, (CHECKED_TOKENS // 2, 2))  # (T, B)
    token_ids[::2] = source.vocab.token_ids[random.integers(0, source.vocab.size, token_ids[::2].shape)]
    config = source.config.model
    zeros = np.zeros((config.num_layers, 2, config.hidden_size), np.float32)
    state = dict.fromkeys(find_spec(config.cell).state, zeros)
    (logits,) = map(np.asarray, ReferenceEvaluator(model).run(["logits"], {"tokens": token_ids, **state}))
    engine = source.engine(ngram=False)
    engine.reset_state(2)
    expected = engine.read(source.vocab.to_model_ids(token_ids.T))  # (B, T, V)
    found = logits.swapaxes(0, 1)[:, :, source.vocab.token_ids]
    return float(np.abs(found - expected).max())


class _Graph:
    """The nodes and the weights of a graph, while it is being built."""

    def __init__(self, source: ExportSource) -> None:
        self._config, self._weights = source.config.model, source.weights
        self._vocab = source.vocab
        self._state = find_spec(self._config.cell).state
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        # The model id of each token id, (N,) int64: its row in embedding and head.
        self._model_ids = self._vocab.to_model_ids(np.arange(source.tokenizer.vocab_size))
        self._rows_of_tokens = self._constant("rows_of_tokens", self._model_ids)

    def proto(self) -> onnx.GraphProto:
        """The graph with its inputs and outputs."""
        inputs = [_value("tokens", TensorProto.INT64, "time", "batch")]
        outputs = [_value("logits", TensorProto.FLOAT, "time", "batch", len(self._model_ids))]
        shape = (self._config.num_layers, "batch", self._config.hidden_size)
        inputs += [_value(part, TensorProto.FLOAT, *shape) for part in self._state]
        outputs += [_value(f"new_{part}", TensorProto.FLOAT, *shape) for part in self._state]
        return helper.make_graph(self._nodes, "textgen", inputs, outputs, self._constants)

    def build(self, operator: OnnxOperator) -> None:
        """Add everything from the tokens to the logits."""
        stream = self._embedded()  # (T, B, E)
        states = [self._split(part) for part in self._state]
        ends: list[list[str]] = []
        below: str | None = None
        for layer in range(self._config.num_layers):
            before = [parts[layer] for parts in states]  # (1, B, H) each
            hidden, *after = self._layer(operator, layer, stream, before)
            if self._config.residual and below is not None:
                hidden = self._add("Add", [hidden, below], f"residual_{layer}")
            below = hidden
            stream = self._normalized(hidden, layer) if self._config.layer_norm else hidden
            ends.append(after)
        for part, parts in zip(self._state, zip(*ends, strict=True), strict=True):
            self._add("Concat", [*parts], f"new_{part}", axis=0)
        self._head(stream)

    def _embedded(self) -> str:
        """What the first layer reads (T, B, E): rows of the embedding, of its mean and of the labels."""
        embedding = self._constant(EMBEDDING, input_vectors(self._config, self._weights))  # (V + 1 + S, E)
        places = self._rows_of_tokens
        if self._config.labels:
            labels = self._vocab.size + 1 + np.arange(len(self._config.labels))
            places = self._constant("rows_of_inputs", np.concatenate([self._model_ids, labels]))  # (N + S,)
        row = self._add("Gather", [places, "tokens"], "row", axis=0)
        return self._add("Gather", [embedding, row], "embedded", axis=0)

    def _split(self, part: str) -> list[str]:
        """A part of the state (L, B, H), by layer: (1, B, H) each."""
        num_layers = self._config.num_layers
        if num_layers == 1:
            return [part]
        names = [f"{part}_{layer}" for layer in range(num_layers)]
        sizes = self._constant(f"sizes_of_{part}", np.ones(num_layers, np.int64))
        self._nodes.append(helper.make_node("Split", [part, sizes], names, axis=0))
        return names

    def _layer(self, operator: OnnxOperator, layer: int, stream: str, state: list[str]) -> list[str]:
        """The hidden states of a layer (T, B, H), and its state after the last, (1, B, H) per part."""
        weights = CellWeights(*layer_arrays(self._weights, CellWeights._fields, layer))
        weight_ih, weight_hh, *biases = (_reordered(array, operator.gates) for array in weights)
        inputs = [
            stream,
            self._constant(LAYERS + layer_name("weight_ih", layer), weight_ih[None]),  # (1, G*H, E)
            self._constant(LAYERS + layer_name("weight_hh", layer), weight_hh[None]),  # (1, G*H, H)
            self._constant(LAYERS + layer_name("bias", layer), np.concatenate(biases)[None]),  # (1, 2*G*H)
            "",  # no lengths: every text of a batch is as long
            *state,
        ]
        after = [f"{part}_after_{layer}" for part in self._state]
        attributes: dict[str, Any] = {"hidden_size": self._config.hidden_size, **operator.attributes}
        steps = f"steps_{layer}"  # (T, 1, B, H): one direction
        self._nodes.append(helper.make_node(operator.name, inputs, [steps, *after], **attributes))
        direction = self._constant(f"direction_{layer}", np.array([1]))
        return [self._add("Squeeze", [steps, direction], f"layer_{layer}"), *after]

    def _normalized(self, stream: str, layer: int) -> str:
        names = [LAYERS + layer_name(name, layer) for name in NORM_NAMES]
        inputs = [stream, *(self._constant(name, self._weights[name]) for name in names)]
        return self._add("LayerNormalization", inputs, f"norm_{layer}", axis=-1, epsilon=LAYER_NORM_EPSILON)

    def _head(self, stream: str) -> None:
        """The logits of token ids (T, B, N), from what the head reads (T, B, H)."""
        config = self._config
        if config.projects_to_tied_head:
            stream = self._product(stream, self._constant(PROJECTION, self._weights[PROJECTION]), PROJECTION)
        if config.tie_weights:
            table, num_more = EMBEDDING, 1 + len(config.labels)
        else:
            num_more = 1
            weight = self._weights[HEAD]
            table = self._constant(HEAD, np.vstack([weight, np.zeros_like(weight[:1])]))
        # Rows after the first V stand for tokens that are never drawn.
        bias = np.append(self._weights[HEAD_BIAS], np.full(num_more, -np.inf, np.float32))
        known = self._product(stream, table, "head")
        known = self._add("Add", [known, self._constant(HEAD_BIAS, bias)], "logits_of_rows")
        self._add("Gather", [known, self._rows_of_tokens], "logits", axis=2)

    def _product(self, x: str, weight: str, name: str) -> str:
        """x @ weight.T: (T, B, columns) -> (T, B, rows)."""
        transposed = self._add("Transpose", [weight], f"{name}.transposed", perm=[1, 0])
        return self._add("MatMul", [x, transposed], f"{name}.product")

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output; returns the name of that."""
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, array: np.ndarray) -> str:
        """Add an array; returns its name."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _reordered(array: np.ndarray, gates: tuple[int, ...]) -> np.ndarray:
    """The blocks of rows of a weight or bias, in another order of gates."""
    blocks = np.split(array, len(gates))
    return np.concatenate([blocks[place] for place in gates])
