"""ExportSource: all of a run that an export is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from textgen.generation.engine import Engine
from textgen.generation.mixed_engine import MixedEngine
from textgen.generation.numpy_engine.engine import NumpyEngine, has_twin
from textgen.ngram.companion import Companion
from textgen.run import Run, vocab_of
from textgen.settings.config import ModelConfig, RunConfig
from textgen.text.model_vocab import ModelVocab, start_id
from textgen.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class ExportSource:
    """A run, read and checked.

    weights: by their names in weights/shapes.py, in float32, and the model vocabulary in int64. companion:
    its n-grams; None where it has none, or they are left out. start_id: the model id that a text begins
    after; None: there is none.
    """

    run: Run
    config: RunConfig
    weights: Mapping[str, np.ndarray]
    vocab: ModelVocab
    tokenizer: Tokenizer
    companion: Companion | None
    start_id: int | None

    @classmethod
    def open(cls, run: Run, *, ngram: bool = True) -> ExportSource:
        """Read a run; ngram: with its n-grams.

        Raises RunError, ConfigError and TokenizerError for one that is incomplete or damaged.
        """
        config = run.config
        run.require_weights()
        weights = run.load_weights()
        vocab, tokenizer = vocab_of(weights), run.tokenizer
        companion = run.load_companion(vocab) if ngram else None
        return cls(run, config, weights, vocab, tokenizer, companion, start_id(vocab, tokenizer))

    @property
    def name(self) -> str:
        """The name of the run; any text, with a "?" for what is not UTF-8 in it."""
        return self.run.name.encode("utf-8", "replace").decode()

    def engine(self, weights: Mapping[str, np.ndarray] | None = None, *, ngram: bool = True) -> Engine:
        """The engine of the run, or of other weights in place of its own; torch's if its cell has no twin.

        ngram: mixed with the n-grams, if there are any.
        """
        network = _network(self.config.model, self.weights if weights is None else weights)
        return network if self.companion is None or not ngram else MixedEngine(network, self.companion)


def _network(config: ModelConfig, weights: Mapping[str, np.ndarray]) -> Engine:
    if has_twin(config.cell):
        return NumpyEngine(config, weights)
    from textgen.generation.torch_engine import TorchEngine
    from textgen.models.language_model import LanguageModel

    model = LanguageModel(config)
    model.load_weights(weights, "the weights to be exported")
    return TorchEngine(model.eval())
