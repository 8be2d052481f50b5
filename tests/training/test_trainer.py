"""Parts of the loop that can be seen alone; the whole of it is tested by training runs."""

from __future__ import annotations

import torch

from textgen.training.trainer import forget_some


def test_forgetting_zeroes_whole_lanes_in_every_part_and_layer_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    state = tuple(torch.rand(2, 1000, 3) + 1 for _ in range(2))
    before = [part.clone() for part in state]
    forgotten = forget_some(state, 0.1)
    zero = (forgotten[0][0, :, 0] == 0).nonzero().flatten()
    assert 60 < len(zero) < 140
    for part, old in zip(forgotten, before, strict=True):
        assert (part[:, zero] == 0).all()
        old[:, zero] = 0
        assert torch.equal(part, old)
    assert all((part > 0).all() for part in state), "the state that was given is not changed"


def test_a_share_of_nothing_forgets_nothing_and_of_all_everything() -> None:
    state = (torch.ones(1, 5, 2),)
    assert torch.equal(forget_some(state, 0.0)[0], state[0])
    assert not forget_some(state, 1.0)[0].any()


def test_the_same_seed_forgets_the_same_lanes() -> None:
    state = (torch.ones(1, 50, 2),)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(forget_some(state, 0.5)[0])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
