"""Where the network runs: what is chosen, and what is refused in one line."""

from __future__ import annotations

import pytest
import torch

from textgen import device
from textgen.errors import ConfigError, TrainingError


def test_a_small_network_gets_one_thread_and_a_large_one_every_processor() -> None:
    assert device.resolve_threads(None, hidden_size=64) == 1
    assert device.resolve_threads(None, hidden_size=2048) >= 1
    assert device.resolve_threads(3, hidden_size=64) == 3
    with pytest.raises(ConfigError, match="threads=100000"):
        device.resolve_threads(100_000, hidden_size=64)


@pytest.mark.parametrize(("supported", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_chosen_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str
) -> None:
    monkeypatch.setattr(device, "cpu_multiplies_bfloat16", lambda: supported)
    assert device.resolve_precision("auto", "cpu", cell="lstm", hidden_size=256) == expected
    assert device.resolve_precision("auto", "cpu", cell="gru", hidden_size=32) == "float32"
    assert device.resolve_precision("float32", "cpu", cell="lstm", hidden_size=256) == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert device.resolve_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="cuda"):
        device.resolve_device("cuda")


def test_running_out_of_memory_is_one_line_that_names_the_batch_size() -> None:
    with pytest.raises(TrainingError, match="--batch-size") as error, device.memory_errors():
        torch.empty(2**46)  # 256 TB: what a real allocation that fails raises
    assert "\n" not in str(error.value)


def test_a_bug_is_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shape"), device.memory_errors():
        torch.ones(2, 3) @ torch.ones(2, 3)
