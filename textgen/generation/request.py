"""A request for one text: its prompt, its settings, and what to record about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textgen.errors import ConfigError
from textgen.generation.engine import State
from textgen.generation.processors import ProcessorFactory
from textgen.generation.prompt import Prompt
from textgen.settings.config import SampleConfig

DEFAULTS = SampleConfig()
MAX_ALTERNATIVES = 20


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """One text to generate; the text depends on nothing else.

    prompt: text, ids of the tokenizer, or a Prompt; requests that share one Prompt read it once. Ids and a
        Prompt are read as they are, also with `config.heal`.
    stop: strings that end the text where they occur in new text.
    keep_stop: whether the stop string or stop token that ended the text is part of it.
    seed: the same seed gives the same text; None: a random seed. A SeedSequence is used as it is, a number n
        as SeedSequence(n).spawn(1)[0].
    processors: each is called once and makes one processor of the text; they run in this order, after those
        that the config asks for.
    label: the label that the text is conditioned on, which the start token carries; None: none.
    mid_text: the prompt is from the middle of a text and is read without the start token. Without a prompt
        the text begins after the start token all the same.
    state: the recurrent state before the prompt, which then needs at least one token and is read without the
        start token; None: that of the beginning of a text.
    log_probabilities: whether SampleState.log_probabilities is filled.
    prompt_log_probabilities: whether SampleState.prompt_log_probabilities is filled.
    num_alternatives: how many of the most likely tokens SampleState.alternatives has beside each token drawn,
        0 to MAX_ALTERNATIVES. Above 0 log-probabilities are recorded too, and where those of the prompt are
        asked for, SampleState.prompt_alternatives.
    keep_state: whether SampleState.state is set when the text ends.

    Raises ConfigError.
    """

    prompt: str | Sequence[int] | Prompt = ""
    config: SampleConfig = DEFAULTS
    stop: Sequence[str] = ()
    keep_stop: bool = False
    seed: int | np.random.SeedSequence | None = None
    processors: Sequence[ProcessorFactory] = ()
    label: str | None = None
    mid_text: bool = False
    state: State | None = None
    log_probabilities: bool = False
    prompt_log_probabilities: bool = False
    num_alternatives: int = 0
    keep_state: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.num_alternatives <= MAX_ALTERNATIVES:
            raise ConfigError(
                f"num_alternatives={self.num_alternatives!r}: must be from 0 to {MAX_ALTERNATIVES}"
            )

    @property
    def is_scored(self) -> bool:
        """Whether the log-probability of each token drawn is recorded."""
        return self.log_probabilities or self.num_alternatives > 0

    @property
    def is_healed(self) -> bool:
        """Whether tokens of the prompt may be given back (healing.py): of text of which nothing is asked."""
        is_asked = self.prompt_log_probabilities or self.state is not None
        return self.config.heal and isinstance(self.prompt, str) and not is_asked


def several_of(request: Request, num_samples: int) -> list[Request]:
    """Requests for num_samples texts like one, each with a seed of its own that follows from its seed."""
    seed = request.seed
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return [dataclasses.replace(request, seed=child) for child in root.spawn(num_samples)]
