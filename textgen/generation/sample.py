"""One text: while it is being written, token by token, and when it is finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textgen.generation.engine import State
from textgen.generation.healing import TokenHealing
from textgen.generation.processors import STOP, ProcessorFactory, make_processors
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request
from textgen.generation.sampling import Alternatives
from textgen.generation.stops import StopFilter

# Drawing one random number takes as long as drawing many.
UNIFORMS_AT_ONCE = 64


@dataclass(frozen=True)
class Sample:
    """One finished text.

    `text` is without the prompt, and without the stop string unless it was kept. `token_ids`, their readable
    `tokens` and their `log_probabilities` are of all tokens drawn: those that ended the text included, and
    those that wrote the end of the prompt again, where tokens were given back (healing.py).
    Log-probabilities are natural and the model's own: before processors, temperature and filters; empty where
    the request did not want them. `finish_reason` is "stop", "end-of-text", "length", "cancelled", or what a
    processor gives: "copy" where every token would have made a copy too long; "error" where it raised.
    """

    prompt: str
    text: str
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    finish_reason: str


class SampleState:
    """One text while it is being written. A GenerationLoop makes and changes it; others read it.

    token_ids: the tokens drawn so far.
    log_probabilities: one for each of them, as in Sample, if the request wants them.
    alternatives: the request's num_alternatives for each of them: the most likely tokens of the model's own
        distribution, with their log-probabilities, likeliest first. The token drawn may not be among them.
    prompt_log_probabilities: one for each token of the prompt, if the request wants them and once it is
        read; None for a first one before which nothing was read. They are those of scoring: a token that
        training never saw has the share that is reserved for such tokens, which the others lack
        (token_costs.py).
    prompt_alternatives: as alternatives, but for the tokens of the prompt and with log-probabilities of
        scoring; None where prompt_log_probabilities has None. Texts that share a prompt share the entries.
    finish_reason: as in Sample; None until the text ends.
    num_rewritten: how many of the tokens drawn only wrote the end of the prompt again.
    error: what a processor raised, if that has ended the text.
    healing: what makes it begin with the text that the prompt gave back; None where there is none left.
    state: set when the text has ended, if the request asks for it: the recurrent state after the prompt and
        all tokens of the text but the last, with which the prompt of a request that continues it must begin.
        None for a text that was cancelled before its prompt was read.

    always: what makes the processors that every text has, after those of the request.

    Raises ConfigError for an empty stop string.
    """

    def __init__(self, request: Request, prompt: Prompt, always: Sequence[ProcessorFactory] = ()) -> None:
        self.request = request
        self.prompt = prompt
        self.token_ids: list[int] = []
        self.log_probabilities: list[float] = []
        self.alternatives: list[Alternatives] = []
        self.prompt_log_probabilities: list[float | None] = []
        self.prompt_alternatives: list[Alternatives | None] = []
        self.finish_reason: str | None = None
        self.error: Exception | None = None
        self.state: State | None = None
        self.healing = TokenHealing(prompt) if prompt.given_back else None
        factories = [*request.processors, *always]
        if (healing := self.healing) is not None:
            factories.insert(0, lambda _: healing)
        self.num_rewritten = 0
        # None costs less to ask about than an empty list.
        self.processors = make_processors(request.config, factories, prompt, self._num_new_tokens) or None
        self._max_tokens = request.config.max_new_tokens  # and those that are rewritten
        self._end_of_text_id = prompt.tokenizer.end_of_text_id
        self._stops = StopFilter(request.stop, keep=request.keep_stop)
        self._decoder = prompt.decoder()
        self._text: list[str] = []
        self._rng = np.random.default_rng(_seed_sequence(request.seed))
        self._uniforms = np.zeros(0)
        self._num_blocks = 0  # of uniforms, so far

    def uniforms(self) -> np.ndarray:
        """Uniform random numbers in [0, 1) that decide the next tokens, one each: (N,), N >= 1."""
        block, used = divmod(len(self.token_ids), UNIFORMS_AT_ONCE)
        if block == self._num_blocks:
            self._uniforms = self._rng.random(UNIFORMS_AT_ONCE)
            self._num_blocks += 1
        return self._uniforms[used:]

    def another_uniform(self) -> np.ndarray:
        """A uniform random number to draw again with after a token was refused: (1,)."""
        return self._rng.random(1)

    def push(self, token_id: int, model_id: int) -> str:
        """Append the next token, given by both its ids. Returns the text that is now final.

        An exception of a processor ends the text, without what this token would have added to it.
        """
        self.token_ids.append(token_id)
        reason = None
        if self.processors is not None:
            is_new = self.healing is None or self.healing.adds_text(model_id)
            try:
                reason = self.processors.accept(model_id, is_new=is_new)
            except Exception as error:
                return self.fail(error)
            if self.healing is not None:
                self._heal(self.healing)
        if token_id == self._end_of_text_id:
            return self.finish("end-of-text")
        if reason == STOP and not self.request.keep_stop:
            return self.finish(STOP)
        text = self._stops.push(self._decoder.push(token_id))
        self._text.append(text)
        if self._stops.stopped:
            self.finish_reason = "stop"
        elif reason is not None or len(self.token_ids) == self._max_tokens:
            text += self.finish(reason or "length")
        return text

    def finish(self, reason: str) -> str:
        """End the text for that reason. Returns what was still held back."""
        # A character that is incomplete at the end (U+FFFD) is left out.
        text = self._stops.push(self._decoder.flush().rstrip("\ufffd"))
        self.finish_reason = "stop" if self._stops.stopped else reason
        text += self._stops.flush()
        self._text.append(text)
        return text

    def fail(self, error: Exception) -> str:
        """End the text because of what a processor raised. Returns what was still held back."""
        text = self.finish("error")
        # Not "stop", even if what was held back completes a stop string.
        self.finish_reason, self.error = "error", error
        return text

    def _num_new_tokens(self) -> int:
        return len(self.token_ids) - self.num_rewritten

    def _heal(self, healing: TokenHealing) -> None:
        """Count what was written again; once it is all there, draw freely, at no cost."""
        self.num_rewritten = healing.num_rewritten
        self._max_tokens = self.request.config.max_new_tokens + healing.num_rewritten
        if healing.is_done:
            assert self.processors is not None
            self.healing, self.processors = None, self.processors.without(healing) or None

    def result(self) -> Sample:
        """The finished text."""
        assert self.finish_reason is not None
        return Sample(
            prompt=self.prompt.text,
            text="".join(self._text),
            tokens=tuple(map(self.prompt.tokenizer.token_text, self.token_ids)),
            token_ids=tuple(self.token_ids),
            log_probabilities=tuple(self.log_probabilities),
            finish_reason=self.finish_reason,
        )


def _seed_sequence(seed: int | np.random.SeedSequence | None) -> np.random.SeedSequence:
    if isinstance(seed, np.random.SeedSequence):
        return seed
    (child,) = np.random.SeedSequence(seed).spawn(1)
    return child
