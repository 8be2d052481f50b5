"""The counters of a checkpoint are checked before training goes on from them."""

from __future__ import annotations

from typing import Any

import pytest

from textgen.training.position import Position


def test_counters_survive_json() -> None:
    position = Position(step=7, seconds=1.5, best_loss=2.0, best_step=5, recent=[(1, 2.0, 3)])
    assert Position.from_json(vars(position)) == position


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": -1}, "step is -1"),
        ({"step": 7, "best_step": 8}, "best_step is 8, after step 7"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"best_loss": float("inf")}, "best_loss is inf"),
        ({"tokens": "many"}, "tokens is 'many'"),
        ({"rollbacks": True}, "rollbacks is True"),
    ],
)
def test_what_no_training_gives_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Position.from_json(values)


def test_an_unknown_counter_is_an_error() -> None:
    with pytest.raises(TypeError, match="newer"):
        Position.from_json({"newer": 1})
