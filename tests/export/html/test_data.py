"""What the page holds of a run, and which runs it cannot hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.errors import ConfigError
from textgen.export.html.data import packed, require_expressible, unpacked
from textgen.export.source import ExportSource

if TYPE_CHECKING:
    from tests.conftest import MakeRun


def test_int8_is_within_half_a_step_of_each_row_and_vectors_stay_exact() -> None:
    weights = {
        "a.weight": np.random.default_rng(0).normal(size=(5, 9)).astype(np.float32),
        "zero": np.zeros((2, 3), np.float32),
        "bias": np.array([0.123456], np.float32),
    }
    found = unpacked(packed(weights, "int8"))
    step = np.abs(weights["a.weight"]).max(axis=1, keepdims=True) / 127
    assert (np.abs(found["a.weight"] - weights["a.weight"]) <= 0.501 * step).all()
    assert (found["zero"] == 0).all()
    assert found["bias"] == weights["bias"]


def test_a_weight_too_large_for_float16_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"head\.bias has a weight too large for float16"):
        packed({"head.bias": np.array([1e6], np.float32)}, "float16")


def test_a_cell_and_a_tokenizer_that_the_page_lacks_are_refused(make_run: MakeRun) -> None:
    source = ExportSource.open(make_run())
    require_expressible(source)
    model = replace(source.config.model)
    object.__setattr__(model, "cell", "mgu")
    with pytest.raises(ConfigError, match="the page has no cell mgu"):
        require_expressible(replace(source, config=replace(source.config, model=model)))
    source.tokenizer.kind = "external"
    with pytest.raises(ConfigError, match="is from another program"):
        require_expressible(source)
