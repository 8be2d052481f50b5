"""A request for one text: its prompt, its settings, and what to record about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from textgen.generation.engine import State
from textgen.generation.processors import ProcessorFactory
from textgen.generation.prompt import Prompt
from textgen.settings.config import SampleConfig

DEFAULTS = SampleConfig()


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """One text to generate; the text depends on nothing else.

    prompt: text, token ids, or a Prompt; requests that share one Prompt read it once.
    stop: strings that end the text where they occur in new text; they are not part of it.
    seed: the same seed gives the same text; None: a random seed. A SeedSequence is used as it is, a number n
        as SeedSequence(n).spawn(1)[0].
    processors: each is called once and makes one processor of the text; they run in this order, after the
        repetition penalty.
    state: the recurrent state before the prompt, which then needs at least one token; None: that of the
        beginning of a text.
    log_probabilities: whether SampleState.log_probabilities is filled.
    prompt_log_probabilities: whether SampleState.prompt_log_probabilities is filled.
    keep_state: whether SampleState.state is set when the text ends.
    """

    prompt: str | Sequence[int] | Prompt = ""
    config: SampleConfig = DEFAULTS
    stop: Sequence[str] = ()
    seed: int | np.random.SeedSequence | None = None
    processors: Sequence[ProcessorFactory] = ()
    state: State | None = None
    log_probabilities: bool = False
    prompt_log_probabilities: bool = False
    keep_state: bool = False
