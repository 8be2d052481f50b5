"""How good weights are while they are trained: their loss on some of the validation text, and a sample."""

from __future__ import annotations

import json

import numpy as np

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import Segments, evaluate
from textgen.generation.generator import Generator
from textgen.models.language_model import LanguageModel
from textgen.settings.config import SampleConfig
from textgen.text.tokenizer import Tokenizer

SAMPLE_TOKENS = 120
SHORTEST_LANE = 256  # tokens


class Validation:
    """The same measure at every evaluation: the same segments of the text, the same seed for the sample."""

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        token_ids: np.ndarray,
        *,
        start_id: int | None,
        segments: Segments,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._token_ids = token_ids
        self._start_row = start_id
        self._stretches = segments

    def loss(self) -> Loss:
        """The loss of the weights as they are."""
        return evaluate(
            self._model,
            self._token_ids,
            vocab_size=self._tokenizer.vocab_size,
            start_id=self._start_row,
            segments=self._stretches,
        )

    def sample(self, seed: int) -> str:
        """A short text from the weights as they are, on one line."""
        generator = Generator(self._model, self._tokenizer)
        text = "".join(generator.stream(seed=seed, config=SampleConfig(max_new_tokens=SAMPLE_TOKENS)))
        return json.dumps(text, ensure_ascii=False)[1:-1]


def spread(num_tokens: int, num_read: int, most_lanes: int) -> Segments:
    """Segments of a text that hold about num_read of its tokens, spread evenly over it.

    A segment is at least SHORTEST_LANE tokens, so that the zero state at its start weighs little. Text
    changes along a corpus: its first part alone would be another measure.
    """
    num_read = min(num_read, num_tokens)
    lanes = max(1, min(most_lanes, num_read // SHORTEST_LANE))
    length = num_read // lanes
    return Segments(np.linspace(0, num_tokens - length, lanes).astype(np.int64), length)
