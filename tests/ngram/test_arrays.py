"""Arrays from strangers: what no counting gives is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import RunError
from textgen.ngram.model import NGramModel, State

Arrays = dict[str, np.ndarray]
TOKENS = np.array([0, 1, 2, 0, 1, 3, 1, 0, 0, 1, 2, 4, 3] * 6 + [2, 2, 1, 4, 0, 3])


def arrays() -> Arrays:
    model = NGramModel.train(TOKENS, 5, 4, start_id=4, prune_from=3)
    return {name: array.copy() for name, array in model.to_arrays().items()}


def test_a_model_of_its_own_arrays_is_equal() -> None:
    model = NGramModel.train(TOKENS, 5, 4, start_id=4)
    found = NGramModel.from_arrays(model.to_arrays())
    assert (found.vocab_size, found.order, found.start_id, found.share) == (5, 4, 4, 1)
    assert found.num_entries == model.num_entries
    assert found.nbytes == model.nbytes == sum(array.nbytes for array in model.to_arrays().values())
    assert np.array_equal(found.read(TOKENS[None])[0], model.read(TOKENS[None])[0])


def set_value(name: str, place: int | tuple[int, int], value: float) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][place] = value

    return change


def set_array(name: str, array: np.ndarray) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = array

    return change


def remove(name: str) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        del arrays[name]

    return change


def swap_tokens(arrays: Arrays) -> None:
    arrays["tokens.1"] = arrays["tokens.1"][::-1].copy()


def without_its_end(arrays: Arrays) -> None:
    """Give the n-gram 1 3 another last token, so that n-grams which end with it have no shorter one."""
    begin = int(arrays["children.1"][0])
    arrays["tokens.2"][begin : begin + 4] = [0, 1, 2, 4]


HOSTILE = {
    "no info": remove("info"),
    "no counts": remove("counts.3"),
    "no children": remove("children.1"),
    "more": set_array("tokens.9", np.zeros(1, np.uint8)),
    "format": set_value("info", 0, 9),
    "vocab_size of 0": set_value("info", 1, 0),
    "vocab_size of billions": set_value("info", 1, 2**40),
    "vocab_size too small": set_value("info", 1, 4),
    "order of 0": set_value("info", 2, 0),
    "order too small": set_value("info", 2, 3),
    "order of billions": set_value("info", 2, 2**40),
    "start token": set_value("info", 3, 5),
    "share of 0": set_value("share", 0, 0),
    "share that is not a number": set_value("share", 0, np.nan),
    "discount that is not a number": set_value("discounts", (1, 0), np.nan),
    "discount below 0": set_value("discounts", (1, 1), -0.1),
    "discount above its count": set_value("discounts", (2, 0), 1.5),
    "discount of 0": set_value("discounts", (3, 1), 0),
    "float tokens": set_array("tokens.1", np.arange(5.0)),
    "signed tokens": set_array("tokens.1", np.arange(5)),
    "tokens of 64 bits": set_array("tokens.1", np.arange(5, dtype=np.uint64)),
    "tokens in two dimensions": set_array("tokens.1", np.arange(5, dtype=np.uint8)[None]),
    "token out of range": set_value("tokens.2", 3, 77),
    "tokens out of order": swap_tokens,
    "token twice": set_value("tokens.1", 1, 0),
    "count of 0": set_value("counts.2", 0, 0),
    "counts that are too long": set_array("counts.1", np.ones(6, np.uint8)),
    "too many children": set_value("children.1", 0, 255),
    "too few children": set_value("children.2", 0, 0),
    "n-gram without its end": without_its_end,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_counting_gives_is_refused_in_one_line(name: str) -> None:
    changed = arrays()
    HOSTILE[name](changed)
    with pytest.raises(RunError, match=r"x\.safetensors: .*; the n-grams are damaged") as caught:
        NGramModel.from_arrays(changed, "x.safetensors")
    assert "\n" not in str(caught.value)


@given(st.data())
def test_whatever_is_changed_is_refused_or_gives_distributions(data: st.DataObject) -> None:
    changed = arrays()
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(changed)))
        array = changed[name].reshape(-1)
        if len(array):
            array[data.draw(st.integers(0, len(array) - 1))] = data.draw(st.integers(0, 255))
    try:
        model = NGramModel.from_arrays(changed)
    except RunError:
        return
    contexts = np.arange(model._automaton.level_begins[-1], dtype=np.int32)
    logs = model.log_probs(State(contexts)).astype(np.float64)
    assert np.isfinite(logs).all()
    assert np.abs(np.exp(logs).sum(1) - 1).max() < 1e-5


def test_tiny_discounts_give_no_infinity() -> None:
    changed = arrays()
    changed["discounts"][:] = 1e-300
    model = NGramModel.from_arrays(changed)
    assert np.isfinite(model.read(TOKENS[None])[0]).all()
