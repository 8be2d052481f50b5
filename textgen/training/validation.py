"""Validation during training: the loss on part of the validation text, and a sample to read."""

from __future__ import annotations

import textwrap

import numpy as np

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import Segments, evaluate
from textgen.generation.generator import Generator
from textgen.models.language_model import LanguageModel
from textgen.settings.config import SampleConfig
from textgen.text.document_labels import DocumentLabels
from textgen.text.tokenizer import Tokenizer

SAMPLE_TOKENS = 120
SAMPLE_LINES, SAMPLE_COLUMNS = 6, 90  # of a sample on the screen
MIN_SEGMENT = 256  # tokens


class Validation:
    """Evaluates a model the same way each time: the same segments of the text, the same seed for the sample.

    token_ids (N,) is the whole validation text; only `segments` of it are read. None: there is no such text.
    labels: of its documents; None: there are none.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        token_ids: np.ndarray | None,
        *,
        start_id: int | None,
        segments: Segments | None,
        labels: DocumentLabels | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._token_ids = token_ids
        self._start_id = start_id
        self._segments = segments
        self._labels = labels

    def loss(self) -> Loss | None:
        """The loss of the model's current weights on the segments; None without a validation text."""
        if self._token_ids is None:
            return None
        return evaluate(
            self._model,
            self._token_ids,
            vocab_size=self._tokenizer.vocab_size,
            start_id=self._start_id,
            labels=self._labels,
            segments=self._segments,
        )

    def sample(self, seed: int) -> str:
        """A short text, drawn from the model's current weights."""
        generator = Generator(self._model, self._tokenizer)
        return "".join(generator.stream(seed=seed, config=SampleConfig(max_new_tokens=SAMPLE_TOKENS)))


def spread_segments(num_tokens: int, num_read: int, max_segments: int) -> Segments:
    """Segments that hold about num_read tokens of a text of num_tokens, spread evenly over it.

    Spread, because text changes along a corpus: its beginning alone is not representative. A segment has at
    least MIN_SEGMENT tokens, so that the zero state at its start matters little.
    """
    num_read = min(num_read, num_tokens)
    count = max(1, min(max_segments, num_read // MIN_SEGMENT))
    length = num_read // count
    return Segments(np.linspace(0, num_tokens - length, count).astype(np.int64), length)


def sample_lines(text: str) -> list[str]:
    """A sample as a few lines for the screen: with its own line breaks, long lines wrapped, the rest cut off.

    Control characters, which could act on a terminal, are shown as escapes.

    >>> sample_lines("To be,\\n\\nor not to be\\x1b")
    ['To be,', '', 'or not to be\\\\x1b']
    """
    lines: list[str] = []
    for line in text.expandtabs(4).strip("\n").split("\n"):
        visible = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        lines += textwrap.wrap(visible, SAMPLE_COLUMNS) or [""]
    if len(lines) > SAMPLE_LINES:
        lines = [*lines[: SAMPLE_LINES - 1], f"{lines[SAMPLE_LINES - 1]} ..."]
    return [line.rstrip() for line in lines]
