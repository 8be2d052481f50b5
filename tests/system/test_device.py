"""Device and precision: what auto means, and the error for a device that is not there."""

from __future__ import annotations

import time

import pytest
import torch

from textgen.errors import ConfigError
from textgen.system import device


@pytest.mark.parametrize(("gains", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_where_the_processor_is_faster_with_it(
    monkeypatch: pytest.MonkeyPatch, gains: bool, expected: str
) -> None:
    monkeypatch.setattr(device, "cpu_gains_by_bfloat16", lambda: gains)
    assert device.resolve_precision("auto", "cpu", cell="lstm", hidden_size=256) == expected
    assert device.resolve_precision("auto", "cpu", cell="gru", hidden_size=32) == "float32"
    assert device.resolve_precision("float32", "cpu", cell="lstm", hidden_size=256) == "float32"


@pytest.mark.parametrize("slow", [torch.float32, torch.bfloat16])
def test_a_processor_gains_by_bfloat16_if_its_bfloat16_products_are_faster(
    monkeypatch: pytest.MonkeyPatch, slow: torch.dtype
) -> None:
    """Intel processors without AMX have the instructions, but are slower with them."""
    monkeypatch.setattr(device, "cpu_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(torch, "mm", lambda a, b: time.sleep(0.004 if a.dtype == slow else 0.001))
    assert device.cpu_gains_by_bfloat16.__wrapped__() is (slow == torch.float32)
    monkeypatch.setattr(device, "cpu_multiplies_bfloat16", lambda: False)
    assert not device.cpu_gains_by_bfloat16.__wrapped__()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_is_refused_where_there_is_no_gpu() -> None:
    assert device.resolve_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="cuda"):
        device.resolve_device("cuda")
