"""The generation loop: texts that join and leave a running batch, advanced by one token a step.

    submit ─→ waiting ─→ prompt read, piece by piece ─→ batch ─→ finished
                                                        │  ▲
                              engine ─→ logits ─→ draw ─┘  └─ engine reads what was drawn, a step later

Shapes: B texts of the batch, T time, V model vocabulary.
"""

from __future__ import annotations

import copy
from collections import deque

import numpy as np

from textgen.errors import ConfigError
from textgen.generation.batch import Batch
from textgen.generation.engine import Engine, label_id
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request
from textgen.generation.sample import SampleState
from textgen.generation.sampling import log_probabilities
from textgen.generation.whole_characters import character_rules
from textgen.text.model_vocab import begin, start_id
from textgen.text.tokenizer import Tokenizer

# Tokens of prompts that are read in one step: fewer while texts in the batch wait for it.
PROMPT_PIECE, PROMPT_PIECE_BETWEEN_STEPS = 512, 64
# How many logits of a prompt (T, V) may be in memory at once.
MAX_PROMPT_LOGITS = 2**22

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
        self._token_ids: list[int] = self.vocab.token_ids.tolist()
        rules = character_rules(tokenizer, self.vocab)
        self._always = () if rules is None else (rules,)
        self._max_batch_size = max_batch_size
        self._waiting: deque[SampleState] = deque()
        self._readings: deque[_Reading] = deque()
        self._batch = Batch(compact=compact)

    @property
    def busy(self) -> bool:
        """Whether a text has not ended yet."""
        return bool(self._batch.samples or self._readings or self._waiting)

    def submit(self, request: Request) -> SampleState:
        """Add a text, to be written by the next steps.

        Raises ConfigError, TokenizerError.
        """
        prompt = request.prompt
        if isinstance(prompt, str):
            prompt = Prompt.from_text(prompt, self.tokenizer, self.vocab)
        elif not isinstance(prompt, Prompt):
            prompt = Prompt.from_token_ids(prompt, self.tokenizer, self.vocab)
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

        Raises RunError for damaged weights; after an error the loop cannot be used any more.
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
                piece = sample.finish(dead_ends[place])
            else:
                piece = sample.push(token_ids[model_id], model_id)
                if scores is not None and sample.request.log_probabilities:
                    sample.log_probabilities.append(scores[place])
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
                self._readings.append(
                    _Reading(sample, copy.copy(self._weights), self._start_of(sample.request))
                )


class _Reading:
    """A prompt that is being read, for one text or for several that share it.

    logits: of the token after what was read, (1, V); None where nothing was.
    """

    def __init__(self, sample: SampleState, engine: Engine, start_id: int | None) -> None:
        request, prompt = sample.request, sample.prompt
        self.samples = [sample]
        self.engine = engine
        self.logits: np.ndarray | None = None
        self._scored = request.prompt_log_probabilities
        self._state = request.state
        self._mid_text, self._label = request.mid_text, request.label
        self._position = 0
        self._ids = prompt.model_ids  # (T,)
        if request.state is not None:
            engine.state = request.state
        else:
            engine.reset_state(1)
            if not (request.mid_text and len(self._ids)):
                self._ids = begin(self._ids, start_id)
        self._reads_start = len(self._ids) > len(prompt.model_ids)  # which is no token of the prompt
        if not len(self._ids):
            self.logits = np.log(engine.vocab.frequencies)[None]

    @property
    def is_done(self) -> bool:
        """Whether the whole prompt is read."""
        return self._position == len(self._ids)

    def suits(self, sample: SampleState) -> bool:
        """Whether a text may share this prompt, which may have been read in part."""
        other = sample.request
        return (
            sample.prompt is self.samples[0].prompt
            and other.state is self._state
            and other.mid_text == self._mid_text
            and other.label == self._label
            and other.prompt_log_probabilities == self._scored
        )

    def add(self, sample: SampleState) -> None:
        """Let a text that suits share this prompt."""
        sample.prompt_log_probabilities += self.samples[0].prompt_log_probabilities
        self.samples.append(sample)

    def advance(self, num_tokens: int) -> int:
        """Read at most num_tokens more. Returns how many were read."""
        ids = self._ids[self._position : self._position + num_tokens]
        if len(ids) and self._scored:
            ids = ids[: max(1, MAX_PROMPT_LOGITS // self.engine.vocab.size)]
            logits = self.engine.read(ids[None])[0]  # (T, V)
            self._score(ids, logits)
            self.logits = logits[-1:]
        elif len(ids):
            self.logits = self.engine.advance(ids[None])
        self._position += len(ids)
        return len(ids)

    def _score(self, ids: np.ndarray, logits: np.ndarray) -> None:
        """Record the log-probabilities of model ids (T,), given the logits after each of them (T, V)."""
        if self.logits is None:
            scores: list[float | None] = [] if self._reads_start else [None]
            logits = logits[:-1]
            ids = ids[1:]
        else:
            scores = []
            logits = np.concatenate([self.logits, logits[:-1]])
        if len(ids):
            seen = ids < self.engine.vocab.size
            found = log_probabilities(logits)[np.arange(len(ids)), np.where(seen, ids, 0)]
            scores += [
                score if is_seen else None
                for score, is_seen in zip(found.tolist(), seen.tolist(), strict=True)
            ]
        for sample in self.samples:
            sample.prompt_log_probabilities += scores
