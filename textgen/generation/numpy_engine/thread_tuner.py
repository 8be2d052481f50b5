"""One thread or two for the NumPy engine's products, timed repeatedly while text is written.

A step of a wide layer waits for its weights to come from memory, and two processors fetch them faster than
one. But each product waits for both threads, and another program, such as a training, can keep one of the
processors for much longer than a step takes. So a few steps are timed with each number of threads; the faster
number is kept for a while, and given up as soon as it becomes slow:

    try one ─ try two ─┬─ two is faster:      two, until a few steps take as long as with one
        ▲              └─ the same or slower: one, for a while, twice as long each time
        └──────────────────────┘

The text stays the same: see BLOCK and Layer.product in layers.py.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import numpy as np

from textgen.generation.engine import Engine
from textgen.generation.numpy_engine.engine import NumpyEngine
from textgen.generation.numpy_engine.layers import LAYER_STATES, WIDE
from textgen.settings.config import ModelConfig

TRIED_STEPS = 16
# The second thread must save a tenth: it takes a processor from whatever else runs.
WORTH_A_THREAD = 0.9
# Between trials, in seconds: after a gain, and first and at most after none.
AFTER_GAIN, AFTER_NONE, LONGEST_AFTER_NONE = 1.0, 0.1, 5.0


class ThreadTuner:
    """Chooses and sets one thread or two, by how long steps take, for an engine and its copies.

    `set_threads` sets the number for the whole process, whichever thread calls it. So a product that needs
    one thread keeps all tuners at one until it is done.
    """

    _lock = threading.Lock()
    _num_held = 0  # products under way that need one thread
    _last: ClassVar[ThreadTuner | None] = None  # the tuner that set the threads last

    def __init__(self, set_threads: Callable[[int], None]) -> None:
        self._set_threads = set_threads
        self._threads = 0  # as this tuner set them last
        self._pause = AFTER_NONE
        self._one_seconds = 0.0  # of the last trial of one thread
        self._kept_seconds = 0.0  # since two threads were found faster
        with self._lock:
            self._time("try one", 1, TRIED_STEPS)

    def resume(self) -> None:
        """Set the threads for a step that may run on one or two, unless another product needs one."""
        with self._lock:
            if not ThreadTuner._num_held:
                self._set(self._wanted)

    def observe(self, seconds: float) -> None:
        """Record how long a step took."""
        with self._lock:
            if ThreadTuner._num_held or ThreadTuner._last is not self or self._threads != self._wanted:
                return  # it did not run on the threads that are being tried
            self._total += seconds
            self._count += 1
            if self._count >= self._steps or self._total > self._at_most:
                self._next_trial()

    @contextmanager
    def one_thread(self) -> Iterator[None]:
        """Keep the process at one thread in the block."""
        with self._lock:
            ThreadTuner._num_held += 1
            self._set(1)
        try:
            yield
        finally:
            with self._lock:
                ThreadTuner._num_held -= 1

    @classmethod
    def threads_changed(cls) -> None:
        """Other code has set the number of threads: each tuner sets it again when it next needs it."""
        with cls._lock:
            ThreadTuner._last = None

    def _next_trial(self) -> None:
        """Choose the next trial after one whose steps took _total seconds."""
        if self._trial == "try one":
            self._one_seconds = self._total
            self._time("try two", 2, TRIED_STEPS, at_most=self._one_seconds)
        elif self._trial == "try two" and self._total >= self._one_seconds * WORTH_A_THREAD:
            self._time("one", 1, math.inf, at_most=self._pause)
            self._pause = min(2 * self._pause, LONGEST_AFTER_NONE)
        elif self._trial == "try two":
            self._pause, self._kept_seconds = AFTER_NONE, 0.0
            self._time("two", 2, TRIED_STEPS, at_most=self._one_seconds)
        elif self._trial == "two" and self._total < self._one_seconds and not self._kept_long_enough():
            self._time("two", 2, TRIED_STEPS, at_most=self._one_seconds)
        else:
            self._time("try one", 1, TRIED_STEPS)

    def _kept_long_enough(self) -> bool:
        self._kept_seconds += self._total
        return self._kept_seconds >= AFTER_GAIN

    def _time(self, trial: str, threads: int, steps: float, at_most: float = math.inf) -> None:
        """Begin to time this many steps, or fewer if they take longer than at_most seconds together."""
        self._trial, self._wanted, self._steps, self._at_most = trial, threads, steps, at_most
        self._total, self._count = 0.0, 0
        self._set(threads)

    def _set(self, threads: int) -> None:
        if threads != self._threads or ThreadTuner._last is not self:
            self._set_threads(threads)
            self._threads, ThreadTuner._last = threads, self


class TunedEngine(NumpyEngine):
    """A NumpyEngine that steps through a single text on one or two threads, whichever is faster.

    Everything else runs on one: products of several rows are not the same to the last bit on two. Copies
    share the tuner.
    """

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, np.ndarray], set_threads: Callable[[int], None]
    ) -> None:
        self._tuner = ThreadTuner(set_threads)
        super().__init__(config, weights)

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        """As NumpyEngine.start."""
        with self._tuner.one_thread():
            return super().start(prompt_ids)

    def advance(self, ids: np.ndarray) -> np.ndarray:
        """As NumpyEngine.advance."""
        with self._tuner.one_thread():
            return super().advance(ids)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """As NumpyEngine.read."""
        with self._tuner.one_thread():
            return super().read(ids)

    def select(self, places: Sequence[int]) -> None:
        """As NumpyEngine.select."""
        with self._tuner.one_thread():
            super().select(places)

    def join(self, other: Engine) -> None:
        """As NumpyEngine.join."""
        with self._tuner.one_thread():
            super().join(other)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """As NumpyEngine.step."""
        if len(ids) > 1:
            with self._tuner.one_thread():
                return super().step(ids)
        self._tuner.resume()
        started = time.perf_counter()
        logits = super().step(ids)
        self._tuner.observe(time.perf_counter() - started)
        return logits


def fast_engine(
    config: ModelConfig, weights: Mapping[str, np.ndarray], set_threads: Callable[[int], None]
) -> NumpyEngine:
    """The engine of a network: with a tuner if the network is wide, else always on one thread.

    Networks with residual connections or layer norm also stay on one thread, because their products are not
    in whole blocks (layers.py).

    Raises RunError as NumpyEngine.
    """
    own = len(LAYER_STATES[config.cell].order) * config.hidden_size  # rows, as in layers.py
    above = config.model_vocab_size if config.num_layers == 1 else max(own, config.model_vocab_size)
    plain = not (config.residual or config.layer_norm)
    if plain and (own + above) * config.hidden_size >= WIDE:
        return TunedEngine(config, weights, set_threads)
    set_threads(1)
    return NumpyEngine(config, weights)
