"""Reading the text that an n-gram model counts, or evenly spread pieces of a long one.

Shapes: N tokens of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.ngram.tables import smallest

MOST_TOKENS = 50_000_000  # that are counted of a longer text
# Equal tokens among them: all n-grams that begin with the same token are in memory at once.
MOST_ALIKE = 10_000_000
_PIECES = 50  # of a longer text, about
_READ = 2**20  # tokens that are read at a time


@dataclass(frozen=True)
class CountedText:
    """The tokens to count, and what share of the whole text they are.

    ids: (N,) in the smallest unsigned type; vocab_size stands for a break, which no n-gram reaches across.
    """

    ids: np.ndarray
    vocab_size: int
    share: float


def read_text(
    tokens: Any, vocab_size: int, most_tokens: int = MOST_TOKENS, most_alike: int = MOST_ALIKE
) -> CountedText:
    """The text to count, from an array (N,) that is read a slice at a time, or an iterable of arrays.

    Of more than most_tokens, or more than most_alike of one token, evenly spread pieces are taken.

    Raises IndexError for an id below 0, TypeError for ids that are not integers.
    """
    dtype = smallest(vocab_size)
    if hasattr(tokens, "__len__") and hasattr(tokens, "dtype"):
        kept = [_compact(piece, vocab_size, dtype) for piece in _spread(tokens, most_tokens)]
        share = min(1.0, most_tokens / max(1, len(tokens)))
    else:
        kept, share = _thinned((_compact(piece, vocab_size, dtype) for piece in tokens), most_tokens, dtype)
    ids = _joined(kept, vocab_size, dtype)
    alike = int(np.bincount(ids, minlength=vocab_size)[:vocab_size].max())
    if alike > most_alike:
        fewer = read_text(ids, vocab_size, len(ids) * most_alike * 9 // (alike * 10), most_alike)
        return CountedText(fewer.ids, vocab_size, share * fewer.share)
    return CountedText(ids, vocab_size, share)


def _spread(tokens: Any, most_tokens: int) -> Iterator[np.ndarray]:
    """The whole array a slice at a time, or evenly spread pieces with a break, an empty array, between."""
    size = len(tokens)
    count, length = (1, size) if size <= most_tokens else (_PIECES, most_tokens // _PIECES)
    for k in range(count):
        start = size * k // count
        if k:
            yield np.zeros(0, np.int64)
        for begin in range(start, start + length, _READ):
            yield np.asarray(tokens[begin : min(begin + _READ, start + length)])


def _thinned(pieces: Iterable[np.ndarray], most_tokens: int, dtype: Any) -> tuple[list[np.ndarray], float]:
    """Blocks of a text whose length is not known, and the share of it that they are.

    Of too many blocks every other is dropped; then there is a break, an empty array, between them.
    """
    kept: list[np.ndarray] = []
    total, stride = 0, 1
    for number, block in enumerate(_blocks(pieces, max(1, most_tokens // (2 * _PIECES)))):
        total += len(block)
        if number % stride == 0:
            kept.append(block)
        if len(kept) > 2 * _PIECES:
            kept, stride = kept[::2], 2 * stride
    share = sum(len(block) for block in kept) / max(1, total) if total else 1.0
    if stride > 1:
        kept = [part for block in kept for part in (np.zeros(0, dtype), block)][1:]
    return kept, share


def _blocks(pieces: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same tokens in blocks of this size, the last one shorter."""
    waiting: list[np.ndarray] = []
    held = 0
    for piece in pieces:
        begin = 0
        while held + len(piece) - begin >= size:
            end = begin + size - held
            yield np.concatenate([*waiting, piece[begin:end]])
            waiting, held, begin = [], 0, end
        waiting.append(piece[begin:])
        held += len(piece) - begin
    if held:
        yield np.concatenate(waiting)


def _compact(piece: Any, vocab_size: int, dtype: Any) -> np.ndarray:
    """Ids in a small type, vocab_size for every larger one."""
    piece = np.asarray(piece)
    if piece.ndim != 1 or piece.dtype.kind not in "iu":
        raise TypeError(f"tokens are an array of {piece.dtype} {piece.shape}; they must be integers (N,)")
    if piece.dtype.kind == "i" and piece.min(initial=0) < 0:
        raise IndexError(f"token id {piece.min()}: ids are 0 or more")
    if piece.max(initial=0) > vocab_size:
        piece = np.minimum(piece, piece.dtype.type(vocab_size))
    ids: np.ndarray = piece.astype(dtype)
    return ids


def _joined(pieces: Sequence[np.ndarray], vocab_size: int, dtype: Any) -> np.ndarray:
    """Pieces one after another; an empty one is a break."""
    gap = np.array([vocab_size], dtype)
    return np.concatenate([piece if len(piece) else gap for piece in pieces] or [np.zeros(0, dtype)])
