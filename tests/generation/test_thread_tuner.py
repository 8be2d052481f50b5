"""When steps run on one thread and when on two, and that several threads of Python may use one tuner."""

from __future__ import annotations

import copy
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from textgen.generation.generator import Generator
from textgen.generation.numpy_engine.engine import NumpyEngine
from textgen.generation.numpy_engine.layers import WIDE
from textgen.generation.numpy_engine.thread_tuner import (
    AFTER_GAIN,
    LONGEST_AFTER_NONE,
    ThreadTuner,
    TunedEngine,
    fast_engine,
)
from textgen.generation.sample import Sample
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig, SampleConfig
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer


class Machine:
    """A simulated machine: seconds per step by the number of threads; counts the steps with each."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.threads = 0
        self.seconds = seconds
        self.steps = {1: 0, 2: 0}
        self.time = 0.0
        self.tuner = ThreadTuner(self.set_threads)

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def run(self, seconds: float) -> None:
        end = self.time + seconds
        while self.time < end:
            self.steps[self.threads] += 1
            seconds_taken = self.seconds(self.threads)
            self.time += seconds_taken
            self.tuner.observe(seconds_taken)


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


class Threads:
    """What stands in for the library's threads: how many are set. Setting them lets other threads run."""

    def __init__(self) -> None:
        self.number = 0
        self.history: list[int] = []

    def set(self, number: int) -> None:
        time.sleep(1e-4)
        self.number = number
        self.history.append(number)


def make_weights(**network: int) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    config = ModelConfig(model_vocab_size=30, embedding_dim=8, **network)
    return config, LanguageModel(config).weights()


def test_a_tuned_engine_gives_what_the_plain_one_gives_also_for_several_texts_and_copies() -> None:
    config, weights = make_weights(hidden_size=40, num_layers=2)
    threads = Threads()
    plain, tuned = NumpyEngine(config, weights), TunedEngine(config, weights, threads.set)
    prompts = np.arange(12).reshape(4, 3)
    assert np.array_equal(tuned.start(prompts), plain.start(prompts))
    assert np.array_equal(tuned.step(np.arange(4)), plain.step(np.arange(4)))
    assert set(threads.history) == {1}, "several texts at once are read on one thread"
    plain.start(prompts[:1])
    tuned.start(prompts[:1])
    for model_id in range(30):
        assert np.array_equal(tuned.step(np.array([model_id])), plain.step(np.array([model_id])))
    assert set(threads.history) == {1, 2}, "a single text is tried on both"


@pytest.fixture
def _eager_switching() -> Iterator[None]:
    """Python's threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def in_threads(*actions: Callable[[], object]) -> list[object]:
    """Run actions at the same time, each in its thread: their results. Raises the first error of any."""
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], object]) -> object:
        start.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return [future.result() for future in [pool.submit(run, action) for action in actions]]


@pytest.mark.usefixtures("_eager_switching")
def test_two_threads_may_use_generators_on_one_tuned_engine_at_once() -> None:
    tokenizer = Tokenizer.train("char", ["abcdefghijklmnopqrstuvwxyz .!\n"])
    ids = tokenizer.encode("abcdefghijklmnopqrstuvwxyz .!\n")
    vocab = ModelVocab.from_counts(np.bincount(ids, minlength=tokenizer.vocab_size))
    config = ModelConfig(model_vocab_size=vocab.size, embedding_dim=8, hidden_size=16)
    torch.manual_seed(0)
    model = LanguageModel(config, vocab)
    generator = Generator(TunedEngine(model.config, model.weights(), Threads().set), tokenizer)
    settings = SampleConfig(max_new_tokens=600)

    def stream(seed: int) -> str:
        return "".join(generator.stream("a", seed=seed, config=settings))

    def generate() -> list[Sample]:
        return generator.generate("b", num_samples=3, seed=5, config=SampleConfig(max_new_tokens=150))

    expected = [stream(1), stream(2), generate()]
    assert in_threads(lambda: stream(1), lambda: stream(2), generate) == expected


@pytest.mark.usefixtures("_eager_switching")
def test_while_several_texts_are_read_in_one_thread_no_other_thread_sets_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, weights = make_weights(hidden_size=16)
    threads = Threads()
    found: set[int] = set()
    step = NumpyEngine.step

    def watched_step(self: NumpyEngine, ids: np.ndarray) -> np.ndarray:
        logits = step(self, ids)
        if len(ids) > 1:
            for _ in range(5):
                found.add(threads.number)
                time.sleep(0)  # lets another thread run
        return logits

    monkeypatch.setattr(NumpyEngine, "step", watched_step)
    # Tuners of several engines share the process, and so its threads.
    engines = [TunedEngine(config, weights, threads.set) for _ in range(2)]

    done = threading.Event()

    def write_one(engine: TunedEngine) -> None:
        engine = copy.copy(engine)
        while not done.is_set():
            engine.step(np.zeros(1, np.int64))

    def write_several(engine: TunedEngine) -> None:
        engine = copy.copy(engine)
        engine.reset_state(3)
        for number in range(10_000):
            engine.step(np.zeros(3, np.int64))
            time.sleep(1e-4)  # now single texts may try two threads
            if number > 150 and 2 in threads.history:
                break
        done.set()

    in_threads(*(partial(write_one, engine) for engine in engines), partial(write_several, engines[0]))
    assert found == {1}
    assert 2 in threads.history


def test_only_a_wide_network_is_tuned() -> None:
    def engine(hidden_size: int) -> NumpyEngine:
        return fast_engine(*make_weights(hidden_size=hidden_size), lambda threads: None)

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
            [sys.executable, script],
            env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
            capture_output=True,
            text=True,
        )
        return answer.stdout.strip()

    by_itself = run()
    assert by_itself.startswith("True")
    assert by_itself.endswith("[1]")
    assert run(OMP_NUM_THREADS="1") == "False [1] [1]"
