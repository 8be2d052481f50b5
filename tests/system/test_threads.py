"""The number of CPU threads: what is chosen, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from textgen.errors import ConfigError
from textgen.system.threads import available_processors, resolve_threads


def test_a_small_network_gets_one_thread_and_a_large_one_every_processor() -> None:
    assert resolve_threads(None, hidden_size=64) == 1
    assert resolve_threads(None, hidden_size=2048) == available_processors()


def test_a_requested_number_of_threads_is_used_unless_it_is_absurd() -> None:
    assert resolve_threads(3, hidden_size=64) == 3
    with pytest.raises(ConfigError, match="threads=100000"):
        resolve_threads(100_000, hidden_size=64)


def environment_after(call: str, **variables: str) -> str:
    """What a call of textgen.system.threads returns and sets, in a process with these variables only."""
    code = (
        f"import os; from textgen.system import threads; returned = threads.{call}()\n"
        "print(returned, os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_NUM_THREADS'))"
    )
    names = {
        "OMP_WAIT_POLICY",
        "GOMP_SPINCOUNT",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OMP_NUM_THREADS",
    }
    environment = {name: value for name, value in os.environ.items() if name not in names} | variables
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_idle_threads_spin_briefly_unless_the_user_has_set_how_they_wait() -> None:
    assert environment_after("limit_spinning") == "None 2000 None"
    assert environment_after("limit_spinning", GOMP_SPINCOUNT="7") == "None 7 None"
    assert environment_after("limit_spinning", OMP_WAIT_POLICY="active") == "None None None"


def test_numpy_multiplies_on_two_threads_at_most_unless_the_user_has_set_a_number() -> None:
    few = min(2, available_processors())
    assert environment_after("multiply_on_few_threads") == f"True None {few}"
    assert environment_after("multiply_on_few_threads", OMP_NUM_THREADS="5") == "False None 5"
