"""Hostile n-grams, by what they are: each is a function that changes a run, given its directory.

What stands in the place of their file is in hostile_files.py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from fault_groups.hostile_files import NGRAM, Change, in_weights, sparse, written
from textgen.ngram.companion import SMALLEST_LIMIT
from textgen.ngram.model import NGramModel


def _edited(edit: Callable[[dict[str, np.ndarray]], object]) -> Change:
    """n-grams that were edited, as arrays by name."""
    return in_weights(edit, NGRAM)


def _with(name: str, value: float, place: int = -1) -> Change:
    """n-grams with one number changed, in an array that can hold it."""

    def edit(arrays: dict[str, np.ndarray]) -> None:
        wide = arrays[name] if arrays[name].dtype.kind in "if" else arrays[name].astype(np.uint32)
        wide.reshape(-1)[place] = value
        arrays[name] = wide

    return _edited(edit)


def _filled(name: str, value: int) -> Change:
    return _edited(lambda arrays: arrays.update({name: np.full(len(arrays[name]), value, np.uint32)}))


def _largest_ngrams(arrays: dict[str, np.ndarray]) -> None:
    """As many n-grams as the file may hold, of random tokens: almost each is a context of its own."""
    size = len(arrays["token_ids"])
    tokens = np.random.default_rng(1).integers(0, size, 400_000)
    model = NGramModel.train(tokens, size, 16, max_bytes=SMALLEST_LIMIT - 20_000, prune_from=None)
    kept = {name: arrays[name] for name in ("token_ids", "mixture_weight")}
    arrays.clear()
    arrays.update(kept | model.to_arrays())


HOSTILE_NGRAMS: dict[str, Change] = {
    "n-grams empty": written(NGRAM, b""),
    "n-grams of a pickle": written(NGRAM, b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x02os\x94."),
    "n-grams with a header of 2**63": written(NGRAM, struct.pack("<Q", 2**63) + b"{}"),
    "n-grams of a terabyte": sparse(NGRAM, 10**12),
    "n-grams of nothing": _edited(dict.clear),
    "n-grams without a level": _edited(lambda arrays: arrays.pop("tokens.4")),
    "n-grams with another array": _edited(lambda arrays: arrays.update(extra=np.zeros(10, "f4"))),
    "n-grams in float64": _edited(
        lambda arrays: arrays.update({"counts.2": arrays["counts.2"].astype("f8")})
    ),
    "n-grams of no size": _edited(lambda arrays: arrays.update({"tokens.2": np.zeros(0, "u1")})),
    "n-grams as many as may be": _edited(_largest_ngrams),
    "n-grams of other tokens": _edited(lambda arrays: arrays.update(token_ids=arrays["token_ids"][::-1])),
    "n-grams with a weight of NaN": _with("mixture_weight", np.nan),
    "n-grams with a weight of 2": _with("mixture_weight", 2),
    "n-grams of format 10": _with("info", 10, 0),
    "n-grams with a vocab_size of 2**62": _with("info", 2**62, 1),
    "n-grams of order 10**9": _with("info", 10**9, 2),
    "n-grams with a start token of 10**6": _with("info", 10**6, 3),
    "n-grams of a share of NaN": _with("share", np.nan),
    "n-grams with a discount of NaN": _with("discounts", np.nan),
    "n-grams with a discount of 10**9": _with("discounts", 1e9),
    "n-grams with a token of 10**9": _with("tokens.3", 10**9),
    "n-grams of one token": _filled("tokens.3", 1),
    "n-grams with a count of 0": _with("counts.3", 0),
    "n-grams whose counts are huge": _filled("counts.2", 2**32 - 1),
    "n-grams with 2**32 children": _filled("children.2", 2**32 - 1),
    "n-grams with a child too many": _with("children.2", 200),
    "n-grams of which all was dropped": _filled("dropped.2", 2**32 - 1),
}
