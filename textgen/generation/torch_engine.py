"""The engine for a GPU: the language model itself.

Shapes: B batch (number of texts), T time, V vocabulary, E embedding_dim, H hidden_size, L num_layers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from textgen.generation.engine import Engine, State
from textgen.generation.numpy_engine.engine import READ_STEPS
from textgen.models.cells import stack_step, stacked_states
from textgen.models.language_model import LanguageModel
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab

_MODE_LOCK = threading.Lock()


class TorchEngine:
    """An Engine that runs a LanguageModel on its device, in the dtype of its weights.

    A prompt goes through the fast layers in one call. A single step goes through the equations: for one time
    step the fast layers spend more time on repacking their weights than on the arithmetic. The model's mode,
    training or evaluation, stays as it is.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self._table = self._extended_embedding()
        self._state = model.layers.zero_state(1)

    @property
    def vocab(self) -> ModelVocab:
        """The tokens that the network knows, and how often training saw each."""
        return self.model.vocab

    @property
    def config(self) -> ModelConfig:
        """The sizes of the network, and its labels."""
        return self.model.config

    @torch.inference_mode()
    def start(self, prompt_ids: np.ndarray) -> np.ndarray:
        """Begin new texts with prompts (B, T), T >= 1, read in one pass. Returns the next logits (B, V)."""
        self.reset_state(len(prompt_ids))
        for begin in range(0, prompt_ids.shape[1], READ_STEPS):
            hidden = self._advance(prompt_ids[:, begin : begin + READ_STEPS])
        return self._logits(hidden[:, -1:])[:, 0]

    @torch.inference_mode()
    def advance(self, ids: np.ndarray) -> np.ndarray:
        """Read more of each text (B, T), T >= 1. Returns the next logits (B, V)."""
        return self._logits(self._advance(ids)[:, -1:])[:, 0]

    @torch.inference_mode()
    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each text (B,). Returns the next logits (B, V)."""
        layers = self.model.layers
        hidden, steps = stack_step(layers.cell, self._embed(ids), self._state, layers.stack_weights())
        self._state = stacked_states(steps)
        return self._logits(hidden.unsqueeze(1))[:, 0]

    @torch.inference_mode()
    def reset_state(self, batch_size: int) -> None:
        """Begin batch_size new texts, of which nothing is read yet."""
        self._table = self._extended_embedding()  # again: training may have changed the weights
        self._state = self.model.layers.zero_state(batch_size)

    @torch.inference_mode()
    def read(self, ids: np.ndarray) -> np.ndarray:
        """Read more of each text (B, T), T >= 1. Returns the logits after each token (B, T, V)."""
        return self._logits(self._advance(ids))

    def _advance(self, ids: np.ndarray) -> Tensor:
        """(B, T) -> what the head reads (B, T, H)"""
        with _without_dropout(self.model):
            hidden: Tensor
            hidden, self._state = self.model.layers(self._embed(ids), self._state)
        return hidden

    @property
    def state(self) -> State:
        """The recurrent state, (L, B, H) per part, as a copy."""
        return tuple(part.float().cpu().numpy().copy() for part in self._state)

    @state.setter
    def state(self, state: State) -> None:
        self._state = tuple(torch.tensor(part).to(self._table) for part in state)

    @torch.inference_mode()
    def select(self, places: Sequence[int]) -> None:
        """Keep the texts at these places of the batch, in this order; one may be kept several times."""
        self._state = tuple(part[:, list(places)] for part in self._state)

    @torch.inference_mode()
    def join(self, other: Engine) -> None:
        """Add the texts of a copy of this engine at the end of the batch."""
        assert isinstance(other, TorchEngine)
        pairs = zip(self._state, other._state, strict=True)
        self._state = tuple(torch.cat(pair, dim=1) for pair in pairs)

    @torch.no_grad()
    def _extended_embedding(self) -> Tensor:
        """The embedding with more rows: the mean of all, for a token that training never saw, and labels."""
        known = self.model.embedding.weight  # (V, E)
        frequencies = torch.from_numpy(self.vocab.frequencies).to(known)  # (V,)
        rows = [known, (frequencies @ known).unsqueeze(0)]
        if self.model.label_embedding is not None:
            rows.append(known[self.model.config.start_id] + self.model.label_embedding.weight)
        return torch.cat(rows)  # (V + 1 + number of labels, E)

    def _embed(self, ids: np.ndarray) -> Tensor:
        """(...) -> (..., E)"""
        embedded: Tensor = self._table[torch.from_numpy(ids).to(self._table.device)]
        return embedded

    def _logits(self, hidden: Tensor) -> np.ndarray:
        """(B, T, H) -> (B, T, V)"""
        logits: np.ndarray = self.model.logits(hidden).float().cpu().numpy()
        return logits


@contextmanager
def _without_dropout(model: LanguageModel) -> Iterator[None]:
    """Evaluation mode in the block, after which the mode is as before: sampling may happen during training.

    In one thread at a time: it must not end while another thread relies on it.
    """
    with _MODE_LOCK:
        training = model.training
        model.eval()
        try:
            yield
        finally:
            model.train(training)
