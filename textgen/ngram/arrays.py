"""The arrays that an n-gram model is saved as, and the checks of those that a stranger gives.

info                     int64: format, vocab_size, order, and start_id or -1
share                    float64: how much of the text was counted
discounts                float64 (order, 3)
tokens.K, counts.K       unsigned integers, of each n-gram of K tokens
children.K, dropped.K    the same for K below order; see tables.Level
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from textgen.errors import RunError
from textgen.ngram.tables import NUM_DISCOUNTS, Level
from textgen.settings.config import MAX_VOCAB_SIZE

MAX_ORDER = 32
_FORMAT = 1
_MOST_COUNTED = 2**53  # sums of counts below it are exact in float64
_MOST_ENTRIES = 2**31
_COUNTED_TYPES = (np.uint8, np.uint16, np.uint32)
_MOST_DISCOUNTED = (1, 2, 3)  # the smallest counts that each is subtracted from


@dataclass(frozen=True)
class Tables:
    """All that a model is made of. levels: those of n-grams of 1 to order tokens. discounts: (order, 3)."""

    vocab_size: int
    start_id: int | None
    share: float
    levels: list[Level]
    discounts: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in tables_to_arrays(self).values())


def tables_to_arrays(tables: Tables) -> dict[str, np.ndarray]:
    """Tables as named arrays."""
    start = -1 if tables.start_id is None else tables.start_id
    arrays = {
        "info": np.array([_FORMAT, tables.vocab_size, len(tables.levels), start], np.int64),
        "share": np.array([tables.share]),
        "discounts": tables.discounts,
    }
    for k, level in enumerate(tables.levels, 1):
        arrays |= {f"tokens.{k}": level.tokens, f"counts.{k}": level.counts}
        if level.children is not None and level.dropped is not None:
            arrays |= {f"children.{k}": level.children, f"dropped.{k}": level.dropped}
    return arrays


def checked_tables(arrays: Mapping[str, np.ndarray], where: str) -> Tables:
    """The tables of named arrays. Raises RunError for what no counting gives."""
    try:
        return _tables(arrays)
    except _Damaged as error:
        raise damaged(where, str(error)) from None


def damaged(where: str, problem: str) -> RunError:
    """The error for arrays of n-grams that have this problem. `where` names their source."""
    return RunError(f"{where}: {problem}; the n-grams are damaged, and must be counted again")


class _Damaged(ValueError):
    """What is wrong with the arrays."""


def _require(condition: object, problem: str) -> None:
    if not condition:
        raise _Damaged(problem)


def _tables(arrays: Mapping[str, np.ndarray]) -> Tables:
    info = _array(arrays, "info", np.int64, (4,))
    version, vocab_size, order, start = (int(value) for value in info)
    _require(version == _FORMAT, f"n-grams of format {version}, and this version of textgen reads {_FORMAT}")
    _require(1 <= vocab_size <= MAX_VOCAB_SIZE, f"a vocab_size of {vocab_size}")
    _require(1 <= order <= MAX_ORDER, f"an order of {order}")
    _require(-1 <= start < vocab_size, f"a start token of {start}")
    share = float(_array(arrays, "share", np.float64, (1,))[0])
    _require(0 < share <= 1, f"a share of {share}")
    discounts = _array(arrays, "discounts", np.float64, (order, NUM_DISCOUNTS))
    _require(((discounts > 0) & (discounts <= _MOST_DISCOUNTED)).all(), "discounts out of range")
    levels: list[Level] = []
    for k in range(1, order + 1):
        size = vocab_size if k == 1 else _total(levels[-1].children)
        levels.append(_level(arrays, k, size, vocab_size, last=k == order))
        if k > 1:
            _require(len(levels[-1].tokens) == size, f"tokens.{k} is not as long as children.{k - 1} says")
    names = tables_to_arrays(Tables(vocab_size, None, 1, levels, discounts)).keys()
    _require(arrays.keys() == names, f"has {', '.join(sorted(arrays.keys() - names))}, which no model has")
    _check_order(levels, vocab_size)
    return Tables(vocab_size, None if start < 0 else start, share, levels, discounts)


def _array(arrays: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    _require(name in arrays, f"has no {name}")
    array = arrays[name]
    _require(
        array.dtype == dtype and array.shape == shape, f"{name} is an array of {array.dtype} {array.shape}"
    )
    return array


def _level(arrays: Mapping[str, np.ndarray], k: int, most: int, vocab_size: int, *, last: bool) -> Level:
    names = ("tokens", "counts") if last else ("tokens", "counts", "children", "dropped")
    found: list[np.ndarray] = []
    for name in (f"{name}.{k}" for name in names):
        _require(name in arrays, f"has no {name}")
        array = arrays[name]
        _require(
            array.ndim == 1 and array.dtype in _COUNTED_TYPES,
            f"{name} is an array of {array.dtype} {array.shape}",
        )
        _require(len(array) <= most, f"{name} is too long")
        _require(not found or len(array) == len(found[0]), f"{name} is not as long as tokens.{k}")
        found.append(array)
    tokens, counts, *rest = found
    _require(tokens.max(initial=0) < vocab_size, f"tokens.{k} has a token out of range")
    _require(counts.min(initial=1) >= 1, f"counts.{k} has a count of 0")
    for array in (counts, *rest):
        _require(_total(array) < _MOST_COUNTED, f"an array of level {k} adds up to too much")
    if rest:
        _require(_total(rest[0]) < _MOST_ENTRIES, f"children.{k} adds up to too much")
    return Level(tokens, counts, *rest)


def _total(array: np.ndarray | None) -> int:
    """The sum of an array, rounded where it is too large for int64."""
    return 0 if array is None else int(array.sum(dtype=np.float64))


def _check_order(levels: list[Level], vocab_size: int) -> None:
    """The n-grams that continue the same one ascend, so that none is there twice."""
    owner = np.zeros(len(levels[0].tokens), np.int64)
    for k, level in enumerate(levels, 1):
        keys = owner * vocab_size + level.tokens
        _require((keys[1:] > keys[:-1]).all(), f"tokens.{k} is not in order")
        if level.children is not None:
            owner = np.repeat(np.arange(len(level.tokens)), level.children)
