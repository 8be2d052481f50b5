"""ONNX models of every kind of network, in two runtimes, against the NumPy engine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from tests.conftest import Cli, MakeRun
from textgen.errors import ConfigError
from textgen.export.onnx import IR_VERSION, build_model, largest_difference
from textgen.export.source import ExportSource
from textgen.generation.engine import label_id
from textgen.run import TOKENIZER, WEIGHTS, Run, save_weights
from textgen.settings.cells import CELL_SPECS, CellSpec, find_spec

Feeds = dict[str, np.ndarray]
Runtime = Callable[[Feeds], list[np.ndarray]]
SCRIPT = Path(__file__).parents[2] / "scripts" / "onnx_sample.py"

NETWORKS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru": {"cell": "gru", "num_layers": 2, "end_of_text": True},
    "rnn": {"cell": "rnn", "num_layers": 2},
    "lstm with layer norm and residuals": {"num_layers": 3, "layer_norm": True, "residual": True},
    "gru with residuals": {"cell": "gru", "num_layers": 3, "residual": True, "kind": "byte"},
    "tied": {"num_layers": 2, "tie_weights": True, "embedding_dim": 16, "kind": "bpe"},
    "tied with a projection": {"tie_weights": True, "layer_norm": True, "kind": "word"},
    "with labels": {"cell": "gru", "labels": ("sad", "glad"), "start_id": 0},
    "tied with labels": {"tie_weights": True, "labels": ("sad", "glad"), "start_id": 0},
}


@pytest.fixture
def make_source(make_run: MakeRun) -> Callable[..., ExportSource]:
    """An untrained run whose weights, biases too, are so large that every gate moves."""

    def make(**settings: Any) -> ExportSource:
        run = make_run(**settings)
        random = np.random.default_rng(1)
        size = 0.3 if settings.get("cell") == "rnn" else 0.6  # a larger tanh network is chaotic
        weights = {
            name: (random.normal(size=array.shape) * size).astype(np.float32)
            if array.dtype == np.float32
            else array
            for name, array in run.load_weights().items()
        }
        save_weights(run.path / WEIGHTS, weights)
        return ExportSource.open(Run(run.path))

    return make


def in_onnxruntime(model: onnx.ModelProto) -> Runtime:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda feeds: session.run(None, feeds)


def in_the_reference(model: onnx.ModelProto) -> Runtime:
    evaluator = ReferenceEvaluator(model)
    return lambda feeds: evaluator.run(None, feeds)


def zero_state(source: ExportSource, batch_size: int) -> Feeds:
    config = source.config.model
    shape = (config.num_layers, batch_size, config.hidden_size)
    return {part: np.zeros(shape, np.float32) for part in find_spec(config.cell).state}


def some_tokens(source: ExportSource, steps: int, batch_size: int) -> np.ndarray:
    """Token ids (T, B): most are known, some are not, the first is a label where there are labels."""
    random, labels = np.random.default_rng(0), source.config.model.labels
    token_ids = random.choice(source.vocab.token_ids, (steps, batch_size))
    token_ids[3::5] = random.integers(0, source.tokenizer.vocab_size, token_ids[3::5].shape)
    if labels:
        token_ids[0] = source.tokenizer.vocab_size + random.integers(0, len(labels), batch_size)
    return token_ids


def expected_logits(source: ExportSource, token_ids: np.ndarray) -> np.ndarray:
    """Those of the NumPy engine, (T, B, V)."""
    engine = source.engine(ngram=False)
    engine.reset_state(token_ids.shape[1])
    model_ids = source.vocab.to_model_ids(token_ids)
    size = source.tokenizer.vocab_size
    for number, label in enumerate(source.config.model.labels):
        model_ids[token_ids == size + number] = label_id(engine, label)
    return engine.read(model_ids.T).swapaxes(0, 1)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("runtime", [in_onnxruntime, in_the_reference])
def test_its_logits_are_those_of_the_engine_at_once_and_step_by_step(
    make_source: Callable[..., ExportSource], network: str, runtime: Callable[[onnx.ModelProto], Runtime]
) -> None:
    source = make_source(**NETWORKS[network])
    read = runtime(build_model(source))
    token_ids = some_tokens(source, 40, 3)
    whole, *end = read({"tokens": token_ids, **zero_state(source, 3)})
    assert whole.shape == (40, 3, source.tokenizer.vocab_size)
    seen = source.vocab.token_ids
    np.testing.assert_allclose(whole[:, :, seen], expected_logits(source, token_ids), atol=1e-5)
    unseen = np.setdiff1d(np.arange(source.tokenizer.vocab_size), seen)
    assert (whole[:, :, unseen] == -np.inf).all()

    names = [*zero_state(source, 3)]
    state, steps = zero_state(source, 3), []
    for part in (token_ids[:1], token_ids[1:30], *token_ids[30:, None]):
        logits, *after = read({"tokens": part, **state})
        steps.append(logits[:, :, seen])
        state = dict(zip(names, after, strict=True))
    np.testing.assert_allclose(np.concatenate(steps), whole[:, :, seen], atol=1e-5)
    for part, last in zip(state.values(), end, strict=True):
        np.testing.assert_allclose(part, last, atol=1e-5)

    alone, *_ = read({"tokens": token_ids[:, 1:2], **zero_state(source, 1)})
    np.testing.assert_allclose(alone[:, 0, seen], whole[:, 1, seen], atol=1e-5)


def test_the_difference_that_is_reported_is_measured(make_source: Callable[..., ExportSource]) -> None:
    source = make_source(cell="gru")
    model = build_model(source)
    assert 0 < largest_difference(model, source) < 1e-5
    (node,) = [node for node in model.graph.node if node.op_type == "GRU"]
    (attribute,) = [attribute for attribute in node.attribute if attribute.name == "linear_before_reset"]
    attribute.i = 0
    assert largest_difference(model, source) > 0.01


@pytest.mark.parametrize(("layer_norm", "opset"), [(False, 15), (True, 17)])
def test_the_versions_are_low_enough_for_runtimes_of_2022(
    make_source: Callable[..., ExportSource], layer_norm: bool, opset: int
) -> None:
    model = build_model(make_source(layer_norm=layer_norm))
    assert [entry.version for entry in model.opset_import] == [opset]
    assert model.ir_version == IR_VERSION <= 8
    for node in model.graph.node:
        assert "layout" not in {attribute.name for attribute in node.attribute}


def test_the_metadata_is_enough_to_write_with(make_source: Callable[..., ExportSource]) -> None:
    source = make_source(labels=("sad", "glad"), start_id=0, end_of_text=True)
    about = {entry.key: entry.value for entry in build_model(source).metadata_props}
    tokenizer = source.tokenizer
    assert about["tokenizer"] == (source.run.path / TOKENIZER).read_text()
    assert about["tokenizer_sha256"] == hashlib.sha256(about["tokenizer"].encode()).hexdigest()
    assert int(about["end_of_text_id"]) == int(about["start_id"]) == tokenizer.end_of_text_id
    assert int(about["vocab_size"]) == tokenizer.vocab_size
    assert json.loads(about["labels"]) == {"sad": tokenizer.vocab_size, "glad": tokenizer.vocab_size + 1}
    assert json.loads(about["config"])["hidden_size"] == source.config.model.hidden_size


def test_a_cell_without_an_operator_is_refused(
    make_source: Callable[..., ExportSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source()
    spec = CellSpec(
        gates=(), candidates=(), state=("hidden",), weight_shapes=CELL_SPECS["lstm"].weight_shapes
    )
    monkeypatch.setitem(CELL_SPECS, "lstm", spec)
    with pytest.raises(ConfigError, match="the cell lstm has no ONNX operator"):
        build_model(source)


def test_the_command_writes_a_file_that_the_example_script_writes_the_same_text_with(
    make_source: Callable[..., ExportSource], cli: Cli
) -> None:
    source = make_source(cell="gru", num_layers=2)
    result = cli("export", source.run.path, "onnx", "--output", "new.onnx")
    assert result.exit_code == 0, result.stderr
    assert "opset 15" in result.stdout
    again = cli("export", source.run.path, "onnx", "--output", "new.onnx")
    assert again.exit_code == 0, "its own file may be replaced"
    command = [sys.executable, SCRIPT, "new.onnx", "The quick", "0"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    options = ["--temperature", 0, "--max-new-tokens", 300, "--prompt", "The quick"]
    assert written == cli("sample", source.run.path, *options).stdout
    assert len(written) > 300


def test_what_has_another_content_is_not_replaced(make_run: MakeRun, cli: Cli) -> None:
    run = make_run()
    Path("mine.onnx").write_text("of mine")
    assert "was not written by textgen" in cli("export", run.path, "onnx", "--output", "mine.onnx").only_error
    assert "--weights" in cli("export", run.path, "onnx", "--weights", "int8").only_error
    assert Path("mine.onnx").read_text() == "of mine"
