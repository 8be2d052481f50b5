"""Processors of single tokens, named by their token ids: those that interfaces of language models have.

A token id that training never saw, or that the tokenizer does not have, has no effect: it is never drawn.

Shapes: V model vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from textgen.errors import ConfigError
from textgen.generation.processors import STOP, LogitsProcessor
from textgen.generation.prompt import Prompt

# A bias down to which a token is forbidden, and the largest; and the most that a penalty may be.
FORBIDDING, MAX_BIAS = -100.0, 100.0
MAX_PENALTY = 2.0


@dataclass(frozen=True, kw_only=True)
class CountPenalties:
    """A ProcessorFactory that makes tokens less likely the more often the new text has them.

    The logit of a token that the new text has n > 0 times is lowered by presence + n x frequency; the prompt
    does not count. From -MAX_PENALTY to MAX_PENALTY; below 0 such tokens are more likely. Raises ConfigError.

    As presence_penalty and frequency_penalty of OpenAI's API, "Frequency and presence penalties".
    """

    presence: float = 0.0
    frequency: float = 0.0

    def __post_init__(self) -> None:
        for name, penalty in (("presence", self.presence), ("frequency", self.frequency)):
            if not abs(penalty) <= MAX_PENALTY:  # true for NaN as well
                raise ConfigError(
                    f"{name} penalty {penalty!r}: must be from {-MAX_PENALTY:g} to {MAX_PENALTY:g}"
                )

    def __call__(self, prompt: Prompt) -> LogitsProcessor:
        """The processor of one text."""
        return CountPenaltiesProcessor(self, prompt)


class CountPenaltiesProcessor(LogitsProcessor):
    """Lowers the logits of the tokens of one text by how often it has them."""

    new_text_only = True

    def __init__(self, penalties: CountPenalties, prompt: Prompt) -> None:
        self._penalties = penalties
        self._counts = np.zeros(prompt.vocab.size, np.int64)  # (V,)

    def process(self, logits: np.ndarray) -> np.ndarray:
        """As LogitsProcessor.process."""
        counts, penalties = self._counts, self._penalties
        lowered: np.ndarray = logits - (penalties.presence * (counts > 0) + penalties.frequency * counts)
        return lowered

    def accept(self, model_id: int) -> None:
        """As LogitsProcessor.accept."""
        self._counts[model_id] += 1


@dataclass(frozen=True, eq=False)
class LogitBias:
    """A ProcessorFactory that adds a bias to the logits of some tokens, given by token id.

    FORBIDDING or less forbids the token; MAX_BIAS is the largest. Raises ConfigError.

    As logit_bias of OpenAI's API, where a bias of -100 bans a token.
    """

    biases: Mapping[int, float]

    def __post_init__(self) -> None:
        for token_id, bias in self.biases.items():
            if not bias <= MAX_BIAS:  # true for NaN as well
                raise ConfigError(f"bias {bias!r} of token id {token_id}: must be at most {MAX_BIAS:g}")

    def __call__(self, prompt: Prompt) -> LogitsProcessor:
        """The processor of one text."""
        return LogitBiasProcessor(self, prompt)


class LogitBiasProcessor(LogitsProcessor):
    """Adds to the logits of some tokens, and forbids others."""

    def __init__(self, bias: LogitBias, prompt: Prompt) -> None:
        known = known_model_ids(bias.biases, prompt)
        added = {known[token_id]: value for token_id, value in bias.biases.items() if token_id in known}
        self._forbidden = [model_id for model_id, value in added.items() if value <= FORBIDDING]
        for model_id in self._forbidden:
            del added[model_id]
        self._changed = list(added)
        self._biases = np.array([*added.values()], np.float64)

    def process(self, logits: np.ndarray) -> np.ndarray:
        """As LogitsProcessor.process."""
        logits = logits.astype(np.float64)
        logits[..., self._changed] += self._biases
        logits[..., self._forbidden] = -np.inf
        return logits


@dataclass(frozen=True)
class ForbiddenTokens:
    """A ProcessorFactory that forbids some tokens, given by token id; end-of-text may be one of them."""

    token_ids: Sequence[int]

    def __call__(self, prompt: Prompt) -> LogitsProcessor:
        """The processor of one text."""
        return LogitBias(dict.fromkeys(self.token_ids, FORBIDDING))(prompt)


@dataclass(frozen=True)
class StopTokens:
    """A ProcessorFactory that ends a text at the first of some tokens, given by token id, in new text.

    What the token writes is part of the text only if the request keeps stop strings. With min_new_tokens
    these tokens are forbidden as end-of-text is. As stop_token_ids of vLLM's SamplingParams.
    """

    token_ids: Sequence[int]

    def __call__(self, prompt: Prompt) -> LogitsProcessor:
        """The processor of one text."""
        return StopTokensProcessor(self, prompt)


class StopTokensProcessor(LogitsProcessor):
    """Ends one text at some tokens."""

    new_text_only = True

    def __init__(self, stops: StopTokens, prompt: Prompt) -> None:
        self.end_ids = tuple(known_model_ids(stops.token_ids, prompt).values())
        self._stops = frozenset(self.end_ids)

    def accept(self, model_id: int) -> str | None:
        """As LogitsProcessor.accept."""
        return STOP if model_id in self._stops else None


def known_model_ids(token_ids: Iterable[int], prompt: Prompt) -> dict[int, int]:
    """The model id of each token id that training saw."""
    ids = [token_id for token_id in token_ids if 0 <= token_id < prompt.tokenizer.vocab_size]
    model_ids: list[int] = prompt.vocab.to_model_ids(np.array(ids, np.int64)).tolist()
    return {
        token_id: model_id
        for token_id, model_id in zip(ids, model_ids, strict=True)
        if model_id < prompt.vocab.size
    }
