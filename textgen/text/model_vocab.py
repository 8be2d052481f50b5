"""Which tokens the network knows: one row of embedding and head per token that training saw.

    token ids   0 ... 255 (bytes)   256 'e'   257 't'   ...   321 end-of-text
    rows                            0         1         ...   64                 65: every token not seen

A tokenizer can spell any text, so it has tokens that a corpus never uses. The model
vocabulary leaves them out of the network; all of them share one more model id, V, "unseen".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from textgen.errors import RunError
from textgen.text.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class ModelVocab:
    """Token ids of the rows, (V,) int64, and how often training saw each, (V,) int64."""

    token_ids: np.ndarray
    counts: np.ndarray

    @classmethod
    def from_counts(cls, counts_by_token_id: np.ndarray) -> ModelVocab:
        """A row for each token with a count above 0, in the order of ids. counts (vocab_size,)"""
        token_ids = np.flatnonzero(counts_by_token_id)
        return cls(token_ids, counts_by_token_id[token_ids].astype(np.int64))

    @property
    def size(self) -> int:
        """V, which is also the row of every unseen token."""
        return len(self.token_ids)

    @property
    def total(self) -> int:
        """Tokens that training saw."""
        return int(self.counts.sum())

    @property
    def frequencies(self) -> np.ndarray:
        """The share of each row's token in the training text, (V,) float64."""
        shares: np.ndarray = self.counts / self.counts.sum()
        return shares

    @cached_property
    def _id_of_token(self) -> np.ndarray:
        table = np.full(int(self.token_ids.max(initial=-1)) + 2, self.size, np.int64)
        table[self.token_ids] = np.arange(self.size)
        return table

    def to_model_ids(self, token_ids: np.ndarray) -> np.ndarray:
        """ModelVocab of token ids of any shape and integer type, int64; V for an unseen token."""
        # The table ends with one unseen token, which stands for all larger ids.
        rows: np.ndarray = self._id_of_token.take(token_ids, mode="clip")
        return rows

    def to_token_ids(self, rows: np.ndarray) -> np.ndarray:
        """Token ids of rows below V, of any shape, int64."""
        return self.token_ids.take(rows)

    def require(self, vocab_size: int) -> None:
        """Raises RunError when a tokenizer of so many tokens cannot be the one that training used."""
        if self.token_ids.max() >= vocab_size:
            raise RunError(
                f"the model knows token {self.token_ids.max()}, but the tokenizer has "
                f"{vocab_size} tokens: they do not belong together"
            )

    def extended(self, counts_by_token_id: np.ndarray) -> ModelVocab:
        """ModelVocab for going on with another text: the old ones keep their place, newly seen tokens follow.

        Counts become those of both texts together: what the network has seen in all.
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
    """Where a text without a prompt starts: the model id of end-of-text, else of a newline, else None.

    Each only where training saw it.

    After None the first token is drawn, and scored, by its training frequency.

    Raises RunError when the tokenizer cannot be the one that training used.
    """
    vocab.require(tokenizer.vocab_size)
    for ids in (np.array([tokenizer.end_of_text_id]), tokenizer.encode("\n")):
        found = vocab.to_model_ids(ids)
        if len(found) == 1 and found[0] < vocab.size:
            return int(found[0])
    return None
