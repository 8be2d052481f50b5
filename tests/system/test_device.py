"""Where the network runs: what is chosen, and what is refused in one line."""

from __future__ import annotations

import platform
import subprocess
import sys
import time

import pytest
import torch

from textgen.errors import ConfigError, TrainingError
from textgen.system import device


def test_a_small_network_gets_one_thread_and_a_large_one_every_processor() -> None:
    assert device.resolve_threads(None, hidden_size=64) == 1
    assert device.resolve_threads(None, hidden_size=2048) >= 1
    assert device.resolve_threads(3, hidden_size=64) == 3
    with pytest.raises(ConfigError, match="threads=100000"):
        device.resolve_threads(100_000, hidden_size=64)


@pytest.mark.parametrize(("gains", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_chosen_where_the_processor_gains_by_it(
    monkeypatch: pytest.MonkeyPatch, gains: bool, expected: str
) -> None:
    monkeypatch.setattr(device, "cpu_gains_by_bfloat16", lambda: gains)
    assert device.resolve_precision("auto", "cpu", cell="lstm", hidden_size=256) == expected
    assert device.resolve_precision("auto", "cpu", cell="gru", hidden_size=32) == "float32"
    assert device.resolve_precision("float32", "cpu", cell="lstm", hidden_size=256) == "float32"


@pytest.mark.parametrize("slow", [torch.float32, torch.bfloat16])
def test_a_processor_gains_by_bfloat16_where_its_products_are_the_faster(
    monkeypatch: pytest.MonkeyPatch, slow: torch.dtype
) -> None:
    """Intel processors without AMX have the instructions, and lose by them."""
    monkeypatch.setattr(device, "cpu_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(torch, "mm", lambda a, b: time.sleep(0.004 if a.dtype == slow else 0.001))
    assert device.cpu_gains_by_bfloat16.__wrapped__() is (slow == torch.float32)
    monkeypatch.setattr(device, "cpu_multiplies_bfloat16", lambda: False)
    assert not device.cpu_gains_by_bfloat16.__wrapped__()


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


FAULTS = """
import resource, sys
import numpy
from textgen.system.device import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def use():
    block = numpy.empty(2**26, numpy.uint8)  # above what glibc itself would come to keep
    block[::4096] = 1
for _ in range(3):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
def test_memory_that_is_kept_is_not_cleared_by_the_system_again() -> None:
    faults = {
        mode: int(
            subprocess.run([sys.executable, "-c", FAULTS, mode], check=True, capture_output=True).stdout
        )
        for mode in ("keep", "return")
    }
    # 49,152 small pages, or where the system has them 96 huge ones.
    assert faults["return"] > 90 > 45 > faults["keep"]
