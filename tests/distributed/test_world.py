"""What processes of a training exchange: real processes, which exchange it by gloo."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
import torch

from tests.distributed.processes import environment, in_processes
from textgen.distributed.world import World, launch_id
from textgen.errors import ConfigError, LostProcessError
from textgen.text.batches import Rows


def exchange(world: World) -> dict[str, Any]:
    rank = float(world.rank)
    tensors = [torch.full((2, 3), rank), torch.tensor(10 * rank), torch.arange(4.0) * rank]
    world.sum(tensors)
    share = world.share(Rows.whole(5))
    rows = torch.arange(10.0).reshape(2, 5)[:, share.start : share.stop]
    found = {
        "sum": [tensor.tolist() for tensor in tensors],
        "gathered": world.gathered(rows, dim=1).tolist(),
        "exchanged": world.exchanged([rank, 0.5]),
        "first": world.from_first({"rank": world.rank, "weights": torch.ones(2) * rank})["weights"].tolist(),
        "threads": [world.threads(number) for number in (1, 7)],
        "may report": world.may_report(),
        "is first": world.is_first,
    }
    world.leave()
    return found


def test_processes_exchange_sums_rows_numbers_and_values() -> None:
    found = in_processes(exchange, 3)
    assert found.keys() == {0, 1, 2}
    for rank, each in found.items():
        assert each["sum"] == [[[3.0] * 3] * 2, 30.0, [0.0, 3.0, 6.0, 9.0]]
        assert each["gathered"] == torch.arange(10.0).reshape(2, 5).tolist()
        assert each["exchanged"] == [[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]
        assert each["first"] == [0.0, 0.0]
        assert each["threads"] == [1, 2]
        assert each["is first"] == (rank == 0)
    assert sum(each["may report"] for each in found.values()) == 1


def test_alone_nothing_is_exchanged() -> None:
    world = World.join({})
    tensor = torch.ones(3)
    world.sum([tensor])
    assert tensor.tolist() == [1, 1, 1]
    assert world.gathered(tensor, dim=0) is tensor
    assert world.exchanged([1, 2]) == [[1, 2]]
    assert world.from_first("value") == "value"
    assert world.share(Rows.whole(5)) == Rows.whole(5)
    assert world.threads(8) == 8
    assert world.is_first
    assert world.may_report()
    world.leave()


def lose_rank_1(world: World) -> tuple[str, float]:
    world.sum([torch.ones(1000)])
    if world.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    started = time.monotonic()
    try:
        while True:
            world.sum([torch.ones(1000)])
    except LostProcessError as error:
        return str(error), time.monotonic() - started


def test_a_process_that_is_killed_is_noticed_by_the_others() -> None:
    found = in_processes(lose_rank_1, 3)
    assert found.keys() == {0, 2}
    for message, seconds in found.values():
        assert message == "another process of this training was lost"
        assert seconds < 10


def test_variables_that_torchrun_did_not_set_are_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="RANK is set, but 'WORLD_SIZE' is not as torchrun sets it"):
        World.join({"RANK": "0"})
    with pytest.raises(ConfigError, match=r"invalid literal.*'x'.* is not as torchrun"):
        World.join(environment(0, 2, 1) | {"LOCAL_RANK": "x"})
    assert World.join(environment(0, 1, 1)).size == 1


def test_a_launch_has_the_same_id_in_all_attempts_and_another_launch_another() -> None:
    assert launch_id({}) is None
    torchrun = {"TORCHELASTIC_RUN_ID": "none"}
    assert launch_id(torchrun, 1) == launch_id(torchrun, 1)
    assert launch_id(torchrun, 1) != launch_id(torchrun, os.getpid())
    assert launch_id(torchrun) == launch_id(torchrun, os.getppid())
