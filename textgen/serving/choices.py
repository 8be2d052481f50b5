"""From the pieces of a text to the parts of a choice, with what was asked about its tokens.

    arrivals ─→ Piece ─ ChoiceReader ─→ Part: text, tokens with log-probabilities, finish reason

Completions and chat differ only in how they write a Part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import UNSET, UnsetType

from textgen.generation.prompt import Prompt
from textgen.generation.sample import SampleState
from textgen.serving.engine_thread import Piece
from textgen.serving.jobs import Wanted

# JSON has no minus infinity; OpenAI's API sends this for a token that is very unlikely.
_LEAST = -9999.0


@dataclass(frozen=True)
class TokenScore:
    """A token with its log-probability (None: nothing was read before it), the likely ones, and its place.

    alternatives: likeliest first, the token itself among them. offset: the character of prompt and text at
    which it begins.
    """

    token_id: int
    log_probability: float | None
    alternatives: list[tuple[int, float]]
    offset: int


@dataclass(frozen=True)
class Part:
    """What a piece adds to a choice. scores: None where log-probabilities are not asked for.

    token_ids, prompt_token_ids: UNSET where they are not asked for; the prompt's are in the first part only.
    """

    text: str
    token_ids: list[int] | UnsetType
    scores: list[TokenScore] | None
    finish_reason: str | None
    prompt_token_ids: list[int] | UnsetType


class ChoiceReader:
    """Reads the parts of one choice from the pieces of its text, in their order."""

    def __init__(self, prompt: Prompt, wanted: Wanted) -> None:
        self._prompt = prompt
        self._wanted = wanted
        self._num_read = 0  # tokens of the text that are in a part
        self._is_first = True
        self._decoder = prompt.tokenizer.decoder()
        self._offset = 0
        self.num_new_tokens = 0  # without those that only wrote the end of the prompt again
        self.log_probability = -math.inf  # mean over the tokens, once the text has ended

    def part(self, sample: SampleState, piece: Piece) -> Part:
        """What a piece adds."""
        wanted, prompt = self._wanted, self._prompt
        is_first, self._is_first = self._is_first, False
        start, stop = self._num_read, piece.num_tokens if wanted.max_tokens else 0
        self._num_read = stop
        self.num_new_tokens = max(stop - sample.num_rewritten, 0)
        scores: list[TokenScore] | None = None
        if wanted.alternatives is not None:
            scores = self._prompt_scores(sample) if is_first else []
            scores += self._scores(sample, start, stop)
        if piece.finish_reason is not None and sample.log_probabilities:
            self.log_probability = float(np.mean(sample.log_probabilities))
        prompt_token_ids: list[int] | UnsetType = UNSET
        if wanted.token_ids and is_first:
            prompt_token_ids = [*prompt.token_ids.tolist(), *prompt.given_back]
        text = piece.text if wanted.max_tokens else ""
        return Part(
            text=prompt.text + text if wanted.echo and is_first else text,
            token_ids=sample.token_ids[start:stop] if wanted.token_ids else UNSET,
            scores=scores,
            finish_reason=_finish_reason(piece.finish_reason, wanted),
            prompt_token_ids=prompt_token_ids,
        )

    def _prompt_scores(self, sample: SampleState) -> list[TokenScore]:
        """Move over the tokens of the prompt; their scores, where they are asked for."""
        ids = self._prompt.token_ids.tolist()
        offsets = [self._move(token_id) for token_id in ids]
        if not self._wanted.echo:
            return []
        found = []
        for number, (token_id, offset) in enumerate(zip(ids, offsets, strict=True)):
            # As in OpenAI's API the first token has none, although the start token precedes it here.
            score = sample.prompt_log_probabilities[number] if number else None
            likely = sample.prompt_alternatives[number] if number and self._wanted.alternatives else None
            found.append(_token_score(token_id, score, likely or [], offset))
        return found

    def _scores(self, sample: SampleState, start: int, stop: int) -> list[TokenScore]:
        found = []
        for number in range(start, stop):
            token_id = sample.token_ids[number]
            likely = sample.alternatives[number] if self._wanted.alternatives else []
            score = sample.log_probabilities[number]
            found.append(_token_score(token_id, score, likely, self._move(token_id)))
        return found

    def _move(self, token_id: int) -> int:
        """The character at which the next token begins."""
        offset = self._offset
        self._offset += len(self._decoder.push(token_id))
        return offset


def _finish_reason(reason: str | None, wanted: Wanted) -> str | None:
    """A finish reason as OpenAI's API has it."""
    if reason is None:
        return None
    return "length" if reason == "length" or not wanted.max_tokens else "stop"


def _token_score(
    token_id: int, score: float | None, likely: Sequence[tuple[int, float]], offset: int
) -> TokenScore:
    if score is None:
        return TokenScore(token_id, None, [], offset)
    score = max(score, _LEAST)
    found = [(other, max(value, _LEAST)) for other, value in likely if other != token_id]
    # The token's own value is its log-probability exactly: clients compare the two for equality.
    found.append((token_id, score))
    found.sort(key=lambda each: -each[1])
    return TokenScore(token_id, score, found, offset)
