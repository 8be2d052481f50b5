"""One message of several processes. That they are started is tested in distributed/test_launcher.py."""

from __future__ import annotations

import pytest

from textgen.cli.support import processes
from textgen.cli.support.processes import reporting_once
from textgen.distributed.launcher import LAUNCHED
from textgen.distributed.world import World
from textgen.errors import Interrupted, LostProcessError, RunError


class Others(World):
    """A world where another process has, or has not, reported before."""

    def __init__(self, rank: int, *, have_reported: bool) -> None:
        super().__init__(rank, 2)
        self.have_reported = have_reported

    def may_report(self) -> bool:
        return not self.have_reported


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_with_an_error_reports_it(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_SECONDS_FOR_RANK_0", 0.0)
    with pytest.raises(RunError, match="x: damaged"), reporting_once(Others(rank, have_reported=False)):
        raise RunError("x: damaged")
    with pytest.raises(SystemExit) as ended, reporting_once(Others(rank, have_reported=True)):
        raise RunError("x: damaged")
    assert ended.value.code == 1


def test_what_the_launcher_reports_its_processes_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Others(0, have_reported=False)
    with pytest.raises(LostProcessError), reporting_once(world):
        raise LostProcessError("lost")
    monkeypatch.setenv(LAUNCHED, "1")
    with pytest.raises(SystemExit) as ended, reporting_once(world):
        raise LostProcessError("lost")
    assert ended.value.code == 75


def test_a_stop_is_reported_by_rank_0_whoever_has_noticed_it_first() -> None:
    with pytest.raises(Interrupted), reporting_once(Others(0, have_reported=True)):
        raise Interrupted("stopped", 15)
    with pytest.raises(SystemExit) as ended, reporting_once(Others(1, have_reported=False)):
        raise Interrupted("stopped", 15)
    assert ended.value.code == 143
