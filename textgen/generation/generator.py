"""The generator: a prompt in, new text out.

prompt ─tokenizer→ model ids ─engine→ logits ─sampling→ model id ─tokenizer→ text ─stop strings→ caller
                           └──────────────←────────────────┘
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from textgen.errors import ConfigError
from textgen.generation.engine import Engine
from textgen.generation.loop import GenerationLoop
from textgen.generation.mixed_engine import MixedEngine
from textgen.generation.numpy_engine.engine import NumpyEngine, has_twin
from textgen.generation.numpy_engine.thread_tuner import fast_engine
from textgen.generation.processors import ProcessorFactory
from textgen.generation.prompt import Prompt
from textgen.generation.request import DEFAULTS, Request, several_of
from textgen.generation.sample import Sample, SampleState
from textgen.run import Run
from textgen.settings.config import ModelConfig, SampleConfig
from textgen.text.normalize import normalize
from textgen.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from textgen.models.language_model import LanguageModel
    from textgen.ngram.companion import Companion


MOST_DRAWS = 100  # times as many as are wanted
EXTRA_DRAWS = 8  # at once, beside those that are still missing


class Distinct(NamedTuple):
    """Texts that differ from each other, and how many were drawn to find them."""

    samples: tuple[Sample, ...]
    num_draws: int


class Generator:
    """Generates text with a model and its tokenizer.

    `model` is a LanguageModel or an engine. A LanguageModel on a CPU is copied into a NumpyEngine, so that
    later training has no effect on it; one on another device is used as it is.

    A text, or the prompt that it goes on from, begins after the start token, as the texts of training do:
    end-of-text if training saw it, else a newline if training saw one. Where there is neither, a text without
    a prompt begins with a token drawn by its frequency in training. That draw obeys the SampleConfig like any
    other: temperature 0 takes the most frequent.

    `set_threads` sets the number of threads of NumPy's products. With it, an engine on a CPU switches between
    one and two threads while it runs (thread_tuner.py); None leaves the number as it is.

    Texts do not affect each other: several streams of one generator may be read in turn, or in threads.

    `normalize` is the Unicode form that the training text was brought into; prompts and stop strings are too.
    None leaves them as they are.

    Raises RunError when model and tokenizer do not belong together.
    """

    def __init__(
        self,
        model: LanguageModel | Engine,
        tokenizer: Tokenizer,
        set_threads: Callable[[int], None] | None = None,
        *,
        normalize: str | None = None,
    ) -> None:
        self.normalize = normalize
        self.engine = model if isinstance(model, Engine) else _engine_for(model, set_threads)
        self.tokenizer = tokenizer
        self.vocab = self.engine.vocab
        self.vocab.require(tokenizer.vocab_size)

    @classmethod
    def from_run(
        cls,
        run: Run,
        device: str | None = None,
        set_threads: Callable[[int], None] | None = None,
        *,
        ngram: bool = True,
    ) -> Generator:
        """The generator of a run, on a device; None is the CPU, and "auto" a GPU if there is one.

        ngram: whether the network is mixed with the run's n-gram companion, if it has one.

        On the CPU torch is not loaded. Raises RunError, ConfigError or TokenizerError.
        """
        engine = _engine_of_run(run, device, set_threads)
        companion = run.load_companion(engine.vocab) if ngram else None
        return cls(_mixed(engine, companion), run.tokenizer, normalize=run.config.data.normalize)

    @classmethod
    def adapted(
        cls,
        run: Run,
        model: LanguageModel,
        companion: Companion | None,
        set_threads: Callable[[int], None] | None = None,
    ) -> Generator:
        """The generator of a run with other weights, mixed with other n-grams if there are any."""
        engine = _engine_for(model, set_threads)
        return cls(_mixed(engine, companion), run.tokenizer, normalize=run.config.data.normalize)

    def stream(
        self,
        prompt: str = "",
        *,
        stop: Sequence[str] = (),
        seed: int | None = None,
        config: SampleConfig = DEFAULTS,
        processors: Sequence[ProcessorFactory] = (),
        mid_text: bool = False,
        keep_stop: bool = False,
        label: str | None = None,
    ) -> Iterator[str]:
        """Draw one text and yield it in pieces as soon as they are final; the prompt is not among them.

        A piece never ends within a character, nor within what could become a stop string. Stop strings count
        in new text only, and are yielded with keep_stop only. The same seed gives the same text; None: a
        random seed. A prompt that ends within a word is healed (healing.py), unless heal is False in the
        config. `processors` change or forbid tokens (processors.py), for example a CopyLimit. mid_text: the
        prompt is from the middle of a text, not its beginning, and is read without the start token.
        label: the label that the text is conditioned on; None: none.

        Raises ConfigError, TokenizerError, RunError, and what a processor raises.
        """
        request = Request(
            prompt=prompt,
            config=config,
            stop=stop,
            keep_stop=keep_stop,
            seed=seed,
            processors=processors,
            mid_text=mid_text,
            label=label,
        )
        return self.stream_request(request)

    def stream_request(self, request: Request) -> Iterator[str]:
        """As `stream`, for a request."""
        loop = GenerationLoop(self.engine, self.tokenizer)
        return _pieces(loop, loop.submit(self._normalized(request)))

    def encode(self, text: str) -> np.ndarray:
        """The model ids of a text, (T,) int64, normalized as the training text. Raises TokenizerError."""
        return self.vocab.to_model_ids(self.tokenizer.encode(normalize(text, self.normalize)))

    def _normalized(self, request: Request) -> Request:
        """The request with its prompt, if that is text, and its stop strings normalized."""
        if self.normalize is None:
            return request
        stops = [request.stop] if isinstance(request.stop, str) else request.stop
        prompt = request.prompt
        return dataclasses.replace(
            request,
            prompt=normalize(prompt, self.normalize) if isinstance(prompt, str) else prompt,
            stop=tuple(normalize(stop, self.normalize) for stop in stops),
        )

    def count_unseen(self, prompt: str) -> tuple[int, int]:
        """How many tokens of a prompt training never saw, and how many there are. Raises TokenizerError."""
        model_ids = self.encode(prompt)
        return int((model_ids == self.vocab.size).sum()), len(model_ids)

    def generate(
        self,
        prompt: str = "",
        *,
        num_samples: int = 1,
        stop: Sequence[str] = (),
        seed: int | None = None,
        config: SampleConfig = DEFAULTS,
        processors: Sequence[ProcessorFactory] = (),
        mid_text: bool = False,
        keep_stop: bool = False,
        label: str | None = None,
    ) -> list[Sample]:
        """Draw num_samples texts in one batch. Arguments are those of `stream`.

        Sample k depends only on prompt, settings, seed and k, not on how many others there are or when they
        end (except for rounding: matrix products of another batch size may differ in their last bits). Drawn
        alone, sample 0 is the text of `stream`.

        Raises ConfigError, TokenizerError, RunError.
        """
        if num_samples < 1:
            raise ConfigError(f"num_samples={num_samples!r}: must be at least 1")
        request = Request(
            prompt=prompt,
            config=config,
            stop=stop,
            keep_stop=keep_stop,
            seed=seed,
            processors=processors,
            mid_text=mid_text,
            label=label,
            log_probabilities=True,
        )
        return self.complete(several_of(request, num_samples))

    def complete(self, requests: Sequence[Request]) -> list[Sample]:
        """Write the texts of several requests side by side, and return them in their order.

        Raises ConfigError, TokenizerError, RunError, and what a processor raises.
        """
        loop = GenerationLoop(self.engine, self.tokenizer, compact=False)
        prompts: dict[tuple[str, bool], Prompt] = {}  # each is encoded and read once
        texts = []
        for request in map(self._normalized, requests):
            if isinstance(request.prompt, str):
                key = (request.prompt, request.is_healed)
                if key not in prompts:
                    prompts[key] = loop.prompt_of(request)
                request = dataclasses.replace(request, prompt=prompts[key])
            texts.append(loop.submit(request))
        while loop.busy:
            for text, _ in loop.step():
                if text.error is not None:
                    raise text.error
        return [text.result() for text in texts]

    def distinct(
        self, request: Request, num_samples: int, is_known: Callable[[str], bool] | None = None
    ) -> Distinct:
        """Draw like a request until num_samples texts differ from each other, with their prompts.

        is_known: of a text with its prompt; one that is known does not count. At most MOST_DRAWS times as
        many are drawn, those that `generate` draws for the same seed.

        Raises ConfigError, TokenizerError, RunError.
        """
        if not isinstance(request.seed, np.random.SeedSequence):  # which goes on where it was
            request = dataclasses.replace(request, seed=np.random.SeedSequence(request.seed))
        kept: dict[str, Sample] = {}
        num_draws = 0
        while len(kept) < num_samples and num_draws < MOST_DRAWS * num_samples:
            num_wanted = min(num_samples - len(kept) + EXTRA_DRAWS, MOST_DRAWS * num_samples - num_draws)
            for sample in self.complete(several_of(request, num_wanted)):
                whole = sample.prompt + sample.text
                num_draws += 1
                if whole not in kept and not (is_known is not None and is_known(whole)):
                    kept[whole] = sample
                if len(kept) == num_samples:
                    break
        return Distinct(tuple(kept.values()), num_draws)


def _pieces(loop: GenerationLoop, text: SampleState) -> Iterator[str]:
    """The pieces of the only text of a loop."""
    while text.finish_reason is None:
        for _, piece in loop.step():
            if piece:
                yield piece
    if text.error is not None:
        raise text.error


def _mixed(network: Engine, companion: Companion | None) -> Engine:
    return network if companion is None else MixedEngine(network, companion)


def _engine_for(model: LanguageModel, set_threads: Callable[[int], None] | None) -> Engine:
    if next(model.parameters()).device.type == "cpu" and has_twin(model.config.cell):
        return _numpy_engine(model.config, model.weights(), set_threads)
    from textgen.generation.torch_engine import TorchEngine

    return TorchEngine(model)


def _engine_of_run(run: Run, device: str | None, set_threads: Callable[[int], None] | None) -> Engine:
    if device not in (None, "cpu") or not has_twin(run.config.model.cell):
        from textgen.models.language_model import LanguageModel
        from textgen.system.device import resolve_device

        return _engine_for(
            LanguageModel.from_pretrained(run.path).to(resolve_device(device or "cpu")), set_threads
        )
    return _numpy_engine(run.config.model, run.load_weights(), set_threads)


def _numpy_engine(
    config: ModelConfig, weights: Mapping[str, np.ndarray], set_threads: Callable[[int], None] | None
) -> NumpyEngine:
    if set_threads is None:
        return NumpyEngine(config, weights)
    return fast_engine(config, weights, set_threads)
