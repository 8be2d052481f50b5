"""One sample: while it is written, token by token, and when it is finished."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from textgen.generation.processors import CopyGuard
from textgen.generation.stops import StopFilter
from textgen.text.decoder import Decoder
from textgen.text.tokenizer import Tokenizer

# So many of the prompt's last tokens are enough to see how the first new one is to be written.
DECODER_CONTEXT = 16


@dataclass(frozen=True)
class Sample:
    """One text that was drawn.

    `text` is without the prompt and ends before the stop string. `token_ids`, their readable `tokens` and
    their `log_probabilities` are of all tokens drawn, those that ended the text included. Log-probabilities
    are natural and the model's own: before penalty, temperature and filters. `finish_reason` is "stop",
    "end-of-text", "length", or "copy" where every token would have made a copy too long.
    """

    prompt: str
    text: str
    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    finish_reason: str


class SampleState:
    """One sample while it is being written."""

    def __init__(
        self,
        prompt: str,
        prompt_ids: np.ndarray,
        stops: StopFilter,
        tokenizer: Tokenizer,
        seed: np.random.SeedSequence,
        guard: CopyGuard | None = None,
    ) -> None:
        self.prompt = prompt
        self.prompt_ids = prompt_ids
        self._rng = np.random.default_rng(seed)
        self.token_ids: list[int] = []
        self.log_probabilities: list[float] = []
        self.finish_reason = ""  # until it has one
        self._text: list[str] = []
        self._stops = stops
        self._tokenizer = tokenizer
        self._end_of_text_id = tokenizer.end_of_text_id
        self._decoder = _decoder_after(prompt_ids, tokenizer)
        self.guard = guard

    def uniforms(self, count: int) -> np.ndarray:
        """The next numbers that decide over its tokens, evenly spread over [0, 1): (count,).

        They are the same in whatever counts they are asked for.
        """
        return self._rng.random(count)

    def allows(self, token_id: int) -> bool:
        """Whether this may be the next token: not where it would make a copy too long."""
        if self.guard is None or token_id == self._end_of_text_id:
            return True
        return self.guard.allows(self._decoder.peek(token_id))

    def push(self, token_id: int) -> str:
        """Take the next token; returns the text that is now certain."""
        self.token_ids.append(token_id)
        if token_id == self._end_of_text_id:
            return self.finish("end-of-text")
        text = self._decoder.push(token_id)
        if self.guard is not None:
            self.guard.read(text)
        text = self._stops.push(text)
        if self._stops.stopped:
            self.finish_reason = "stop"
        self._text.append(text)
        return text

    def finish(self, reason: str) -> str:
        """End the text for that reason; returns what was still held back."""
        # A character that is incomplete now, U+FFFD at the end, was begun and not written: it is left out.
        text = self._stops.push(self._decoder.flush().rstrip("\ufffd"))
        self.finish_reason = "stop" if self._stops.stopped else reason
        text += self._stops.flush()
        self._text.append(text)
        return text

    def sample(self) -> Sample:
        """The finished text."""
        return Sample(
            prompt=self.prompt,
            text="".join(self._text),
            tokens=tuple(map(self._tokenizer.token_text, self.token_ids)),
            token_ids=tuple(self.token_ids),
            log_probabilities=tuple(self.log_probabilities),
            finish_reason=self.finish_reason,
        )


def _decoder_after(prompt_ids: np.ndarray, tokenizer: Tokenizer) -> Decoder:
    """A decoder that has written the prompt, because some tokens begin with a space only after others."""
    decoder = tokenizer.decoder()
    written = ""
    for token_id in prompt_ids[-DECODER_CONTEXT:].tolist():
        written = decoder.push(token_id)
    # One that still keeps some of the prompt, or has seen nothing, must not write it as new text.
    return decoder if written else tokenizer.decoder()
