"""Tokens per second that untrained networks of one layer write, one text and 64 at once.

On the device, by the engine that `textgen sample --device` uses there, against the NumPy engine of a CPU, in
turn. With `--device cpu` the same two engines run on the CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.sampling import make_model, make_tokenizer

from gpu_stages.on_device import in_turn, release_memory, with_peak
from gpu_stages.settings import Settings
from textgen.generation.generator import Generator
from textgen.generation.torch_engine import TorchEngine
from textgen.settings.config import SampleConfig
from textgen.system.threads import numpy_threads

UNITS, TEXTS, TOKENS, ROUNDS = (512, 1024), (1, 64), 50, 3
TINY_UNITS, TINY_TEXTS, TINY_TOKENS = (8,), (1, 4), 5


def measure(settings: Settings) -> Iterator[dict[str, Any]]:
    """One result per cell, number of units and number of texts."""
    sizes = TINY_UNITS if settings.tiny else UNITS
    for units, cell in itertools.product(sizes, ("lstm", "gru")):
        model = make_model(cell, units)
        tokenizer = make_tokenizer()
        on_cpu = Generator(model, tokenizer, numpy_threads())  # a copy of the weights
        on_device = Generator(TorchEngine(model.to(settings.device)), tokenizer)
        for texts in TINY_TEXTS if settings.tiny else TEXTS:
            figures = _speeds(on_device, on_cpu, texts, settings)
            yield {"cell": cell, "units": units, "texts": texts} | figures
        release_memory(settings.device)


def _speeds(
    on_device: Generator, on_cpu: Generator, texts: int, settings: Settings
) -> dict[str, float | None]:
    tokens = TINY_TOKENS if settings.tiny else TOKENS
    config = SampleConfig(max_new_tokens=tokens)

    def write(generator: Generator) -> None:
        generator.generate(num_samples=texts, seed=1, config=config)

    device, peak = with_peak(lambda: partial(write, on_device), settings.device)
    ours, theirs = in_turn([device, partial(write, on_cpu)], settings, ROUNDS)
    return {
        "tokens_per_second": round(texts * tokens / ours),
        "tokens_per_second_numpy": round(texts * tokens / theirs),
        "ratio": round(theirs / ours, 3),
        "peak_megabytes": peak,
    }
