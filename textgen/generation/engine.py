"""The interface of engines, which read tokens and give logits while text is generated.

An engine reads model ids: 0..V-1 for tokens that training saw, V for any other, and V + 1 + k for the start
token with label k.

Shapes: B batch (number of texts), T time, V model vocabulary, H hidden_size, L num_layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from textgen.errors import ConfigError
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab

State = tuple[np.ndarray, ...]
"""The recurrent state of B texts, opaque to everything but the engine and copies of it.

In textgen's engines it is (L, B, H) per part: LSTM (h, c), GRU and RNN (h,).
"""


@runtime_checkable
class Engine(Protocol):
    """A network that reads a batch of B texts, token after token, and gives the logits of the next tokens.

    Every array that is returned belongs to the caller. A shallow copy (copy.copy) shares the weights; once it
    is started, or its state is set by any other method, it reads texts of its own. Copies may be used in
    different threads, each in one thread at a time.
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
        """Begin batch_size new texts, of which nothing is read yet."""

    def select(self, places: Sequence[int]) -> None:
        """Keep the texts at these places of the batch, in this order; one may be kept several times."""

    def join(self, other: Engine) -> None:
        """Add the texts of a copy of this engine at the end of the batch."""

    def advance(self, ids: np.ndarray) -> np.ndarray:
        """Read more of each text (B, T), T >= 1. Returns the next logits (B, V)."""

    def read(self, ids: np.ndarray) -> np.ndarray:
        """Read more of each text (B, T), T >= 1. Returns the logits after each token (B, T, V).

        All of them are in memory at once: read a long text in several calls.
        """


def label_id(engine: Engine, label: str) -> int:
    """The model id of the start token with a label. Raises ConfigError for one that the network lacks."""
    config = getattr(engine, "config", None)
    if not isinstance(config, ModelConfig):
        raise ConfigError(f"label {label!r}: this engine has no labels")
    return config.label_id(label)
