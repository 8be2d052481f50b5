"""The benchmark of several processes runs with real processes, and counts on paper as it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import pytest


def test_it_prints_steps_exchange_and_other_machines(
    import_script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    processes = import_script("processes")
    for name, value in {"CASES": (("lstm", 256),), "EXCHANGED": (1000,), "BATCH": 16, "STEPS": 1}.items():
        monkeypatch.setattr(processes, name, value)
    processes.main(["--rounds", "1"], standalone_mode=False)
    out = capsys.readouterr().out
    assert re.search(
        r"lstm 256, 16 x 64, \w+ \| 360,544 +\| [\d,]+ tokens/s +\| [\d,]+ tokens/s +\| \d+\.\d\d", out
    )
    assert re.search(r"\| 1,000 +\| \d+\.\d\d \|", out)
    assert re.search(r"\| 16 +\| a machine each, 100 Gbit/s \| +\d+\.\d +\| \d+\.\d", out)


def test_on_paper_a_step_is_its_share_of_the_work_and_a_ring_of_gradients(
    import_script: Callable[[str], ModuleType],
) -> None:
    processes = import_script("processes")
    halves = {32: 0.032, 16: 0.016, 8: 0.008, 4: 0.004, 2: 0.002}
    rows = processes.on_paper(halves, 1_000_000, seconds_per_sum=0.001)
    assert ("2", "in one machine", "17.0", "1.9") in rows
    # 2 x 15/16 x 4 MB at 1 Gbit/s are 60 ms, and 30 messages 1.5 ms.
    assert ("16", "a machine each, 1 Gbit/s", "63.5", "0.5") in rows
