"""Validation during training: the loss on part of the validation text, and a sample to read."""

from __future__ import annotations

import numpy as np

from textgen.distributed.world import World
from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import Segments, evaluate
from textgen.generation.generator import Generator
from textgen.models.language_model import LanguageModel
from textgen.text.batches import Rows
from textgen.text.document_labels import DocumentLabels
from textgen.text.stored_tokens import TokenArray
from textgen.text.tokenizer import Tokenizer
from textgen.training.samples import samples

SAMPLE_TOKENS = 200
MIN_SEGMENT = 256  # tokens


class Validation:
    """Evaluates a model the same way each time: the same segments of the text, the same seed for the sample.

    token_ids (N,) is the whole validation text; only `segments` of it are read. None: there is no such text.
    labels: of its documents; None: there are none. documents: the run's `documents` option. world: the
    processes that divide the segments among themselves.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        token_ids: TokenArray | None,
        *,
        start_id: int | None,
        segments: Segments | None,
        documents: str,
        labels: DocumentLabels | None = None,
        world: World | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._token_ids = token_ids
        self._start_id = start_id
        self._segments = segments
        self._labels = labels
        self._documents = documents
        self._world = world or World()

    def loss(self) -> Loss | None:
        """The loss of the model's current weights on the segments; None without a validation text."""
        if self._token_ids is None:
            return None
        assert self._segments is not None
        rows = self._world.share(Rows.whole(len(self._segments.starts)))
        own = self._segments._replace(starts=self._segments.starts[rows.start : rows.stop])
        loss = Loss(0.0, 0, 0)
        if len(rows):
            loss = evaluate(
                self._model,
                self._token_ids,
                vocab_size=self._tokenizer.vocab_size,
                start_id=self._start_id,
                labels=self._labels,
                segments=own,
            )
        told = self._world.exchanged([loss.total_nats, loss.tokens, loss.unseen_tokens])
        parts = (Loss(nats, int(tokens), int(unseen)) for nats, tokens, unseen in told)
        return sum(parts, Loss(0.0, 0, 0))

    def sample(self, seed: int) -> list[str]:
        """A short text from the model's current weights, as lines for the screen."""
        generator = Generator(self._model, self._tokenizer)
        return samples(generator, self._documents, num_samples=1, max_new_tokens=SAMPLE_TOKENS, seed=seed)[0]


def spread_segments(num_tokens: int, num_read: int, max_segments: int) -> Segments:
    """Segments that hold about num_read tokens of a text of num_tokens, spread evenly over it.

    Spread, because text changes along a corpus: its beginning alone is not representative. A segment has at
    least MIN_SEGMENT tokens, so that the zero state at its start matters little.
    """
    num_read = min(num_read, num_tokens)
    count = max(1, min(max_segments, num_read // MIN_SEGMENT))
    length = num_read // count
    return Segments(np.linspace(0, num_tokens - length, count).astype(np.int64), length)
