"""What one text is asked for with."""

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
    """One text to write; nothing else decides what the text is.

    prompt: text, ids of the tokenizer, or a Prompt; requests that share one Prompt read it once.
    stop: strings that end the text where they occur in new text; they are not part of it.
    seed: the same seed gives the same text; None, another each time. A SeedSequence is used as it is, a
        number n as SeedSequence(n).spawn(1)[0].
    processors: called once for the text, each makes one of its processors; they run in this order, after the
        repetition penalty.
    state: the recurrent state to read the prompt from; None is that of a text's beginning. A prompt of at
        least one token is needed with it.
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
