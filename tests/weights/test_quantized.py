"""Matrices in fewer bits: how far each kind is from float32, and that torch rounds alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textgen.errors import ConfigError
from textgen.weights.quantized import (
    KINDS,
    from_bfloat16,
    from_int8,
    narrowed,
    rounded,
    to_bfloat16,
    to_int8,
)


@pytest.fixture
def matrix() -> np.ndarray:
    """Numbers of very different sizes, of both signs."""
    random = np.random.default_rng(0)
    sizes = 10.0 ** random.integers(-6, 4, (40, 1))
    return (random.normal(size=(40, 30)) * sizes).astype(np.float32)


def test_bfloat16_rounds_as_torch_does(matrix: np.ndarray) -> None:
    # Among them are ties, and the largest and smallest numbers.
    numbers = np.concatenate([matrix.ravel(), np.float32([0, -0.0, 1.00390625, 1.01171875, 1e9, 1e-40])])
    expected = torch.from_numpy(numbers).to(torch.bfloat16)
    assert np.array_equal(to_bfloat16(numbers), expected.view(torch.uint16).numpy())
    assert np.array_equal(from_bfloat16(to_bfloat16(numbers)), expected.float().numpy())


def test_int8_is_within_half_a_step_of_each_number_and_exact_for_the_largest_of_a_row(
    matrix: np.ndarray,
) -> None:
    whole, scale = to_int8(matrix)
    assert (whole.dtype, scale.dtype) == (np.int8, np.float32)
    difference = np.abs(from_int8(whole, scale) - matrix)
    assert (difference <= scale[:, None] * 0.5001).all()
    assert (np.abs(whole.astype(int)).max(axis=1) == 127).all()


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e9])
def test_rows_of_nothing_or_of_extremes_stay_finite(value: float) -> None:
    matrix = np.full((2, 3), value, np.float32)
    with np.errstate(all="raise", under="ignore"):
        read = from_int8(*to_int8(matrix))
    np.testing.assert_allclose(read, matrix, rtol=1e-6, atol=1e-40)


@pytest.mark.parametrize(("kind", "bound"), [("float32", 0.0), ("float16", 2e-3), ("bfloat16", 5e-3)])
def test_each_kind_keeps_its_precision_and_leaves_vectors_and_whole_numbers_alone(
    kind: str, bound: float
) -> None:
    matrix = np.random.default_rng(1).normal(size=(9, 8)).astype(np.float32)
    arrays = {"a.weight": matrix, "a.bias": matrix[0].copy(), "token_ids": np.arange(3)}
    read = rounded(arrays, kind)
    assert {name: array.dtype for name, array in read.items()} == {n: a.dtype for n, a in arrays.items()}
    np.testing.assert_allclose(read["a.weight"], matrix, rtol=bound)
    for name in ("a.bias", "token_ids"):
        assert np.array_equal(read[name], arrays[name])
    assert np.array_equal(read["a.weight"], matrix) == (kind == "float32")


@pytest.mark.parametrize(("kind", "size"), [("float32", 4), ("float16", 2), ("bfloat16", 2), ("int8", 1)])
def test_a_number_takes_the_bytes_of_its_kind(kind: str, size: int) -> None:
    arrays = narrowed({"a": np.ones((9, 8), np.float32)}, kind)
    assert arrays["a"].nbytes == 72 * size
    assert set(KINDS) >= {kind}


def test_what_float16_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a has the value 70000, too large for float16; use another type"):
        narrowed({"a": np.full((1, 1), 70000, np.float32)}, "float16")
