"""Weights from strangers: what is not the network of the config, or no result of training, is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from tests.conftest import Cli, MakeRun
from textgen.errors import RunError, TextgenError
from textgen.generation.generator import Generator
from textgen.models.language_model import LanguageModel
from textgen.run import CONFIG, WEIGHTS, Run, save_weights
from textgen.system.digests import DamagedError
from textgen.weights.file import LARGEST_WEIGHT, read_arrays, read_weights, stored_kind, weights_file
from textgen.weights.quantized import KINDS, narrowed, rounded

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    return make_run(num_layers=2)


def set_value(name: str, value: float) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name].view(-1)[-1] = value

    return change


def set_type(name: str, dtype: torch.dtype) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = tensors[name].to(dtype)

    return change


def repeat_token(tensors: Tensors) -> None:
    tensors["token_ids"][1] = tensors["token_ids"][0]


def scale(tensors: Tensors) -> None:
    for name in tensors:
        if tensors[name].is_floating_point():
            tensors[name] *= 1e30


def cut_row(tensors: Tensors) -> None:
    tensors["embedding.weight"] = tensors["embedding.weight"][1:].clone()


HOSTILE: dict[str, tuple[Callable[[Tensors], None], str]] = {
    "infinity": (set_value("head.bias", np.inf), "head.bias has the value inf"),
    "minus infinity": (set_value("head.bias", -np.inf), "head.bias has the value -inf"),
    "not a number": (set_value("layers.weight_hh_l1", np.nan), "layers.weight_hh_l1 has the value nan"),
    "overflow": (scale, "e\\+.* and weights are finite and at most 1e\\+09"),
    "int8": (set_type("head.weight", torch.int8), "needs head.weight.scale, of type F32"),
    "int8 biases": (set_type("head.bias", torch.int8), "head.bias is of type I8"),
    "float64": (set_type("head.weight", torch.float64), "head.weight is of type F64"),
    "token ids in float": (set_type("token_ids", torch.float32), "token_ids is of type F32"),
    "a token twice": (repeat_token, "token_ids has the same token twice"),
    "a token below 0": (set_value("token_ids", -1), "token_ids must be 0 or more"),
    "a token that needs a huge table": (
        set_value("token_ids", 2**40),
        "token_ids must be 0 or more and below",
    ),
    "a token that the tokenizer lacks": (set_value("token_ids", 2**20), "do not belong together"),
    "a token never seen": (set_value("token_counts", 0), "token_counts must be 1 or more"),
    "counts that overflow": (set_value("token_counts", 2**62), "token_counts must be 1 or more, and below"),
    "another shape": (cut_row, "embedding.weight has shape"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_both_engines_refuse_hostile_weights_alike_in_one_line(run: Run, case: str) -> None:
    change, message = HOSTILE[case]
    tensors = safetensors.torch.load_file(run.path / WEIGHTS)
    change(tensors)
    safetensors.torch.save_file(tensors, run.path / WEIGHTS)
    for load in (Generator.from_run, lambda run: LanguageModel.from_pretrained(run.path)):
        with pytest.raises(RunError, match=message) as caught:
            load(run)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_weights_in_half_precision_are_read_as_float32_with_the_values_that_torch_reads(
    run: Run, dtype: torch.dtype
) -> None:
    tensors = safetensors.torch.load_file(run.path / WEIGHTS)
    halves = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    safetensors.torch.save_file(halves, run.path / WEIGHTS)
    weights = run.load_weights()
    for name, tensor in halves.items():
        expected = tensor.float() if tensor.is_floating_point() else tensor
        assert weights[name].dtype == expected.numpy().dtype
        assert np.array_equal(weights[name], expected.numpy())
    one, other = (
        Generator(source, run.tokenizer).generate("The", seed=1)[0].text
        for source in (LanguageModel.from_pretrained(run.path),)
        for _ in range(2)
    )
    assert one == other == Generator.from_run(run).generate("The", seed=1)[0].text


@pytest.mark.parametrize("kind", KINDS)
def test_weights_in_each_kind_are_read_as_they_were_rounded(make_run: MakeRun, kind: str) -> None:
    run = make_run(num_layers=2, tie_weights=True, layer_norm=True)
    before = run.load_weights()
    names = [name for name, array in before.items() if array.ndim == 2]
    content = weights_file(narrowed(before, kind), names if kind == "bfloat16" else ())
    (run.path / WEIGHTS).write_bytes(content)
    after, expected = run.load_weights(), rounded(before, kind)
    assert after.keys() == expected.keys()
    for name, array in after.items():
        assert array.dtype == before[name].dtype
        assert array.tobytes() == expected[name].tobytes()
    assert stored_kind(run.path / WEIGHTS) == kind


def test_bfloat16_is_what_torch_reads(make_run: MakeRun) -> None:
    run = make_run()
    weights = run.load_weights()
    names = [name for name, array in weights.items() if array.ndim == 2]
    content = safetensors.torch.load(weights_file(narrowed(weights, "bfloat16"), names))
    for name in names:
        assert torch.equal(content[name], torch.from_numpy(weights[name]).to(torch.bfloat16))


def wrong_scale(tensors: Tensors) -> None:
    tensors["head.weight.scale"] = torch.full_like(tensors["head.weight.scale"], torch.nan)


def short_scale(tensors: Tensors) -> None:
    tensors["head.weight.scale"] = tensors["head.weight.scale"][1:].clone()


def extra_scale(tensors: Tensors) -> None:
    tensors["head.bias.scale"] = tensors["head.weight.scale"].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong_scale, "head.weight has the value nan"),
        (short_scale, "needs head.weight.scale, of type F32"),
        (extra_scale, "head.bias.scale is unknown"),
    ],
)
def test_hostile_scales_are_refused(run: Run, change: Callable[[Tensors], None], message: str) -> None:
    tensors = safetensors.torch.load(weights_file(narrowed(run.load_weights(), "int8")))
    change(tensors)
    safetensors.torch.save_file(tensors, run.path / WEIGHTS)
    with pytest.raises(RunError, match=message):
        run.load_weights()


@pytest.mark.parametrize("sizes", [{}, {"layer_norm": True, "residual": True, "tie_weights": True}], ids=str)
def test_the_largest_weights_that_are_read_overflow_nowhere(
    make_run: MakeRun, cli: Cli, sizes: dict[str, Any]
) -> None:
    """Warnings are errors here, so NumPy may not warn either."""
    run = make_run(num_layers=2, **sizes)
    largest = {
        name: np.where(array < 0, -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.float32)
        if array.dtype == np.float32
        else array
        for name, array in run.load_weights().items()
    }
    save_weights(run.path / WEIGHTS, largest)
    Path("text.txt").write_text("The dog.\n")
    for command in (["sample", run.path, "--seed", 1], ["score", run.path, "text.txt"]):
        result = cli(*command)
        assert "Warning" not in result.stderr
        assert result.exit_code == 0 or len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "sizes", [{"num_layers": 1000}, {"model_vocab_size": 2**21}, {"hidden_size": 2**62}], ids=str
)
def test_sizes_of_the_config_cost_nothing_before_they_are_compared_with_the_file(
    run: Run, sizes: dict[str, int]
) -> None:
    config = dataclasses.replace(run.config.model, **sizes)
    started = time.monotonic()
    with pytest.raises(RunError, match="not the weights of this model"):
        read_weights(run.path / WEIGHTS, config)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "sizes", [{"num_layers": 10**9}, {"model_vocab_size": 10**9}, {"num_layers": 10**30}], ids=str
)
def test_impossible_sizes_are_refused_by_name(run: Run, cli: Cli, sizes: dict[str, int]) -> None:
    content = json.loads((run.path / CONFIG).read_text())
    content["model"] |= sizes
    (run.path / CONFIG).write_text(json.dumps(content))
    assert f"{min(sizes)}={sizes[min(sizes)]}" in cli("sample", run.path).only_error


def test_a_header_without_bounds_is_refused_before_it_is_read(run: Run) -> None:
    path = run.path / WEIGHTS
    with path.open("wb") as file:  # sparse: 90 MB of header that take no room
        file.write(struct.pack("<Q", 90_000_000))
        file.truncate(90_000_008)
    with pytest.raises(RunError, match="header is longer"):
        run.load_weights()


@pytest.mark.parametrize("content", [b"", b"\1", b"{}" * 40])
def test_what_is_no_safetensors_file_is_refused(run: Run, content: bytes) -> None:
    (run.path / WEIGHTS).write_bytes(content)
    with pytest.raises(RunError, match=r"not a readable safetensors file"):
        run.load_weights()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(run: Run) -> None:
    (run.path / WEIGHTS).unlink()
    os.mkfifo(run.path / WEIGHTS)
    with pytest.raises(TextgenError, match="not a regular file"):
        run.load_weights()


@pytest.fixture
def arrays_file(tmp_path: Path) -> Path:
    path = tmp_path / "arrays.safetensors"
    path.write_bytes(weights_file({"a": np.arange(5), "b": np.array([0.5])}))
    return path


def test_any_arrays_are_read_as_they_were_written(arrays_file: Path) -> None:
    arrays = read_arrays(arrays_file, 1000)
    assert arrays["a"].tolist() == [0, 1, 2, 3, 4]
    assert arrays["b"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1] + b"\1", "its SHA-256 is not that of what was written"),
        (lambda content: content[:-1], "not a readable safetensors file"),
        (lambda content: b"", "not a readable safetensors file"),
        (lambda content: content + b"\0" * 1000, "at most 1,000 are written"),
        (lambda content: struct.pack("<Q", 2**40) + content[8:], "its header is longer"),
        (lambda content: safetensors.numpy.save({"a": np.arange(5)}), "has no SHA-256"),
        (lambda content: safetensors.torch.save({"a": torch.zeros(2, dtype=torch.bfloat16)}), "SHA-256"),
    ],
)
def test_a_file_of_arrays_that_is_not_as_it_was_written_is_refused(
    arrays_file: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    arrays_file.write_bytes(damage(arrays_file.read_bytes()))
    with pytest.raises(DamagedError, match=message):
        read_arrays(arrays_file, 1000)
