"""Reading model.safetensors: everything is checked before a network is built from it.

    digest → header ─names, types, shapes, sizes→ arrays ─values→ the weights of a network

A run may come from a stranger. What is read here is finite, belongs to the network of config.json, and is
small enough that no sum of its products overflows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from textgen.errors import RunError
from textgen.settings.config import MAX_VOCAB_SIZE, ModelConfig
from textgen.system.digests import DamagedError
from textgen.system.memory import total_memory
from textgen.weights.quantized import KINDS, SCALE, widened
from textgen.weights.shapes import (
    EMBEDDING,
    LAYERS,
    RESIDUAL_MARK,
    TOKEN_COUNTS,
    TOKEN_IDS,
    check_weights,
    parameter_shapes,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

# Trained weights are far smaller. The products of three of these (embedding, projection, norm) are still
# finite in float32 in a network of tens of thousands of units, so that no logit can overflow.
LARGEST_WEIGHT = 1e9
# How often training saw all tokens together; a sum of counts below it is exact in int64 and in float64.
MOST_TOKENS_SEEN = 2**53

_MATRICES = tuple(KINDS.values())  # what weights with rows may be stored in
_VECTORS = ("F32", "F16", "BF16")
_MAX_HEADER_BYTES = 2**23
_LENGTH = struct.Struct("<Q")  # of the header, in bytes; the header follows it
# The digest is in the file itself, in the metadata of the header, because the file is replaced alone.
_METADATA, _DIGEST = "__metadata__", "sha256"
_BLOCK_BYTES = 2**20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Header:
    """One array of a safetensors file before it is read."""

    dtype: str
    shape: tuple[int, ...]


def weights_file(weights: Mapping[str, np.ndarray], bfloat16: Collection[str] = ()) -> bytes:
    """The content of a safetensors file with these arrays by name, and with a digest of itself.

    bfloat16: the names of those that are the bits of bfloat16 numbers, in uint16.
    """
    content = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in weights.items()})
    (length,) = _LENGTH.unpack_from(content)
    header, data = json.loads(content[_LENGTH.size : _LENGTH.size + length]), content[_LENGTH.size + length :]
    for name in bfloat16:
        header[name]["dtype"] = KINDS["bfloat16"]
    digest = _digest_begun_with(header)
    digest.update(data)
    text = json.dumps({_METADATA: {_DIGEST: digest.hexdigest()}} | header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH.size)  # the format aligns the data
    return b"".join((_LENGTH.pack(len(text)), text, data))


def _digest_begun_with(header: Mapping[str, Any]) -> Any:
    """A SHA-256 of a header without its metadata, to be updated with the data."""
    arrays = {name: value for name, value in header.items() if name != _METADATA}
    return hashlib.sha256(json.dumps(arrays, sort_keys=True).encode())


def _read_header(file: BinaryIO) -> dict[str, Any]:
    """The header of a safetensors file that safe_open has checked; its data is read next."""
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    header: dict[str, Any] = json.loads(file.read(length))
    return header


def _check_digest(path: Path, *, required: bool) -> None:
    """Raise DamagedError where a file of safetensors has another digest than the one in its metadata.

    required: also where it has none there; else that is a warning.
    """
    with path.open("rb") as file:
        header = _read_header(file)
        expected = header.get(_METADATA, {}).get(_DIGEST)
        if expected is None and required:
            raise DamagedError("damaged: it has no SHA-256 to check it against")
        if expected is None:
            _log.warning("%s: made by an earlier version, without a SHA-256 to check it against", path)
            return
        digest = _digest_begun_with(header)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise DamagedError("damaged: its SHA-256 is not that of what was written")


def read_weights(path: Path, config: ModelConfig) -> dict[str, np.ndarray]:
    """The arrays of a network by name: weights in float32, the model vocabulary in int64.

    Weights that are stored in fewer bits (quantized.py) are widened.

    Raises FileNotFoundError, PermissionError; DamagedError for a file that is not as it was written, or not
    safetensors; RunError for arrays that are not those of the config, and for values that no training gives.
    """
    with _opened(path) as file:
        _check_digest(path, required=False)
        headers = _headers(file)
        scales = _take_scales(headers, path)
        _check_headers(headers, config, path)
        weights = {}
        for name, header in headers.items():
            # NumPy lacks bfloat16.
            stored = _bits(path, name, header) if header.dtype == "BF16" else file.get_tensor(name)
            scale = file.get_tensor(name + SCALE) if name in scales else None
            with np.errstate(invalid="ignore", over="ignore"):  # check_values refuses the result
                weights[name] = widened(stored, scale)
    check_values(weights, str(path))
    return weights


def stored_kind(path: Path) -> str:
    """How the matrices of a network are stored: one of quantized.KINDS.

    The file is only looked at, not checked. Raises as read_weights for what is not safetensors.
    """
    with _opened(path) as file:
        dtype = _headers(file).get(EMBEDDING, _Header("F32", ())).dtype
    return next((kind for kind, name in KINDS.items() if name == dtype), "float32")


def _headers(file: Any) -> dict[str, _Header]:
    """What an open safetensors file says of each array."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    return {name: _Header(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def _take_scales(headers: dict[str, _Header], path: Path) -> set[str]:
    """Remove the scales of matrices in int8 from the headers; returns the names of these. Raises RunError."""
    names = {name for name, header in headers.items() if header.dtype == "I8" and len(header.shape) == 2}
    for name in names:
        expected = _Header("F32", headers[name].shape[:1])
        if headers.pop(name + SCALE, None) != expected:
            raise RunError(
                f"{path}: {name} is of type I8, which needs {name + SCALE}, of type F32 and shape "
                f"{expected.shape}; export the run again"
            )
    return names


def read_arrays(path: Path, largest_bytes: int | None = None) -> dict[str, np.ndarray]:
    """The arrays of any file that weights_file wrote, by name; what is in them is not checked.

    Raises FileNotFoundError, PermissionError; DamagedError for a file that is not as it was written, not
    safetensors, or longer than largest_bytes (None: any length).
    """
    with _opened(path, largest_bytes) as file:
        _check_digest(path, required=True)
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


@contextmanager
def _opened(path: Path, largest_bytes: int | None = None) -> Iterator[Any]:
    """A safetensors file, whose header is of a usual size.

    largest_bytes: as in read_arrays. Raises what read_arrays does, also from within the block.
    """
    try:
        _check_header_size(path)
        if largest_bytes is not None and (size := path.stat().st_size) > largest_bytes:
            raise DamagedError(f"it has {size:,} bytes, and at most {largest_bytes:,} are written")
        with safe_open(path, framework="np") as file:
            yield file
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: a type that NumPy lacks
        raise DamagedError(f"not a readable safetensors file ({error})") from error


def check_values(weights: Mapping[str, np.ndarray], where: str) -> None:
    """Refuse values that no training gives. `where` names their source. Raises RunError."""
    for name, array in weights.items():
        # The extremes are NaN where a value is, and then the comparison is false.
        if array.dtype.kind == "f" and array.size and not -LARGEST_WEIGHT <= array.min() <= LARGEST_WEIGHT:
            raise _damaged(where, name, array)
        if array.dtype.kind == "f" and array.size and not array.max() <= LARGEST_WEIGHT:
            raise _damaged(where, name, array)
    token_ids, counts = weights[TOKEN_IDS], weights[TOKEN_COUNTS]
    if token_ids.min() < 0 or token_ids.max() >= MAX_VOCAB_SIZE:
        raise RunError(f"{where}: {TOKEN_IDS} must be 0 or more and below {MAX_VOCAB_SIZE:,}; it is damaged")
    if len(np.unique(token_ids)) < len(token_ids):
        raise RunError(f"{where}: {TOKEN_IDS} has the same token twice; it is damaged")
    if counts.min() < 1 or counts.astype(np.float64).sum() >= MOST_TOKENS_SEEN:
        raise RunError(f"{where}: {TOKEN_COUNTS} must be 1 or more, and below 2**53 together; it is damaged")


def _damaged(where: str, name: str, array: np.ndarray) -> RunError:
    outside = array[~(np.abs(array) <= LARGEST_WEIGHT)]
    return RunError(
        f"{where}: {name} has the value {outside.flat[0]:g}, and weights are finite and at most "
        f"{LARGEST_WEIGHT:g} in size: it is damaged; train it again"
    )


def _check_header_size(path: Path) -> None:
    """Refuse what is no regular file, or begins with a header longer than that of any network here."""
    if path.exists() and not path.is_file():
        raise RunError(f"{path}: not a regular file")
    with path.open("rb") as file:
        start = file.read(_LENGTH.size)
    if len(start) == _LENGTH.size and _LENGTH.unpack(start)[0] > _MAX_HEADER_BYTES:
        raise DamagedError(
            f"not a readable safetensors file (its header is longer than {_MAX_HEADER_BYTES:,} bytes)"
        )


def _check_headers(headers: Mapping[str, _Header], config: ModelConfig, path: Path) -> None:
    check_weights(config, headers, str(path))
    learned = parameter_shapes(config)
    expected = {TOKEN_IDS: ("I64",), TOKEN_COUNTS: ("I64",), LAYERS + RESIDUAL_MARK: ("U8",)}
    for name, header in headers.items():
        floats = _MATRICES if len(header.shape) == 2 else _VECTORS
        allowed = floats if name in learned else expected[name]
        if header.dtype not in allowed:
            raise RunError(
                f"{path}: {name} is of type {header.dtype}, and textgen reads {', '.join(allowed)}; "
                "convert the weights"
            )
    needed = 4 * sum(int(np.prod(header.shape, dtype=np.float64)) for header in headers.values())
    memory = total_memory()
    if memory is not None and needed > memory:
        raise RunError(
            f"{path}: its weights take {needed / 1e9:,.1f} GB, and this machine has {memory / 1e9:,.1f} GB; "
            "read it on a larger one"
        )


def _bits(path: Path, name: str, header: _Header) -> np.ndarray:
    """The bits of an array of 16-bit numbers, uint16. The file must have been checked by safe_open."""
    with path.open("rb") as file:
        begin, end = _read_header(file)[name]["data_offsets"]
        file.seek(begin, os.SEEK_CUR)
        return np.frombuffer(file.read(end - begin), "<u2").reshape(header.shape)
