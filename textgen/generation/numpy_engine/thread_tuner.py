"""One thread or two for the NumPy engine's products: tried while text is written, again and again.

A step of a wide layer waits for its weights to come from memory, and two processors fetch them in half the
time. But each product waits for both: where other work runs, a training for one, that work keeps one of them
for milliseconds, and a step takes a hundred times as long. So a few steps are timed either way, the faster
way is kept for a while, and left at once when it becomes slow:

    try one ─ try two ─┬─ two is faster:     two, until a few steps take as long as with one
        ▲              └─ the same or slower: one, for a while, twice as long each time
        └──────────────────────┘

The text stays the same: see BLOCK and Layer.product in layers.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping

import numpy as np

from textgen.generation.numpy_engine.engine import NumpyEngine
from textgen.generation.numpy_engine.layers import LAYER_STATES, WIDE
from textgen.settings.config import ModelConfig

TRIED_STEPS = 16
# The second thread must save a tenth: it takes a processor from whatever else runs.
WORTH_A_THREAD = 0.9
# Between trials, in seconds: after a gain, and first and at most after none.
AFTER_GAIN, AFTER_NONE, LONGEST_AFTER_NONE = 1.0, 0.1, 5.0

Times = Generator[None, float, float]
"""Takes the seconds of one step after another, and returns their sum."""


class ThreadTuner:
    """Says `set_threads` 1 or 2, by how long the steps take that it is told of."""

    def __init__(self, set_threads: Callable[[int], None]) -> None:
        self._set_threads = set_threads
        self._course = self._go_on()
        next(self._course)

    def observe(self, seconds: float) -> None:
        """Take note of how long one step took."""
        self._course.send(seconds)

    def _go_on(self) -> Generator[None, float, None]:
        pause = AFTER_NONE
        while True:
            one = yield from self._time(1, TRIED_STEPS)
            two = yield from self._time(2, TRIED_STEPS, at_most=one)
            if two < one * WORTH_A_THREAD:
                pause = AFTER_NONE
                total = 0.0
                while two < one and total < AFTER_GAIN:
                    two = yield from self._time(2, TRIED_STEPS, at_most=one)
                    total += two
            else:
                yield from self._time(1, math.inf, at_most=pause)
                pause = min(2 * pause, LONGEST_AFTER_NONE)

    def _time(self, threads: int, steps: float, at_most: float = math.inf) -> Times:
        """So many steps, or fewer when they have taken longer than that."""
        self._set_threads(threads)
        total, count = 0.0, 0
        while count < steps and total <= at_most:
            total += yield
            count += 1
        return total


class TunedEngine(NumpyEngine):
    """A NumpyEngine that reads each next token of a single text at the faster pace; all else on one thread.

    Copies share the pace, for it is the process that has threads.
    """

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, np.ndarray], set_threads: Callable[[int], None]
    ) -> None:
        set_threads(1)
        super().__init__(config, weights)
        self._set_threads = set_threads
        self._tuner = ThreadTuner(set_threads)

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        """As NumpyEngine.start."""
        self._set_threads(1)
        return super().start(prompt_ids)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """As NumpyEngine.read."""
        self._set_threads(1)
        return super().read(ids)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """As NumpyEngine.step."""
        if len(ids) > 1:
            # A product of matrices is not the same to the last bit on two threads.
            self._set_threads(1)
            return super().step(ids)
        started = time.perf_counter()
        logits = super().step(ids)
        self._tuner.observe(time.perf_counter() - started)
        return logits


def fast_engine(
    config: ModelConfig, weights: Mapping[str, np.ndarray], set_threads: Callable[[int], None]
) -> NumpyEngine:
    """The engine of a network: at its own pace if the network is wide, else on one thread for good.

    So is one with residual connections or layer norm, whose products are not in whole blocks (layers.py).

    Raises RunError as NumpyEngine.
    """
    own = len(LAYER_STATES[config.cell].order) * config.hidden_size  # rows, as in layers.py
    above = config.model_vocab_size if config.num_layers == 1 else max(own, config.model_vocab_size)
    plain = not (config.residual or config.layer_norm)
    if plain and (own + above) * config.hidden_size >= WIDE:
        return TunedEngine(config, weights, set_threads)
    set_threads(1)
    return NumpyEngine(config, weights)
