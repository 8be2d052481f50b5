"""A run's own measurements, when training went back on the way."""

from __future__ import annotations

from typing import Any

from textgen.run import standing


def line(kind: str, step: int, **figures: Any) -> dict[str, Any]:
    return {"kind": kind, "step": step} | figures


def test_measurements_of_steps_that_were_taken_back_do_not_stand() -> None:
    first = [line("val", 0), line("train", 5), line("val", 10)]
    failed = [line("train", 12), line("val", 20)]
    back = line("rollback", 23, back_to=10)
    again = [line("train", 12), line("val", 20), line("final", 20)]
    assert standing([*first, *failed, back, *again]) == [*first, back, *again]


def test_going_back_twice_leaves_one_line_a_step() -> None:
    records = [line("train", 1), line("train", 2), line("rollback", 3, back_to=1)]
    records += [line("train", 2), line("rollback", 3, back_to=0), line("train", 1), line("train", 2)]
    assert [record["step"] for record in standing(records) if record["kind"] == "train"] == [1, 2]
