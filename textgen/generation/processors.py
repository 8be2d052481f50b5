"""Not to copy: a text may go on word for word as the training text for so many characters, and no further.

Shapes: B batch (samples drawn side by side), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgen.errors import ConfigError
from textgen.generation.sampling import choose
from textgen.settings.config import SampleConfig
from textgen.text.copies import Copies

if TYPE_CHECKING:
    from textgen.generation.sample import SampleState

# In place of a row, where no token is possible. As an index it is the last row: harmless for a finished text.
NONE = -1


@dataclass(frozen=True)
class CopyLimit:
    """How many characters in a row may stand word for word in the training text; raises ConfigError."""

    copies: Copies
    longest: int

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise ConfigError(f"longest={self.longest!r}: must be at least 1")


class CopyGuard:
    """Watches over one text: what may follow it under a limit.

    What the prompt began counts, and so does a stop string that is not printed.

    Most of the time there is nothing to look up. Where the last few characters, half of a copy too long,
    stand nowhere in the training text, neither does anything that holds them: the next ones are free.
    """

    def __init__(self, limit: CopyLimit, prompt: str) -> None:
        self._copies = limit.copies
        self._too_long = limit.longest + 1
        self._half = (self._too_long + 1) // 2
        self._end = prompt[-limit.longest :]  # of the text so far: what a copy too long would begin with
        self._free = limit.longest - len(self._end)  # so many more characters can end no copy too long

    def allows(self, added: str) -> bool:
        """Whether the text may go on so: no character of it ends a copy longer than the limit.

        Such a copy ends with one that is too long by a single character: so much is looked up.
        """
        if len(added) <= self._free:
            return True
        text = self._end + added
        last = len(text) - self._too_long
        first = max(last + 1 - len(added) + self._free, 0)
        segments = (text[begin : begin + self._too_long] for begin in range(first, last + 1))
        return not any(map(self._copies.contains, segments))

    def read(self, added: str) -> None:
        """The text goes on so."""
        self._end = (self._end + added)[1 - self._too_long :]
        self._free = max(self._free - len(added), 0)
        if not self._free and not self._copies.contains(self._end[-self._half :]):
            self._free = self._too_long - self._half


def without_copies(
    model_ids: np.ndarray,
    drafts: Sequence[SampleState],
    logits: np.ndarray,
    config: SampleConfig,
    *,
    token_ids: np.ndarray,
    occurred: np.ndarray | None,
) -> np.ndarray:
    """The model_ids (B,) drawn from logits (B, V), but for those that the drafts' guards do not allow.

    In place of such a row another is drawn, as if its logit were -inf, and NONE where nothing is left. Each
    row comes with the probability that it has among all that are allowed. token_ids (V,) are the model_ids';
    occurred (B, V) is as for `choose`.
    """
    model_ids = model_ids.copy()
    for b, draft in enumerate(drafts):
        if draft.guard is None or draft.finish_reason:
            continue
        possible = logits[b : b + 1].copy()  # (1, V)
        while not draft.allows(int(token_ids[model_ids[b]])):
            possible[0, model_ids[b]] = -np.inf
            if possible.max() == -np.inf:
                model_ids[b] = NONE
                break
            marks = None if occurred is None else occurred[b : b + 1]
            model_ids[b] = choose(possible, config, draft.uniforms(1), marks).item()
    return model_ids
