"""Hostile files, by what they are: each is a function that changes a run, given its directory.

Digests show damage, not who wrote a file: so weights get one that fits, and hostile_runs.py removes
files.json.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from textgen.weights.file import weights_file

Change = Callable[[Path], object]

CONFIG, TOKENIZER, WEIGHTS, METRICS = "config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl"
FILES, NGRAM = "files.json", "ngram.safetensors"
DEEP = '{"a":' * 3000 + "1" + "}" * 3000
RECORD = {
    "kind": "train", "step": 1, "epoch": 0.1, "nats_per_token": 2.5, "gradient_norm": 0.5,
    "learning_rate": 0.01, "tokens_per_second": 1000, "seconds": 0.1,
}  # fmt: skip
_FLAGS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)


def written(name: str, content: str | bytes) -> Change:
    """A file with another content."""
    data = content.encode() if isinstance(content, str) else content
    return lambda run: (run / name).write_bytes(data)


def sparse(name: str, size: int) -> Change:
    """A file of zeros that takes no space."""

    def change(run: Path) -> None:
        with (run / name).open("wb") as file:
            file.truncate(size)

    return change


def replaced(name: str, make: Callable[[Path], object]) -> Change:
    """A file that is removed, and something else made in its place."""

    def change(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return change


def linked(target: str) -> Callable[[Path], object]:
    """A symbolic link to somewhere."""
    return lambda path: path.symlink_to(target)


def in_json(name: str, *keys: str, value: Any) -> Change:
    """A JSON file with one value changed; the keys lead to it, and the last may be new."""

    def change(run: Path) -> None:
        data = place = json.loads((run / name).read_text(encoding="utf-8"))
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        (run / name).write_text(json.dumps(data), encoding="utf-8")

    return change


def in_weights(edit: Callable[[dict[str, np.ndarray]], object], name: str = WEIGHTS) -> Change:
    """Weights, or another file of arrays, that were edited, as arrays by name."""

    def change(run: Path) -> None:
        arrays = {name: array.copy() for name, array in safetensors.numpy.load_file(run / name).items()}
        edit(arrays)
        (run / name).write_bytes(weights_file(arrays))

    return change


def _set(name: str, value: float) -> Change:
    return in_weights(lambda arrays: arrays[name].reshape(-1).__setitem__(-1, value))


def _cast(name: str, dtype: str) -> Change:
    return in_weights(lambda arrays: arrays.update({name: arrays[name].astype(dtype)}))


def _scaled(factor: float) -> Change:
    def edit(arrays: dict[str, np.ndarray]) -> None:
        for array in arrays.values():
            if array.dtype == np.float32:
                array *= np.float32(factor)

    return in_weights(edit)


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def _sequence(steps: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return {"type": "Sequence", name: steps}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _added(number: int) -> list[dict[str, Any]]:
    return [_FLAGS | {"id": 1000 + index, "content": f"<x{index}>"} for index in range(number)]


def _vocab(size: int) -> dict[str, int]:
    return {str(number): number for number in range(size)}


def _nested(depth: int) -> dict[str, Any]:
    step: dict[str, Any] = {"type": "NFC"}
    for _ in range(depth):
        step = _sequence([step], "normalizers")
    return step


_PADDING = {
    "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
    "pad_type_id": 0, "pad_token": "x",
}  # fmt: skip
_TRUNCATION = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}

HOSTILE: dict[str, Change] = {
    # configurations
    "config of an array": written(CONFIG, "[]"),
    "config nested deeply": written(CONFIG, DEEP),
    "config of brackets": written(CONFIG, "[" * 200_000),
    "config of a terabyte": sparse(CONFIG, 10**12),
    "config in UTF-16": written(CONFIG, "{}".encode("utf-16")),
    "config of format 10**400": in_json(CONFIG, "format", value=10**400),
    "config without sections": written(CONFIG, '{"format": 2}'),
    "config with an unknown field": in_json(CONFIG, "model", "x\x1b[2J\n", value=1),
    "config with a long number": written(CONFIG, '{"format": ' + "9" * 100_000 + "}"),
    "config of NaN": in_json(CONFIG, "training", "learning_rate", value=float("nan")),
    "config with text for a number": in_json(CONFIG, "model", "hidden_size", value="24"),
    "config with true for a number": in_json(CONFIG, "model", "num_layers", value=True),
    "config with lists for numbers": in_json(CONFIG, "training", "batch_size", value=[[8]]),
    "hidden_size 10**9": in_json(CONFIG, "model", "hidden_size", value=10**9),
    "hidden_size 2**62": in_json(CONFIG, "model", "hidden_size", value=2**62),
    "num_layers 10**7": in_json(CONFIG, "model", "num_layers", value=10**7),
    "num_layers 10**30": in_json(CONFIG, "model", "num_layers", value=10**30),
    "embedding_dim 10**12": in_json(CONFIG, "model", "embedding_dim", value=10**12),
    "model_vocab_size 10**9": in_json(CONFIG, "model", "model_vocab_size", value=10**9),
    "model_vocab_size 1": in_json(CONFIG, "model", "model_vocab_size", value=1),
    "labels that are many": in_json(CONFIG, "model", "labels", value=[str(n) for n in range(200_000)]),
    "start_id out of range": in_json(CONFIG, "model", "start_id", value=10**6),
    "threads 10**9": in_json(CONFIG, "training", "threads", value=10**9),
    "eval_tokens 10**18": in_json(CONFIG, "training", "eval_tokens", value=10**18),
    "measured that is text": in_json(CONFIG, "measured", value="x"),
    "measured of NaN": in_json(CONFIG, "measured", "characters_per_token", value=float("nan")),
    "measured of 0": in_json(CONFIG, "measured", "train_tokens", value=0),
    "corpus that is a device": in_json(CONFIG, "data", "corpus", value=["/dev/zero"]),
    "corpus that is everything": in_json(CONFIG, "data", "corpus", value=["/proc"]),
    "corpus at a URL": in_json(CONFIG, "data", "corpus", value=["http://127.0.0.1:9/x"]),
    "corpus with a NUL": in_json(CONFIG, "data", "corpus", value=["a\0b"]),
    "corpus of surrogates": in_json(CONFIG, "data", "corpus", value=["\udcff"]),
    "from_run that is itself": in_json(CONFIG, "from_run", value="run"),
    # weights
    "weights empty": written(WEIGHTS, b""),
    "weights of a pickle": written(WEIGHTS, b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x02os\x94."),
    "weights with a header of 90 MB": written(WEIGHTS, struct.pack("<Q", 90_000_000) + b" " * 1000),
    "weights with a header of 2**63": written(WEIGHTS, struct.pack("<Q", 2**63) + b"{}"),
    "weights of a terabyte": sparse(WEIGHTS, 10**12),
    "weights of infinity": _set("head.bias", np.inf),
    "weights of NaN": _set("layers.weight_hh_l0", np.nan),
    "weights that overflow": _scaled(1e30),
    "weights that almost overflow": _scaled(1e8),
    "weights of zeros": _scaled(0),
    "weights in float64": _cast("head.bias", "f8"),
    "weights in int8": _cast("head.weight", "i1"),
    "weights without a layer": in_weights(lambda arrays: arrays.pop("layers.weight_hh_l0")),
    "weights with another array": in_weights(lambda arrays: arrays.update(extra=np.zeros(10, "f4"))),
    "weights of no size": in_weights(lambda arrays: arrays.update({"head.bias": np.zeros(0, "f4")})),
    "a token twice": in_weights(lambda arrays: arrays["token_ids"].__setitem__(1, arrays["token_ids"][0])),
    "a token below 0": _set("token_ids", -1),
    "a token of 2**40": _set("token_ids", 2**40),
    "a token never seen": _set("token_counts", 0),
    "counts that overflow": _set("token_counts", 2**62),
    # tokenizers
    "tokenizer empty": written(TOKENIZER, b""),
    "tokenizer nested deeply": written(TOKENIZER, DEEP),
    "tokenizer of a terabyte": sparse(TOKENIZER, 10**12),
    "tokenizer without a model": written(TOKENIZER, '{"version": "1.0"}'),
    "tokenizer with an id of 2**31": in_json(TOKENIZER, "model", "vocab", "x", value=2**31),
    "tokenizer with an id of 2**64": in_json(TOKENIZER, "model", "vocab", "x", value=2**64),
    "tokenizer with an id below 0": in_json(TOKENIZER, "model", "vocab", "x", value=-1),
    "tokenizer with a long token": in_json(TOKENIZER, "model", "vocab", "x" * 10**6, value=400),
    "tokenizer of a million tokens": in_json(TOKENIZER, "model", "vocab", value=_vocab(10**6)),
    "tokenizer with many added tokens": in_json(TOKENIZER, "added_tokens", value=_added(300_000)),
    "tokenizer that doubles 40 times": in_json(
        TOKENIZER, "normalizer", value=_sequence([_replace("a", "aa")] * 40, "normalizers")
    ),
    "tokenizer whose decoder doubles": in_json(
        TOKENIZER, "decoder", value=_sequence([_replace("a", "aa")] * 40, "decoders")
    ),
    "tokenizer with a deep sequence": in_json(TOKENIZER, "normalizer", value=_nested(200)),
    "tokenizer with an endless pattern": in_json(TOKENIZER, "pre_tokenizer", value=_split("(a+)+$")),
    "tokenizer with a long pattern": in_json(TOKENIZER, "pre_tokenizer", value=_split("a" * 10**6)),
    "tokenizer with a broken pattern": in_json(TOKENIZER, "pre_tokenizer", value=_split("(")),
    "tokenizer that panics": in_json(
        TOKENIZER, "pre_tokenizer", value={"type": "FixedLength", "length": "x"}
    ),
    "tokenizer with a broken charsmap": in_json(
        TOKENIZER, "normalizer", value={"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    ),
    "tokenizer that pads": in_json(TOKENIZER, "padding", value=_PADDING),
    "tokenizer that truncates": in_json(TOKENIZER, "truncation", value=_TRUNCATION),
    # metrics
    "metrics empty": written(METRICS, b""),
    "metrics of NUL": written(METRICS, b"\0" * 10_000),
    "metrics nested deeply": written(METRICS, DEEP + "\n"),
    "metrics of a long line": written(METRICS, '"' + "x" * 30_000_000 + '"\n'),
    "metrics of numbers": written(METRICS, "1\n2\n"),
    "metrics of a million lines": lambda run: (run / METRICS).write_text((json.dumps(RECORD) + "\n") * 10**6),
    "metrics of infinity": written(METRICS, json.dumps(RECORD | {"nats_per_token": float("inf")}) + "\n"),
    "metrics of 10**400": written(METRICS, json.dumps(RECORD | {"seconds": 10**400}) + "\n"),
    "metrics of text": written(METRICS, json.dumps(RECORD | {"step": "1", "kind": "val"}) + "\n"),
    "metrics with fields missing": written(METRICS, '{"kind": "final", "step": 1}\n'),
    "metrics cut short": written(METRICS, json.dumps(RECORD)[:-9]),
    "metrics of control characters": written(METRICS, json.dumps(RECORD | {"kind": "\x1b[2J\r\n"}) + "\n"),
    # digests
    "files.json of an array": written(FILES, "[]"),
    "files.json nested deeply": written(FILES, DEEP),
    "files.json of a terabyte": sparse(FILES, 10**12),
    "files.json without files": written(FILES, '{"files": []}'),
}

# What may stand in the place of each file that a run needs.
_THINGS: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": linked("nothing"),
}
if os.name == "posix":
    _THINGS |= {
        "a pipe": os.mkfifo,
        "a link to /dev/zero": linked("/dev/zero"),
        "a link to /dev/null": linked("/dev/null"),
        "a link to /dev/urandom": linked("/dev/urandom"),
    }
for _file in (CONFIG, TOKENIZER, WEIGHTS, NGRAM, METRICS, FILES):
    HOSTILE |= {f"{_file} is {name}": replaced(_file, make) for name, make in _THINGS.items()}
HOSTILE["the training folder is a file"] = lambda run: (
    shutil.rmtree(run / "training"),
    (run / "training").write_bytes(b""),
)
