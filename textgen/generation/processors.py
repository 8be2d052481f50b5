"""Logits processors: what changes or forbids tokens of one text before temperature and filters see them.

    logits ─ process ─ process ─→ sampling ─→ model id ─ allows? ─ yes → accept
                                     ▲                      │
                                     └── without it ←─ no ──┘

Shapes: V model vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from textgen.errors import ConfigError
from textgen.generation.prompt import Prompt
from textgen.generation.sampling import penalize
from textgen.settings.config import SampleConfig
from textgen.text.copies import Copies

# The finish reason of a text that ends with a stop string or a stop token.
STOP = "stop"


class LogitsProcessor(Protocol):
    """Changes or forbids the next tokens of one text; each text has a processor of its own.

    A subclass overrides what it needs: the methods here change and forbid nothing. An exception ends the text
    that the processor belongs to, and no other.

    finish_reason: that of a text that ends because this processor leaves no token.
    new_text_only: whether `accept` gets only tokens that add to the text, and none that only write the end of
        the prompt again (healing.py).
    end_ids: the model ids with which `accept` ends the text; min_new_tokens keeps them back.
    """

    finish_reason: str = "no-token"
    new_text_only: bool = False
    end_ids: Sequence[int] = ()

    def process(self, logits: np.ndarray) -> np.ndarray:
        """New logits of the next token from (V,) or (1, V), of the same shape; -inf forbids a token.

        The argument is not changed.
        """
        return logits

    def allows(self, model_id: int) -> bool:
        """Whether the token that was drawn may come next; if not, another is drawn without it.

        For rules that would be slow to check for the whole vocabulary. It changes nothing.
        """
        return True

    def mask(self) -> np.ndarray | None:
        """All tokens that `allows` accepts next, (V,) bool; None if they would have to be checked one by one.

        Called only after `allows` has refused a token. It changes nothing.
        """
        return None

    def accept(self, model_id: int) -> str | None:
        """Record the next token of the text. Returns a finish reason to end the text with it, or None.

        Called for every token of the text, including one that ends it. With the reason STOP, what the token
        writes is part of the text only if the request keeps stop strings.
        """
        return None


ProcessorFactory = Callable[[Prompt], LogitsProcessor]
"""Makes the processor of one text from its prompt."""


class ProcessorList:
    """The processors of one text, applied in order."""

    def __init__(self, processors: Iterable[LogitsProcessor]) -> None:
        self._processors = tuple(processors)

    def __bool__(self) -> bool:
        return bool(self._processors)

    def without(self, processor: LogitsProcessor) -> ProcessorList:
        """The others."""
        return ProcessorList(other for other in self._processors if other is not processor)

    def process(self, logits: np.ndarray) -> np.ndarray:
        """The logits after all of them, (V,) or (1, V)."""
        for processor in self._processors:
            logits = processor.process(logits)
        return logits

    def exhausted_by(self, logits: np.ndarray) -> LogitsProcessor:
        """The first processor that leaves no token of these logits; `process` must leave none."""
        for processor in self._processors:
            logits = processor.process(logits)
            if logits.max() == -np.inf:
                break
        return processor

    def refusing(self, model_id: int) -> LogitsProcessor | None:
        """The first processor that does not allow a token; None if all do."""
        for processor in self._processors:
            if not processor.allows(model_id):
                return processor
        return None

    def accept(self, model_id: int, *, is_new: bool = True) -> str | None:
        """Pass the next token to all of them. Returns the first finish reason.

        is_new: whether the token adds to the text.
        """
        reasons = [
            processor.accept(model_id)
            for processor in self._processors
            if is_new or not processor.new_text_only
        ]
        return next(filter(None, reasons), None)


class RepetitionPenalty(LogitsProcessor):
    """Makes tokens that occurred in prompt or text less likely, or more likely with a penalty below 1."""

    def __init__(self, penalty: float, prompt: Prompt) -> None:
        self._penalty = penalty
        self._occurred = np.zeros(prompt.vocab.size, dtype=bool)  # (V,)
        self._occurred[prompt.model_ids[prompt.model_ids < prompt.vocab.size]] = True

    def process(self, logits: np.ndarray) -> np.ndarray:
        """As LogitsProcessor.process."""
        return penalize(logits, self._occurred, self._penalty)

    def accept(self, model_id: int) -> None:
        """As LogitsProcessor.accept."""
        self._occurred[model_id] = True


class MinNewTokens(LogitsProcessor):
    """Forbids end-of-text and end_ids for the first num_tokens new tokens of a text.

    num_new: how many the text has. end_ids: the model ids of other tokens that would end it.
    """

    def __init__(
        self, num_tokens: int, prompt: Prompt, num_new: Callable[[], int], end_ids: Sequence[int] = ()
    ) -> None:
        self._num_tokens = num_tokens
        self._num_new = num_new
        end_of_text = np.flatnonzero(prompt.vocab.token_ids == prompt.tokenizer.end_of_text_id)
        self._forbidden = np.array([*end_of_text.tolist(), *end_ids], np.int64)

    def process(self, logits: np.ndarray) -> np.ndarray:
        """As LogitsProcessor.process."""
        if self._num_new() >= self._num_tokens:
            return logits
        logits = logits.copy()
        logits[..., self._forbidden] = -np.inf
        return logits


@dataclass(frozen=True)
class CopyLimit:
    """A ProcessorFactory that allows no copy of the training text longer than `longest` characters.

    The prompt counts, and so does a stop string that is not part of the text. A text that stays within the
    limit is the same without it. Raises ConfigError.
    """

    copies: Copies
    longest: int

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise ConfigError(f"longest={self.longest!r}: must be at least 1")

    def __call__(self, prompt: Prompt) -> LogitsProcessor:
        """The processor of one text."""
        return CopyLimitProcessor(self, prompt)


class CopyLimitProcessor(LogitsProcessor):
    """Refuses a token that would make a copy longer than the limit."""

    finish_reason = "copy"

    def __init__(self, limit: CopyLimit, prompt: Prompt) -> None:
        self._checker = CopyChecker(limit, prompt.text)
        self._decoder = prompt.decoder()
        self._token_ids = prompt.vocab.token_ids
        self._end_of_text_id = prompt.tokenizer.end_of_text_id

    def allows(self, model_id: int) -> bool:
        """As LogitsProcessor.allows."""
        token_id = int(self._token_ids[model_id])
        return token_id == self._end_of_text_id or self._checker.allows(self._decoder.peek(token_id))

    def accept(self, model_id: int) -> None:
        """As LogitsProcessor.accept."""
        token_id = int(self._token_ids[model_id])
        if token_id != self._end_of_text_id:
            self._checker.append(self._decoder.push(token_id))


class CopyChecker:
    """Checks whether additions to one text make a copy that is too long.

    Most of the time there is nothing to look up: if the last few characters, half the length of a copy that
    is too long, do not occur in the training text, nothing that contains them does: the next ones are free.
    """

    def __init__(self, limit: CopyLimit, prompt: str) -> None:
        self._copies = limit.copies
        self._too_long = limit.longest + 1
        self._half = (self._too_long + 1) // 2
        self._end = prompt[
            -limit.longest :
        ]  # the end of the text, in which a copy that is too long would begin
        self._free = limit.longest - len(self._end)  # number of characters that need no look-up

    def allows(self, added: str) -> bool:
        """Whether none of the characters added would end a copy longer than the limit.

        Every such copy ends with one that is too long by a single character, so only those are looked up.
        """
        if len(added) <= self._free:
            return True
        text = self._end + added
        last = len(text) - self._too_long
        first = max(last + 1 - len(added) + self._free, 0)
        strings = (text[begin : begin + self._too_long] for begin in range(first, last + 1))
        return not any(map(self._copies.contains, strings))

    def append(self, added: str) -> None:
        """Add to the text."""
        self._end = (self._end + added)[1 - self._too_long :]
        self._free = max(self._free - len(added), 0)
        if not self._free and not self._copies.contains(self._end[-self._half :]):
            self._free = self._too_long - self._half


def make_processors(
    config: SampleConfig,
    factories: Iterable[ProcessorFactory],
    prompt: Prompt,
    num_new: Callable[[], int],
) -> ProcessorList:
    """The processors of one text: those that the config asks for, then the others in their order.

    num_new: how many new tokens the text has.
    """
    processors: list[LogitsProcessor] = []
    if config.repetition_penalty != 1:
        processors.append(RepetitionPenalty(config.repetition_penalty, prompt))
    others = [factory(prompt) for factory in factories]
    if config.min_new_tokens:
        end_ids = [model_id for processor in others for model_id in processor.end_ids]
        processors.append(MinNewTokens(config.min_new_tokens, prompt, num_new, end_ids))
    return ProcessorList([*processors, *others])
