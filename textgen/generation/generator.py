"""The generator: a prompt in, new text out.

    prompt ─tokenizer→ model_ids ─engine→ logits ─sampling→ row ─tokenizer→ text ─stop strings→ the caller
                               └──────────────←──────────────┘

Shapes: B batch (samples drawn side by side), T time, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from textgen.errors import ConfigError, RunError
from textgen.generation.engine import Engine
from textgen.generation.numpy_engine.engine import NumpyEngine, has_twin
from textgen.generation.numpy_engine.thread_tuner import fast_engine
from textgen.generation.processors import NONE, CopyGuard, CopyLimit, without_copies
from textgen.generation.sample import Sample, SampleState
from textgen.generation.sampling import choose, log_probabilities
from textgen.generation.stops import StopFilter
from textgen.run import Run
from textgen.settings.config import ModelConfig, SampleConfig
from textgen.text.model_vocab import start_id
from textgen.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from textgen.models.language_model import LanguageModel

DEFAULTS = SampleConfig()
# Asking a random generator costs as much for one number as for many.
UNIFORMS_AT_ONCE = 64


class Generator:
    """Writes text with a model and its tokenizer.

    `model` is a LanguageModel or an engine. A LanguageModel on a CPU is copied into a NumpyEngine, so that
    later training does not show; one on another device is used there.

    With no prompt a text starts as after end-of-text if training saw it, else as after a newline if training
    saw one, else with a token drawn by its frequency in training, which is then part of the text. That draw
    obeys the SampleConfig like any other: temperature 0 takes the most frequent.

    On a CPU `set_threads`, which sets how many threads NumPy's products take, lets the engine choose between
    one and two as it goes (thread_tuner.py); None leaves them as they are.

    Texts do not disturb each other: several streams of one generator may be read in turn.

    Raises RunError when model and tokenizer do not belong together.
    """

    def __init__(
        self,
        model: LanguageModel | Engine,
        tokenizer: Tokenizer,
        set_threads: Callable[[int], None] | None = None,
    ) -> None:
        self.engine = model if isinstance(model, Engine) else _engine_for(model, set_threads)
        self.tokenizer = tokenizer
        self.vocab = self.engine.vocab
        self.vocab.require(tokenizer.vocab_size)

    @classmethod
    def from_run(
        cls, run: Run, device: str | None = None, set_threads: Callable[[int], None] | None = None
    ) -> Generator:
        """The generator of a run, on a device; None is the CPU, and "auto" a GPU if there is one.

        On the CPU torch is not loaded. Raises RunError, ConfigError or TokenizerError.
        """
        return cls(_engine_of_run(run, device, set_threads), run.tokenizer)

    def stream(
        self,
        prompt: str = "",
        *,
        stop: Sequence[str] = (),
        seed: int | None = None,
        config: SampleConfig = DEFAULTS,
        copy_limit: CopyLimit | None = None,
    ) -> Iterator[str]:
        """Draw one text and yield it in pieces as soon as they are certain; the prompt is not among them.

        A piece never ends within a character, nor within what could become a stop string. Stop strings count
        in new text only, and are not yielded. The same seed gives the same text; None, another each time.
        With a copy_limit a token that would make a copy of the training text too long is not possible, and
        another is drawn; a text that stays within the limit is the same without it.

        Raises ConfigError, TokenizerError, RunError.
        """
        (draft,) = self._drafts(prompt, 1, stop, seed, copy_limit)
        return filter(None, self._stream(draft, config))

    def count_unseen(self, prompt: str) -> tuple[int, int]:
        """How many tokens of a prompt training never saw, and how many it has. Raises TokenizerError."""
        model_ids = self.vocab.to_model_ids(self.tokenizer.encode(prompt))
        return int((model_ids == self.vocab.size).sum()), len(model_ids)

    def _stream(self, draft: SampleState, config: SampleConfig) -> Iterator[str]:
        token_ids = self.vocab.token_ids.tolist()
        for _, model_ids in islice(self._draws([draft], config), config.max_new_tokens):
            row = model_ids.item()
            yield draft.push(token_ids[row]) if row != NONE else draft.finish("copy")
            if draft.finish_reason:
                return
        yield draft.finish("length")

    def generate(
        self,
        prompt: str = "",
        *,
        num_samples: int = 1,
        stop: Sequence[str] = (),
        seed: int | None = None,
        config: SampleConfig = DEFAULTS,
        copy_limit: CopyLimit | None = None,
    ) -> list[Sample]:
        """Draw num_samples texts side by side, one engine call a step.

        Sample k depends on prompt, settings, seed and k only, not on how many others there are or when they
        end (but for rounding: products of another batch size may differ in their last bits). Drawn alone,
        sample 0 is the text that `stream` gives.

        Raises ConfigError, TokenizerError, RunError.
        """
        if num_samples < 1:
            raise ConfigError(f"num_samples={num_samples!r}: must be at least 1")
        drafts = self._drafts(prompt, num_samples, stop, seed, copy_limit)
        for logits, model_ids in islice(self._draws(drafts, config), config.max_new_tokens):
            scores = log_probabilities(logits)[np.arange(num_samples), model_ids].tolist()
            token_ids = self.vocab.to_token_ids(model_ids).tolist()
            for draft, row, token_id, score in zip(drafts, model_ids, token_ids, scores, strict=True):
                # A finished text is drawn on, unheard: so the others' products keep their shape and rounding.
                if draft.finish_reason:
                    continue
                if row == NONE:
                    draft.finish("copy")
                else:
                    draft.push(token_id)
                    draft.log_probabilities.append(score)
            if all(draft.finish_reason for draft in drafts):
                break
        for draft in drafts:
            if not draft.finish_reason:
                draft.finish("length")
        return [draft.sample() for draft in drafts]

    def _drafts(
        self,
        prompt: str,
        num_samples: int,
        stop: Sequence[str],
        seed: int | None,
        copy_limit: CopyLimit | None,
    ) -> list[SampleState]:
        seeds = np.random.SeedSequence(seed).spawn(num_samples)
        prompt_ids = self.tokenizer.encode(prompt)
        guards = [None if copy_limit is None else CopyGuard(copy_limit, prompt) for _ in seeds]
        return [
            SampleState(prompt, prompt_ids, StopFilter(stop), self.tokenizer, child, guard)
            for child, guard in zip(seeds, guards, strict=True)
        ]

    def _draws(
        self, drafts: list[SampleState], config: SampleConfig
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Without end: the logits (B, V) of each draft's next token, and the model_ids (B,) drawn from them.

        A row is NONE where no token is possible.
        """
        prompt = self.vocab.to_model_ids(drafts[0].prompt_ids)  # (T,)
        engine = copy.copy(self.engine)  # on the same weights, with a state of its own
        logits = self._begin(engine, prompt, len(drafts))
        every, token_ids = np.arange(len(drafts)), self.vocab.token_ids
        occurred = None
        if config.repetition_penalty != 1:
            occurred = np.zeros(logits.shape, dtype=bool)
            occurred[:, prompt[prompt < self.vocab.size]] = True
        for uniforms in _uniforms(drafts):
            model_ids = choose(logits, config, uniforms, occurred)
            if drafts[0].guard is not None:
                model_ids = without_copies(
                    model_ids, drafts, logits, config, token_ids=token_ids, occurred=occurred
                )
            yield logits, model_ids
            if occurred is not None:
                occurred[every, model_ids] = True
            logits = engine.step(model_ids)

    def _begin(self, engine: Engine, prompt: np.ndarray, batch_size: int) -> np.ndarray:
        """Read the prompt (T,) once, whatever the number of samples. Returns the first logits (B, V)."""
        start = start_id(self.vocab, self.tokenizer)
        if not len(prompt) and start is not None:
            prompt = np.array([start])
        if len(prompt):
            logits = engine.start(prompt[None])  # (1, V)
        else:
            logits = np.log(self.vocab.frequencies)[None]  # (1, V)
            engine.reset_state(1)
        engine.state = tuple(part.repeat(batch_size, axis=1) for part in engine.state)
        return np.repeat(logits, batch_size, axis=0)


def _uniforms(drafts: list[SampleState]) -> Iterator[np.ndarray]:
    """Without end, for each step one number of each draft: (B,)."""
    while True:
        yield from np.stack([draft.uniforms(UNIFORMS_AT_ONCE) for draft in drafts], axis=1)


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
    try:
        return _numpy_engine(run.config.model, run.load_weights(), set_threads)
    except RunError as error:
        raise RunError(f"{run.path}: {error}") from error


def _numpy_engine(
    config: ModelConfig, weights: Mapping[str, np.ndarray], set_threads: Callable[[int], None] | None
) -> NumpyEngine:
    if set_threads is None:
        return NumpyEngine(config, weights)
    return fast_engine(config, weights, set_threads)
