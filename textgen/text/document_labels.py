"""The labels of the documents of an encoded text, by the position at which each begins."""

from __future__ import annotations

import numpy as np

from textgen.text.stored_tokens import TokenArray


class DocumentLabels:
    """Labels (D,) of the documents of tokens (N,): 0 for none, or 1 + the index of the label.

    end_of_text: the token that separates documents; there are D-1 of it. Memory: eight bytes a document.
    """

    def __init__(self, tokens: TokenArray, end_of_text: int, labels: TokenArray) -> None:
        self._begins = np.concatenate([[0], np.flatnonzero(np.asarray(tokens) == end_of_text) + 1])
        self._labels = np.asarray(labels).astype(np.int64)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """The label of the document that begins at each position, of any shape; 0 where none begins."""
        index = np.searchsorted(self._begins, positions).clip(max=len(self._begins) - 1)
        found: np.ndarray = np.where(self._begins[index] == positions, self._labels[index], 0)
        return found
