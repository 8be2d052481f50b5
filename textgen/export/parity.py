"""How far an export is from its run: the loss of both on the run's validation text.

Shapes: B segments in a batch, T time, N tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textgen.errors import TextgenError
from textgen.evaluation.report import BITS
from textgen.evaluation.score import token_nats
from textgen.export.source import ExportSource
from textgen.generation.engine import Engine
from textgen.generation.mixed_engine import MixedEngine
from textgen.text.model_vocab import begin
from textgen.text.store import default_cache_dir
from textgen.text.token_costs import TokenCosts

# Enough that a difference of a thousandth of a bit shows; read in so many segments side by side.
MOST_TOKENS, SEGMENTS = 16_000, 16
_LOGITS = 2**20  # at a time


@dataclass(frozen=True, eq=False)
class Validation:
    """The beginning of a run's validation text, at most MOST_TOKENS of it.

    model_ids: (N,), the start token first where there is one. characters: of its text. costs: of its tokens.
    extent: how much of the validation text it is, in words.
    """

    model_ids: np.ndarray
    characters: int
    costs: TokenCosts
    extent: str

    @classmethod
    def of(cls, source: ExportSource, cache_dir: str | Path | None = None) -> Validation:
        """Read it; cache_dir: None is the user's cache.

        Raises TextgenError where the text is not there any more, has changed, or has no validation part.
        """
        store = source.run.open_store(default_cache_dir() if cache_dir is None else Path(cache_dir), None)
        part = source.run.require_part(store, "val")
        tokens = store.tokens(part)
        token_ids = np.asarray(tokens[:MOST_TOKENS], np.int64)
        share = "the first" if len(token_ids) < len(tokens) else "all"
        extent = f"{share} {len(token_ids):,} tokens of the validation text"
        is_text = token_ids != source.tokenizer.end_of_text_id
        characters = len(source.tokenizer.decode(token_ids[is_text].tolist())) + int((~is_text).sum())
        num_unseen = source.tokenizer.vocab_size - source.vocab.size
        model_ids = begin(source.vocab.to_model_ids(token_ids), source.start_id)
        return cls(model_ids, characters, TokenCosts(source.vocab, num_unseen), extent)

    def bits_per_character(self, engine: Engine) -> float:
        """The loss of an engine, whose state stays as it is; each segment is read from the zero state."""
        engine = copy.copy(engine)
        batch_size = max(1, min(SEGMENTS, (len(self.model_ids) - 1) // 256))
        length = (len(self.model_ids) - 1) // batch_size
        starts = np.arange(batch_size)[:, None] * length
        engine.reset_state(batch_size)
        total = 0.0
        window = max(1, _LOGITS // (batch_size * self.costs.vocab.size))
        for place in range(0, length, window):
            positions = starts + np.arange(place, min(place + window, length))  # (B, T)
            logits = engine.read(self.model_ids[positions])
            total += float(token_nats(logits, self.model_ids[positions + 1], self.costs).sum())
        share = batch_size * length / max(1, len(self.model_ids) - 1)  # the last few tokens are not read
        return total * BITS / max(1.0, self.characters * share)


def losses(
    source: ExportSource, engines: dict[str, Engine], cache_dir: str | Path | None = None
) -> Iterator[str]:
    """One line for each engine, by what it is called: bits per character, and how many more than the first.

    Where the run has n-grams, a line says whether they are in its figure. One line says so where there is no
    validation text to measure them on.
    """
    try:
        validation = Validation.of(source, cache_dir)
    except TextgenError as error:
        yield f"loss not measured: {error}"
        return
    first: float | None = None
    for name, engine in engines.items():
        bits = validation.bits_per_character(engine)
        more = "" if first is None else f" ({round(bits - first, 5) + 0:+.5f})"  # + 0, as there is a -0
        first = bits if first is None else first
        yield f"{name}{_parts(source, engine)}: {bits:.4f} bits/character on {validation.extent}{more}"


def _parts(source: ExportSource, engine: Engine) -> str:
    if not source.run.has_companion:
        return ""
    return ", with n-grams" if isinstance(engine, MixedEngine) else ", network alone"
