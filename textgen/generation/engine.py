"""What reads tokens and gives logits while text is generated: the interface of all engines.

An engine reads model ids: 0..V-1 for tokens that training saw, V for any other.

Shapes: B batch (texts side by side), T time, V model vocabulary, H hidden_size, L num_layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from textgen.text.model_vocab import ModelVocab

State = tuple[np.ndarray, ...]
"""The recurrent state of B texts, of no meaning to others than its engine and its copies.

In our engines it is (L, B, H) per part: LSTM (h, c), GRU and RNN (h,).
"""


@runtime_checkable
class Engine(Protocol):
    """A network that reads B texts side by side, token after token, and gives the logits of the next.

    Every array that comes back is the caller's own. A shallow copy (copy.copy) shares the weights and, once
    it is started or its state is set, by whatever method, reads texts of its own. Copies may be used in
    several threads, each in one at a time.
    """

    @property
    def vocab(self) -> ModelVocab:
        """The tokens that the network knows, and how often training saw each."""

    @property
    def state(self) -> State:
        """The recurrent state, as a copy; a state that is set may be of another batch size."""

    @state.setter
    def state(self, state: State) -> None: ...

    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        """Begin new texts with prompts (B, T), T >= 1, read in one pass. Returns the next logits (B, V)."""

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each text (B,). Returns the next logits (B, V)."""

    def reset_state(self, batch_size: int) -> None:
        """Begin so many new texts, of which nothing is read yet."""

    def select(self, places: Sequence[int]) -> None:
        """Keep the texts at these places of the batch, in this order; one may be kept several times."""

    def join(self, other: Engine) -> None:
        """Add the texts of a copy of this engine to the batch, behind those that are there."""

    def advance(self, ids: np.ndarray) -> np.ndarray:
        """Read on in each text (B, T), T >= 1. Returns the next logits (B, V)."""

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Read on in each text (B, T), T >= 1. Returns the logits after each token (B, T, V).

        They are all in memory at once: a long text is to be read in several calls.
        """
