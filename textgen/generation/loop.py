"""The generation loop: texts that join and leave a running batch, advanced by one token a step.

    submit ─→ waiting ─→ prompt read, piece by piece ─→ batch ─→ finished
                                                        │  ▲
                              engine ─→ logits ─→ draw ─┘  └─ engine reads what was drawn, a step later

Shapes: B texts of the batch, T time, V model vocabulary.
"""

from __future__ import annotations

import copy
from collections import deque

from textgen.errors import ConfigError
from textgen.generation.batch import Batch
from textgen.generation.engine import Engine, label_id
from textgen.generation.healing import healed
from textgen.generation.prompt import Prompt
from textgen.generation.prompt_reading import PromptReading
from textgen.generation.request import Request
from textgen.generation.sample import SampleState
from textgen.generation.whole_characters import character_rules
from textgen.text.model_vocab import start_id
from textgen.text.token_costs import TokenCosts
from textgen.text.tokenizer import Tokenizer

# Tokens of prompts that are read in one step: fewer while texts in the batch wait for it.
PROMPT_PIECE, PROMPT_PIECE_BETWEEN_STEPS = 512, 64

Progress = tuple[SampleState, str]
"""A text and what a step added to it, which may be empty; finish_reason is set if it has ended."""


class GenerationLoop:
    """Generates the texts of all requests in one batch, each as if it were alone.

    A text depends only on its own request, not on the others in the batch or when they join and leave (except
    for rounding: matrix products of another batch size may differ in their last bits).

    max_batch_size: how many texts are read or written at once; others wait. None: no limit.
    compact: whether a text that ends leaves the batch at once. Otherwise its place is computed until all
        have ended, so that the matrix products of the others keep their shape and rounding.

    Only one thread at a time may use a loop; several loops may use one engine, each in its own thread.

    Raises RunError when engine and tokenizer do not belong together.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        *,
        max_batch_size: int | None = None,
        compact: bool = True,
    ) -> None:
        if max_batch_size is not None and max_batch_size < 1:
            raise ConfigError(f"max_batch_size={max_batch_size!r}: must be at least 1")
        self.tokenizer = tokenizer
        self.vocab = engine.vocab
        self._weights = engine  # copied for each prompt; its own state is never used
        self._start_id = start_id(self.vocab, tokenizer)
        self._costs = TokenCosts(self.vocab, tokenizer.vocab_size - self.vocab.size)
        self._token_ids: list[int] = self.vocab.token_ids.tolist()
        rules = character_rules(tokenizer, self.vocab)
        self._always = () if rules is None else (rules,)
        self._max_batch_size = max_batch_size
        self._waiting: deque[SampleState] = deque()
        self._readings: deque[PromptReading] = deque()
        self._batch = Batch(compact=compact)

    @property
    def busy(self) -> bool:
        """Whether a text has not ended yet."""
        return bool(self._batch.samples or self._readings or self._waiting)

    def submit(self, request: Request) -> SampleState:
        """Add a text, to be written by the next steps.

        Raises ConfigError, TokenizerError, and what making a processor raises; the other texts go on then.
        """
        prompt = self.prompt_of(request)
        if request.state is not None and not len(prompt.token_ids):
            raise ConfigError("a request with a state needs a prompt of at least one token")
        if request.label is not None and (request.state is not None or request.mid_text):
            raise ConfigError("a label is read at the beginning of a text, not in its middle")
        self._start_of(request)  # refuses an unknown label now
        sample = SampleState(request, prompt, self._always)
        self._waiting.append(sample)
        return sample

    def _start_of(self, request: Request) -> int | None:
        """The model id that a text begins after. Raises ConfigError for an unknown label."""
        if request.label is None:
            return self._start_id
        return label_id(self._weights, request.label)

    def prompt_of(self, request: Request) -> Prompt:
        """The prompt of a request, with tokens given back if it is healed. Raises as submit."""
        prompt = request.prompt
        if isinstance(prompt, Prompt):
            return prompt
        if not isinstance(prompt, str):
            return Prompt.from_token_ids(prompt, self.tokenizer, self.vocab)
        found = Prompt.from_text(prompt, self.tokenizer, self.vocab)
        return healed(found, self._start_id) if request.is_healed else found

    def cancel(self, sample: SampleState) -> None:
        """End a text of this loop with finish reason "cancelled"; its place is free at once.

        No step reports it. A text that has ended stays as it is.
        """
        if sample.finish_reason is not None:
            return
        sample.finish("cancelled")
        if sample in self._batch.samples:
            self._leave(self._batch.samples.index(sample))
            return
        self._waiting = deque(other for other in self._waiting if other is not sample)
        for reading in self._readings:
            reading.samples = [other for other in reading.samples if other is not sample]
        self._readings = deque(reading for reading in self._readings if reading.samples)

    def step(self) -> list[Progress]:
        """Advance every text of the batch by one token, and read more of the waiting prompts.

        Returns every text that got a token or ended; none while only prompts are read. A new text gets its
        first token in the step that reads the end of its prompt.

        What a processor raises ends its own text, with finish reason "error" and SampleState.error.
        Raises RunError for damaged weights; after that the loop cannot be used any more.
        """
        batch = self._batch
        if batch.single is not None and not self._waiting and not self._readings:
            return [self._step_single(batch.single)]
        if batch.samples:
            batch.advance()
        if self._waiting or self._readings:
            self._read_prompts()
        if not batch.samples:
            return []
        model_ids = batch.draw()
        scores = batch.scores()
        token_ids, dead_ends = self._token_ids, batch.dead_ends
        progress, ended = [], []
        for place, (sample, model_id) in enumerate(zip(batch.samples, model_ids, strict=True)):
            if sample is None:
                continue
            if place in dead_ends:
                end = dead_ends[place]
                piece = sample.fail(end) if isinstance(end, Exception) else sample.finish(end)
            else:
                was_healing = sample.healing is not None
                piece = sample.push(token_ids[model_id], model_id)
                if was_healing and sample.healing is None:
                    batch.changed()
                if scores is not None and place in scores.drawn:
                    sample.log_probabilities.append(scores.drawn[place])
                    if place in scores.alternatives:
                        sample.alternatives.append(scores.alternatives[place])
            if sample.finish_reason is not None:
                ended.append(place)
            progress.append((sample, piece))
        for place in ended:
            self._leave(place)
        return progress

    def _step_single(self, sample: SampleState) -> Progress:
        """The fast path of `step` for Batch.single."""
        model_id = self._batch.step_single()
        piece = sample.push(self._token_ids[model_id], model_id)
        if sample.finish_reason is not None:
            self._leave(0)
        return sample, piece

    def _leave(self, place: int) -> None:
        sample = self._batch.samples[place]
        assert sample is not None
        if sample.request.keep_state and place not in self._batch.dead_ends:
            sample.state = self._batch.state_of(place)
        self._batch.leave(place)

    def _read_prompts(self) -> None:
        """Read the next pieces of prompts, in turn; a text whose prompt has been read joins the batch."""
        self._admit()
        piece = PROMPT_PIECE_BETWEEN_STEPS if self._batch.samples else PROMPT_PIECE
        budget = piece
        while self._readings and budget > 0:
            reading = self._readings.popleft()
            budget -= reading.advance(piece)
            if reading.is_done:
                assert reading.logits is not None  # of the prompt, or by frequency where there is none
                reading.measure_given_back()
                self._batch.join(reading.samples, reading.engine, reading.logits)
            else:
                self._readings.append(reading)

    def _admit(self) -> None:
        """Start reading the prompts of waiting texts while there are places."""
        num_admitted = self._batch.num_running + sum(len(reading.samples) for reading in self._readings)
        while self._waiting and (self._max_batch_size is None or num_admitted < self._max_batch_size):
            sample = self._waiting.popleft()
            num_admitted += 1
            if self._readings and self._readings[-1].suits(sample):
                self._readings[-1].add(sample)
            else:
                engine, start = copy.copy(self._weights), self._start_of(sample.request)
                self._readings.append(PromptReading(sample, engine, start, self._costs))
