"""The model vocabulary: the tokens that training saw, and the ids by which the network knows them.

    token ids   0 ... 255 (bytes)   256 'e'   257 't'   ...   321 end-of-text
    model ids                       0         1         ...   64                 65: every token not seen

A tokenizer can spell any text, so it has tokens that a corpus never uses. The model vocabulary leaves them
out, so that embedding and head have no row for them; all of them share one more model id, V, "unseen".
Token ids and model ids are both small whole numbers: Tokenizer.encode gives token ids as uint32 and
to_model_ids gives int64, so that one where the other is expected is an error of type.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from textgen.errors import RunError
from textgen.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class ModelVocab:
    """The token id of each model id, (V,) int64, and how often training saw each, (V,) int64."""

    token_ids: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_counts(cls, counts_by_token_id: np.ndarray) -> ModelVocab:
        """A model id for each token with a count above 0, in the order of token ids. counts (vocab_size,)"""
        token_ids = np.flatnonzero(counts_by_token_id)
        return cls(token_ids, counts_by_token_id[token_ids].astype(np.int64))

    @property
    def size(self) -> int:
        """V, which is also the model id of every unseen token."""
        return len(self.token_ids)

    @property
    def total(self) -> int:
        """How many tokens training saw."""
        return int(self.counts.sum())

    @property
    def frequencies(self) -> np.ndarray:
        """The share of each token in the training text, (V,) float64."""
        shares: np.ndarray = self.counts / self.counts.sum()
        return shares

    @cached_property
    def _id_of_token(self) -> np.ndarray:
        table = np.full(int(self.token_ids.max(initial=-1)) + 2, self.size, np.int64)
        table[self.token_ids] = np.arange(self.size)
        return table

    def to_model_ids(self, token_ids: np.ndarray) -> np.ndarray:
        """The model ids of token ids of any shape and integer type, int64; V for an unseen token.

        Raises TypeError for other types, IndexError for an id below 0.
        """
        token_ids = np.asarray(token_ids)
        if token_ids.dtype.kind not in "iu":
            raise TypeError(f"token ids are an array of {token_ids.dtype}; they must be integers")
        if token_ids.dtype.kind == "i" and token_ids.min(initial=0) < 0:
            raise IndexError(f"token id {token_ids.min()}: a tokenizer's ids are 0 or more")
        # The table ends with one unseen token, which stands for all larger ids.
        model_ids: np.ndarray = self._id_of_token.take(token_ids, mode="clip")
        return model_ids

    def to_token_ids(self, model_ids: np.ndarray) -> np.ndarray:
        """The token ids of model ids below V, of any shape, int64. Raises IndexError for V or more."""
        return self.token_ids.take(model_ids)

    def with_labels(self, model_ids: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Model ids with that of a label in place of the start token, where labels (same shape) are above 0.

        A label is one more than its index: label k + 1 has the model id V + 1 + k.
        """
        return np.where(labels > 0, self.size + labels, model_ids)

    def without_labels(self, model_ids: np.ndarray, start_id: int | None) -> np.ndarray:
        """Model ids with the start token in place of every label: what with_labels was made from.

        start_id: the model id of the start token; None: there are no labels, and the ids are returned.
        """
        if start_id is None:
            return model_ids
        return np.where(model_ids > self.size, start_id, model_ids)

    def require(self, vocab_size: int) -> None:
        """Raises RunError when a tokenizer of this vocab_size cannot be the one that training used."""
        if self.token_ids.max() >= vocab_size:
            raise RunError(
                f"the model knows token {self.token_ids.max()}, but the tokenizer has "
                f"{vocab_size} tokens: they do not belong together"
            )

    def extended(self, counts_by_token_id: np.ndarray) -> ModelVocab:
        """The vocabulary for training on another text as well: tokens keep their ids, and new ones follow.

        The counts become those of both texts together, all that the network has seen.
        """
        counts = np.array(counts_by_token_id, np.int64)
        largest = int(self.token_ids.max(initial=-1))
        if largest >= len(counts):
            counts = np.pad(counts, (0, largest + 1 - len(counts)))
        new = np.setdiff1d(np.flatnonzero(counts), self.token_ids)
        return ModelVocab(
            np.concatenate([self.token_ids, new]),
            np.concatenate([self.counts + counts[self.token_ids], counts[new]]),
        )


def start_id(vocab: ModelVocab, tokenizer: Tokenizer) -> int | None:
    """The model id of the start token, which every text begins after: end-of-text, else a newline, else None.

    Each only where training saw it. Sampling, scoring, evaluation and inspection read it before the first
    token of a text. Where it is None the first token is drawn, and scored, by its frequency in training.

    Raises RunError when the tokenizer cannot be the one that training used.
    """
    vocab.require(tokenizer.vocab_size)
    for ids in (np.array([tokenizer.end_of_text_id]), tokenizer.encode("\n")):
        found = vocab.to_model_ids(ids)
        if len(found) == 1 and found[0] < vocab.size:
            return int(found[0])
    return None


def begin(model_ids: np.ndarray, start_id: int | None) -> np.ndarray:
    """The model ids (T,) to read so that a text begins with these: the start token first.

    Not twice where they begin with it, and not where there is none.
    """
    if start_id is None or (len(model_ids) and model_ids[0] == start_id):
        return model_ids
    return np.concatenate([[start_id], model_ids])
