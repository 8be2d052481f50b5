import pytest
import torch

from textgen.errors import ConfigError
from textgen.models.dropout import LockedDropout


def test_the_same_units_are_dropped_at_every_time_step() -> None:
    out = LockedDropout(0.5)(torch.ones(3, 7, 40))
    assert torch.equal(out, out[:, :1].expand_as(out))


def test_each_sequence_and_each_call_has_a_mask_of_its_own() -> None:
    dropout = LockedDropout(0.5)
    first, second = dropout(torch.ones(2, 1, 200)), dropout(torch.ones(2, 1, 200))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.2, 0.5])
def test_a_share_p_is_dropped_and_the_rest_is_scaled_to_the_same_mean(p: float) -> None:
    torch.manual_seed(0)
    out = LockedDropout(p)(torch.ones(1, 1, 100_000))
    assert (out == 0).double().mean().item() == pytest.approx(p, abs=0.01)
    assert out.max().item() == pytest.approx(1 / (1 - p))
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_in_eval_mode_it_is_the_identity() -> None:
    x = torch.randn(2, 3, 4)
    assert torch.equal(LockedDropout(0.9).eval()(x), x)


def test_without_a_share_to_drop_no_random_number_is_drawn() -> None:
    x, before = torch.randn(2, 3, 4), torch.get_rng_state()
    assert torch.equal(LockedDropout(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_input_is_unchanged_and_its_type_kept() -> None:
    x = torch.ones(2, 3, 4, dtype=torch.bfloat16)
    assert LockedDropout(0.5)(x).dtype == torch.bfloat16
    assert torch.equal(x, torch.ones_like(x))


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_a_share_outside_its_range_is_refused(p: float) -> None:
    with pytest.raises(ConfigError, match=r"dropout=.*at least 0 and below 1"):
        LockedDropout(p)
