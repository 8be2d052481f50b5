"""What reads tokens and gives logits while text is generated: the interface of all engines.

An engine reads model ids: 0..V-1 for tokens that training saw, V for any other.

Shapes: B batch (texts side by side), T time, V vocabulary, H hidden_size, L num_layers.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from textgen.text.model_vocab import ModelVocab

State = tuple[np.ndarray, ...]
"""A recurrent state, (L, B, H) per part: LSTM (h, c), GRU and RNN (h,)."""


@runtime_checkable
class Engine(Protocol):
    """A network that reads token after token and gives the logits of the next.

    Every array that comes back is the caller's own. A shallow copy (copy.copy) shares the weights and, once
    it is started or given a state, reads a text of its own.
    """

    @property
    def vocab(self) -> ModelVocab:
        """Which token id each row stands for, and how often training saw it."""

    @property
    def state(self) -> State:
        """What the network remembers, as a copy; a state that is set may have another batch size."""

    @state.setter
    def state(self, state: State) -> None: ...

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        """Forget everything and read prompts (B, T), T >= 1, in one pass. Returns the next logits (B, V)."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each text (B,). Returns the next logits (B, V)."""

    def reset_state(self, batch_size: int) -> None:
        """Stand where a text begins, in so many texts side by side."""

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Read on in each text (B, T), T >= 1. Returns the logits after each token (B, T, V).

        They are all in memory at once: a long text is to be read in several calls.
        """
