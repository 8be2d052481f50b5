"""An engine that mixes a network with its n-gram companion.

    ids ─┬─ network's engine ─→ logits ────────── x weight ──┬─→ their sum: the logits of the mixture
         └─ n-gram model ─────→ log-probabilities x 1 - weight ─┘

A log-linear mixture, or weighted geometric mean: the softmax of the sum is p_network^w p_ngrams^(1 - w),
renormalised. Whatever draws, logs or scores tokens takes that softmax, so nothing else knows of n-grams.

Shapes: B batch (number of texts), T time, V model vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from textgen.generation.engine import Engine, State
from textgen.ngram.companion import Companion
from textgen.ngram.model import State as Contexts
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab


class MixedEngine:
    """The engine of a network, mixed with a companion; its state is the network's and the n-grams' after it.

    The network's engine is used as it is, so it must not read other texts: give a copy.
    """

    def __init__(self, network: Engine, companion: Companion) -> None:
        self._network = network
        self.weight = companion.weight  # of the network, from 0 to 1
        self._ngrams = companion.model
        # Arrays, which NumPy multiplies by faster than by numbers.
        self._factors = [np.array(weight, np.float32) for weight in (self.weight, 1 - self.weight)]
        config = self.config
        # n-grams know no labels: a label is the start token to them.
        self._start_id = config.start_id if config is not None and config.labels else None
        self.reset_state(1)

    def __copy__(self) -> MixedEngine:
        new = object.__new__(MixedEngine)
        new.__dict__ |= self.__dict__
        new._network = copy.copy(self._network)
        return new

    @property
    def vocab(self) -> ModelVocab:
        """The tokens that the network knows, and how often training saw each."""
        return self._network.vocab

    @property
    def config(self) -> ModelConfig | None:
        """The sizes of the network, and its labels; None of an engine without."""
        return getattr(self._network, "config", None)

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        """Begin new texts with prompts (B, T), T >= 1, read in one pass. Returns the next logits (B, V)."""
        logits = self._network.start(prompt_ids)
        self._contexts = self._ngrams.start(len(prompt_ids))
        return self._after(logits, prompt_ids)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each text (B,). Returns the next logits (B, V)."""
        logits = self._network.step(ids)
        of_ngrams, self._contexts = self._ngrams.step(self._known(ids), self._contexts)
        return self._mixed(logits, of_ngrams)

    def advance(self, ids: np.ndarray) -> np.ndarray:
        """Read more of each text (B, T), T >= 1. Returns the next logits (B, V)."""
        return self._after(self._network.advance(ids), ids)

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Read more of each text (B, T), T >= 1. Returns the logits after each token (B, T, V)."""
        logits = self._network.read(ids)
        log_probs, self._contexts = self._ngrams.read(self._known(ids), self._contexts)
        return self._mixed(logits, log_probs)

    def reset_state(self, batch_size: int) -> None:
        """Begin batch_size new texts, of which nothing is read yet."""
        self._network.reset_state(batch_size)
        self._contexts = self._ngrams.start(batch_size)

    def select(self, places: Sequence[int]) -> None:
        """Keep the texts at these places of the batch, in this order; one may be kept several times."""
        self._network.select(places)
        self._contexts = self._contexts.select(places)

    def join(self, other: Engine) -> None:
        """Add the texts of a copy of this engine at the end of the batch."""
        assert isinstance(other, MixedEngine)
        self._network.join(other._network)
        self._contexts = Contexts.concatenate([self._contexts, other._contexts])

    @property
    def state(self) -> State:
        """The state of the network, and of the n-grams after it, as a copy."""
        return (*self._network.state, self._contexts.contexts.copy())

    @state.setter
    def state(self, state: State) -> None:
        *network, contexts = state
        self._network.state = tuple(network)
        self._contexts = Contexts(contexts.copy())

    def _after(self, logits: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """The mixed logits (B, V) after more ids (B, T), given those of the network."""
        known = self._known(ids)
        # No context is longer, so that what lies before has no influence.
        for column in known[:, -self._ngrams.order :].T:
            self._contexts = self._ngrams.advance(self._contexts, column)
        return self._mixed(logits, self._ngrams.log_probs(self._contexts))

    def _known(self, ids: np.ndarray) -> np.ndarray:
        if self._start_id is None:
            return ids
        return self.vocab.without_labels(ids, self._start_id)

    def _mixed(self, of_network: np.ndarray, of_ngrams: np.ndarray) -> np.ndarray:
        """(..., V) each, up to a constant; both are overwritten."""
        weight, rest = self._factors
        np.multiply(of_network, weight, out=of_network)
        np.multiply(of_ngrams, rest, out=of_ngrams)
        np.add(of_network, of_ngrams, out=of_network)
        return of_network
