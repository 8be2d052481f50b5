"""Measuring: textgen and the alternative in turn, medians, and a goal for their ratio."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Goal:
    """A bound for a comparison: on ours / theirs, ours - theirs, or ours alone."""

    figure: Literal["ratio", "difference", "ours"]
    bound: float
    at_most: bool = False  # else at least

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:g}"


@dataclass(frozen=True)
class Comparison:
    """One line of a table: the same quantity for textgen and for an alternative, in one unit."""

    case: str  # "lstm, 512 units, 1 layer"
    against: str  # "nn.LSTM loop"
    unit: str  # "characters/s"
    ours: float
    theirs: float
    goal: Goal | None = None  # None: no goal

    @property
    def figure(self) -> float:
        """The number that the goal bounds; the ratio if there is no goal."""
        kind = self.goal.figure if self.goal else "ratio"
        return {
            "ratio": self.ours / self.theirs,
            "difference": self.ours - self.theirs,
            "ours": self.ours,
        }[kind]

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None if there is none."""
        if self.goal is None:
            return None
        return self.figure <= self.goal.bound if self.goal.at_most else self.figure >= self.goal.bound

    def as_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self) | {"figure": self.figure, "met": self.met}


def alternate(*actions: Callable[[], object], rounds: int) -> list[float]:
    """Median seconds of each action; all run in turn, `rounds` times, after one untimed call each.

    In turn, so that other programs on the machine slow all of them alike.
    """
    for action in actions:
        action()
    times = [[seconds(action) for action in actions] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def seconds(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def table(comparisons: Sequence[Comparison]) -> list[str]:
    """Comparisons as the lines of a Markdown table."""
    rows = [("case", "against", "unit", "textgen", "other", "figure", "goal", "met")]
    for each in comparisons:
        goal = str(each.goal) if each.goal else ""
        met = {True: "yes", False: "no", None: ""}[each.met]
        kind = each.goal.figure if each.goal else "ratio"
        figure = {"ratio": f"{each.figure:.2f} x", "difference": f"{each.figure:+.2f}", "ours": ""}[kind]
        rows.append(
            (each.case, each.against, each.unit, plain(each.ours), plain(each.theirs), figure, goal, met)
        )
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells, the first of them headings, as the lines of a Markdown table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def plain(value: float) -> str:
    """A number with three significant digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """The processor and the versions of what was measured."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_info

    # The library chooses its kernels by the processor, or by a variable such as OPENBLAS_CORETYPE.
    kernels = [each.get("architecture", "") for each in threadpool_info() if each["user_api"] == "blas"]
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": " ".join([np.__version__, *kernels]).strip(),
    }


def _processor() -> str:
    """The processor's name and its vector and bfloat16 instructions, where Linux reports them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        pairs = (line.partition(":") for line in lines)
        fields = {name.strip(): value.strip() for name, _, value in pairs}
    except OSError:
        return platform.processor() or platform.machine()
    # ARM has no such fields; its `Features` list bf16.
    flags = fields.get("flags", fields.get("Features", "")).split()
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "bf16") if flag in flags]
    return f"{fields.get('model name', platform.machine())} ({', '.join(known)})"
