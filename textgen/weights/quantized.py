"""Weights in fewer bits, for export: each matrix in one of KINDS, and back to float32 as it is read.

    int8:     q = round(row / scale), scale = max |row| / 127     one scale for each row
    float16:  11 bits of precision, up to 65,504
    bfloat16: 8 bits of precision, the range of float32

Vectors (biases, norms) stay in float32: they are a small part of a network.

Shapes: R rows of a matrix, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from textgen.errors import ConfigError

# By how it is called here, how safetensors calls it.
KINDS: Mapping[str, str] = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}
SCALE = ".scale"  # after the name of a matrix in int8: the scale of each row, (R,) float32

_LARGEST_INT8 = 127
_LARGEST_FLOAT16 = float(np.finfo(np.float16).max)


def narrowed(weights: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """Arrays by name with each float32 matrix in a kind of KINDS, and NAME.scale for each in int8.

    bfloat16, which NumPy lacks, is the uint16 of its bits. What is not a float32 matrix is returned as it is.

    Raises ConfigError for a value that float16 cannot hold.
    """
    found: dict[str, np.ndarray] = {}
    for name, array in weights.items():
        if array.ndim != 2 or array.dtype != np.float32 or kind == "float32":
            found[name] = array
        elif kind == "int8":
            found[name], found[name + SCALE] = to_int8(array)
        elif kind == "bfloat16":
            found[name] = to_bfloat16(array)
        else:
            if (largest := float(np.abs(array).max(initial=0))) > _LARGEST_FLOAT16:
                raise ConfigError(
                    f"{name} has the value {largest:g}, too large for float16; use another type"
                )
            found[name] = array.astype(np.float16)
    return found


def rounded(weights: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """The arrays by name, in float32, with the values that their matrices have in a kind of KINDS.

    Raises ConfigError as `narrowed`.
    """
    arrays = narrowed(weights, kind)
    return {name: widened(arrays[name], arrays.get(name + SCALE)) for name in weights}


def widened(array: np.ndarray, scale: np.ndarray | None = None) -> np.ndarray:
    """The float32 of an array that `narrowed` gave; scale: of one in int8. Others are returned as is."""
    if scale is not None:
        return from_int8(array, scale)
    if array.dtype == np.uint16:
        return from_bfloat16(array)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def to_int8(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A float32 matrix (R, C) as whole numbers from -127 to 127, int8, and the scales (R,), float32."""
    scale = np.abs(matrix).max(axis=1, initial=0) / np.float32(_LARGEST_INT8)
    # A row of zeros has the scale 0. So has a row of numbers so small that their scale underflows.
    divisor = np.where(scale > 0, scale, np.float32(1))[:, None]
    whole = np.rint(matrix / divisor).clip(-_LARGEST_INT8, _LARGEST_INT8)
    return whole.astype(np.int8), scale


def from_int8(whole: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The float32 matrix (R, C) of int8 numbers (R, C) and scales (R,)."""
    matrix: np.ndarray = whole * scale[:, None]
    return matrix


def to_bfloat16(array: np.ndarray) -> np.ndarray:
    """The bits of finite float32 numbers, of any shape, rounded to bfloat16: uint16. Ties go to even."""
    bits = array.view(np.uint32)
    rounded: np.ndarray = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return rounded.astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers of bfloat16 bits, uint16 of any shape: bfloat16 is the first half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
