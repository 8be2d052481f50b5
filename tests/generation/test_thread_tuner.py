from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from textgen.generation.numpy_engine.engine import NumpyEngine
from textgen.generation.numpy_engine.layers import WIDE
from textgen.generation.numpy_engine.thread_tuner import (
    AFTER_GAIN,
    LONGEST_AFTER_NONE,
    ThreadTuner,
    TunedEngine,
    fast_engine,
)
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig


class Machine:
    """A machine on which a step takes so many seconds by the number of threads; counts the steps of each."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.threads = 0
        self.seconds = seconds
        self.steps = {1: 0, 2: 0}
        self.time = 0.0
        self.pace = ThreadTuner(self.set_threads)

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def run(self, seconds: float) -> None:
        end = self.time + seconds
        while self.time < end:
            self.steps[self.threads] += 1
            took = self.seconds(self.threads)
            self.time += took
            self.pace.observe(took)


def test_two_threads_are_kept_where_they_are_faster() -> None:
    machine = Machine(lambda threads: 1e-4 / threads)
    machine.run(10)
    assert machine.steps[2] > 0.95 * sum(machine.steps.values())


@pytest.mark.parametrize("of_two", [1e-4, 0.95e-4, 8e-3])
def test_one_thread_is_kept_where_two_save_too_little_or_wait_for_each_other(of_two: float) -> None:
    machine = Machine(lambda threads: {1: 1e-4, 2: of_two}[threads])
    machine.run(30)
    assert machine.steps[1] > 0.95 * sum(machine.steps.values())
    assert machine.steps[2] * of_two < 0.02 * machine.time, "trials that bring nothing cost next to nothing"


def test_two_threads_are_left_as_soon_as_they_become_slow_and_taken_again_later() -> None:
    busy = False
    machine = Machine(lambda threads: 1e-4 if threads == 1 else 8e-3 if busy else 0.5e-4)
    machine.run(2)
    busy, before = True, machine.steps[2]
    machine.run(10)
    assert machine.steps[2] - before < 20
    busy, before = False, machine.steps[2]
    machine.run(LONGEST_AFTER_NONE + AFTER_GAIN)
    assert machine.steps[2] - before > 1000


def test_the_logits_of_a_step_are_the_same_to_the_last_bit_on_one_thread_and_on_two() -> None:
    """Where there is one processor this compares one thread with itself."""
    ids = np.random.default_rng(0).integers(0, 67, 40)
    for cell, num_layers, units in itertools.product(("lstm", "gru", "rnn"), (1, 2), (256, 601)):
        torch.manual_seed(0)
        config = ModelConfig(
            model_vocab_size=67, cell=cell, embedding_dim=8, hidden_size=units, num_layers=num_layers
        )
        engine = NumpyEngine(config, LanguageModel(config).weights())
        logits: list[bytes] = []
        for threads in (1, 2):
            with threadpool_limits(1):
                engine.start(ids[None, :1])
            with threadpool_limits(threads):
                logits.append(b"".join(engine.step(ids[place : place + 1]).tobytes() for place in range(40)))
        assert logits[0] == logits[1], (cell, num_layers, units)


def test_a_paced_engine_gives_what_the_plain_one_gives_also_for_several_texts_and_copies() -> None:
    torch.manual_seed(0)
    config = ModelConfig(model_vocab_size=30, embedding_dim=8, hidden_size=40, num_layers=2)
    weights = LanguageModel(config).weights()
    told: list[int] = []
    plain, paced = NumpyEngine(config, weights), TunedEngine(config, weights, told.append)
    prompts = np.arange(12).reshape(4, 3)
    assert np.array_equal(paced.start(prompts), plain.start(prompts))
    told.clear()
    assert np.array_equal(paced.step(np.arange(4)), plain.step(np.arange(4)))
    assert told == [1], "several texts at once are read on one thread"
    plain.start(prompts[:1])
    paced.start(prompts[:1])
    for row in range(30):
        assert np.array_equal(paced.step(np.array([row])), plain.step(np.array([row])))
    assert set(told) == {1, 2}, "a single text is tried on both"


def test_only_a_wide_network_is_paced() -> None:
    def engine(hidden_size: int) -> NumpyEngine:
        config = ModelConfig(model_vocab_size=30, embedding_dim=8, hidden_size=hidden_size)
        return fast_engine(config, LanguageModel(config).weights(), lambda threads: None)

    wide = int((WIDE / 4) ** 0.5)
    assert isinstance(engine(wide), TunedEngine)
    assert not isinstance(engine(wide // 2), TunedEngine)


def test_numpy_threads_are_set_at_any_time_and_what_the_user_set_stays(tmp_path: Path) -> None:
    script = tmp_path / "threads.py"
    script.write_text(
        "from textgen.system.threads import multiply_on_few_threads, numpy_threads\n"
        "chosen = multiply_on_few_threads()\n"
        "from threadpoolctl import threadpool_info\n"
        "set_threads = numpy_threads()\n"
        "def blas():\n"
        "    return [each['num_threads'] for each in threadpool_info() if each['user_api'] == 'blas']\n"
        "before = blas()\n"
        "if set_threads is not None: set_threads(1)\n"
        "assert numpy_threads() is set_threads, 'also when one thread is set by now'\n"
        "print(chosen, before, blas())\n"
    )

    def run(**environment: str) -> str:
        answer = subprocess.run(
            [sys.executable, script], env=environment, check=True, capture_output=True, text=True
        )
        return answer.stdout.strip()

    by_itself = run()
    assert by_itself.startswith("True")
    assert by_itself.endswith("[1]")
    assert run(OMP_NUM_THREADS="1") == "False [1] [1]"
