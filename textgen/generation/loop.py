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
from textgen.generation.engine import Engine
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request
from textgen.generation.sample import SampleState
from textgen.generation.sampling import log_probabilities
from textgen.text.model_vocab import start_id
from textgen.text.tokenizer import Tokenizer

# Tokens of prompts that are read between two steps: few where texts of the batch wait for it.
PROMPT_PIECE, PROMPT_PIECE_BETWEEN_STEPS = 512, 64
# Numbers in the logits of a prompt (T, V) that are in memory at once.
MOST_PROMPT_LOGITS = 2**22


Progress = tuple[SampleState, str]
"""What a step did for one text: its new piece, which may be empty. At the end finish_reason is set."""


class GenerationLoop:
    """Writes the texts of requests side by side, each as if it were alone.

    A text depends on its own request only, not on the others in the batch nor on when they come and go (but
    for rounding: products of another batch size may differ in their last bits).

    max_batch_size: how many texts are read or written at once; others wait. None is no limit.
    compact: whether a text that ends leaves the batch at once. Otherwise it is computed on, unheard, until
        all have ended, so that the products of the others keep their shape and rounding.

    One thread at a time may use a loop; several loops may run on one engine, each in its thread.

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
        self._max_batch_size = max_batch_size
        self._waiting: deque[SampleState] = deque()
        self._readings: deque[_Reading] = deque()
        self._batch = Batch(compact=compact)

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self._batch.texts or self._readings or self._waiting)

    def submit(self, request: Request) -> SampleState:
        """Take one more text; the steps to come write it.

        Raises ConfigError, TokenizerError.
        """
        prompt = request.prompt
        if isinstance(prompt, str):
            prompt = Prompt.from_text(prompt, self.tokenizer, self.vocab)
        elif not isinstance(prompt, Prompt):
            prompt = Prompt.from_token_ids(prompt, self.tokenizer, self.vocab)
        if request.state is not None and not len(prompt.token_ids):
            raise ConfigError("a request with a state needs a prompt of at least one token")
        text = SampleState(request, prompt)
        self._waiting.append(text)
        return text

    def cancel(self, text: SampleState) -> None:
        """End a text of this loop with finish reason "cancelled"; its place is free at once.

        A text that has ended stays as it is.
        """
        if text.finish_reason is not None:
            return
        text.finish("cancelled")
        if text in self._batch.texts:
            self._leave(self._batch.texts.index(text))
            return
        self._waiting = deque(other for other in self._waiting if other is not text)
        for reading in self._readings:
            reading.texts = [other for other in reading.texts if other is not text]
        self._readings = deque(reading for reading in self._readings if reading.texts)

    def step(self) -> list[Progress]:
        """Advance every text of the batch by one token, and read on in prompts that wait.

        Returns each text that got a token or ended, with its new piece; none while only prompts are read. A
        text that is new gets its first token in the step that has read the last of its prompt.

        Raises RunError for damaged weights; the loop is of no use after an error.
        """
        batch = self._batch
        if batch.single is not None and not self._waiting and not self._readings:
            return [self._step_single(batch.single)]
        if batch.texts:
            batch.advance()
        if self._waiting or self._readings:
            self._read_prompts()
        if not batch.texts:
            return []
        model_ids = batch.draw()
        scores = batch.scores()
        token_ids, dead_ends = self._token_ids, batch.dead_ends
        progress, ended = [], []
        for place, (text, model_id) in enumerate(zip(batch.texts, model_ids, strict=True)):
            if text is None:
                continue
            if place in dead_ends:
                piece = text.finish(dead_ends[place])
            else:
                piece = text.push(token_ids[model_id], model_id)
                if scores is not None and text.request.log_probabilities:
                    text.log_probabilities.append(scores[place])
            if text.finish_reason is not None:
                ended.append(place)
            progress.append((text, piece))
        for place in ended:
            self._leave(place)
        return progress

    def _step_single(self, text: SampleState) -> Progress:
        """The fast path of `step`, for one text with nothing besides."""
        model_id = self._batch.step_single()
        piece = text.push(self._token_ids[model_id], model_id)
        if text.finish_reason is not None:
            self._leave(0)
        return text, piece

    def _leave(self, place: int) -> None:
        text = self._batch.texts[place]
        assert text is not None
        if text.request.keep_state and place not in self._batch.dead_ends:
            text.state = self._batch.state_of(place)
        self._batch.leave(place)

    def _read_prompts(self) -> None:
        """Read on in prompts, in turn; texts whose prompt is read whole join the batch."""
        self._admit()
        piece = PROMPT_PIECE_BETWEEN_STEPS if self._batch.texts else PROMPT_PIECE
        budget = piece
        while self._readings and budget > 0:
            reading = self._readings.popleft()
            budget -= reading.advance(piece)
            if reading.is_done:
                assert reading.logits is not None  # of the prompt, or by frequency where there is none
                self._batch.join(reading.texts, reading.engine, reading.logits)
            else:
                self._readings.append(reading)

    def _admit(self) -> None:
        """Begin to read the prompts of texts that wait, as far as there are places."""
        num_admitted = self._batch.num_running + sum(len(reading.texts) for reading in self._readings)
        while self._waiting and (self._max_batch_size is None or num_admitted < self._max_batch_size):
            text = self._waiting.popleft()
            num_admitted += 1
            if self._readings and self._readings[-1].suits(text):
                self._readings[-1].texts.append(text)
            else:
                self._readings.append(_Reading(text, copy.copy(self._weights), self._start_id))


class _Reading:
    """A prompt that is read for one text, or for several that share it.

    logits: of the token after what was read, (1, V); None where nothing was.
    """

    def __init__(self, text: SampleState, engine: Engine, start_id: int | None) -> None:
        request, prompt = text.request, text.prompt
        self.texts = [text]
        self.engine = engine
        self.logits: np.ndarray | None = None
        self._scored = request.prompt_log_probabilities
        self._state = request.state
        self._position = 0
        self._ids = prompt.model_ids  # (T,)
        if request.state is not None:
            engine.state = request.state
        else:
            engine.reset_state(1)
        if not len(self._ids):
            if start_id is not None:
                self._ids = np.array([start_id])
            else:
                self.logits = np.log(engine.vocab.frequencies)[None]

    @property
    def is_done(self) -> bool:
        """Whether the whole prompt is read."""
        return self._position == len(self._ids)

    def suits(self, text: SampleState) -> bool:
        """Whether a text goes on from the very same, none of which has been read yet."""
        other = text.request
        return (
            not self._position
            and text.prompt is self.texts[0].prompt
            and other.state is self._state
            and other.prompt_log_probabilities == self._scored
        )

    def advance(self, num_tokens: int) -> int:
        """Read at most so many tokens more. Returns how many were read."""
        ids = self._ids[self._position : self._position + num_tokens]
        if len(ids) and self._scored:
            ids = ids[: max(1, MOST_PROMPT_LOGITS // self.engine.vocab.size)]
            logits = self.engine.read(ids[None])[0]  # (T, V)
            self._score(ids, logits)
            self.logits = logits[-1:]
        elif len(ids):
            self.logits = self.engine.advance(ids[None])
        self._position += len(ids)
        return len(ids)

    def _score(self, ids: np.ndarray, logits: np.ndarray) -> None:
        """Note the log-probabilities of tokens (T,), the logits after each of which are (T, V)."""
        if self.logits is None:
            scores: list[float | None] = [None] if len(self.texts[0].prompt.token_ids) else []
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
        for text in self.texts:
            text.prompt_log_probabilities += scores
