import pytest
import torch

from textgen.errors import ConfigError
from textgen.models.dropout import EmbeddingDropout, LockedDropout, WeightDrop


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


def test_embedding_dropout_drops_whole_tokens_everywhere_and_scales_the_others() -> None:
    tokens = torch.randint(50, (9, 30))
    out = EmbeddingDropout(0.4)(torch.ones(9, 30, 6), tokens, 50)
    by_token = [out[tokens == token].unique().tolist() for token in tokens.unique()]
    assert all(len(values) == 1 for values in by_token)  # one fate per token, in all places and dimensions
    assert sorted({values[0] for values in by_token}) == pytest.approx([0, 1 / 0.6])


def test_embedding_dropout_drops_a_share_p_of_the_vocabulary() -> None:
    out = EmbeddingDropout(0.1)(torch.ones(20_000, 1), torch.arange(20_000), 20_000)
    assert (out == 0).double().mean().item() == pytest.approx(0.1, abs=0.01)


def test_weight_drop_drops_a_share_p_of_single_weights_and_scales_the_others() -> None:
    weight = torch.full((400, 300), 2.0, requires_grad=True)
    out = WeightDrop(0.3)(weight)
    dropped = out == 0
    assert dropped.double().mean().item() == pytest.approx(0.3, abs=0.01)
    assert out[~dropped].unique().tolist() == pytest.approx([2 / 0.7])
    assert dropped.any(dim=0).all()  # no row and no column as a whole
    assert not dropped.all(dim=0).any()
    assert not dropped.all(dim=1).any()
    out.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad == 0, dropped)


@pytest.mark.parametrize("p", [0.0, 0.9])
def test_in_eval_mode_and_at_0_nothing_is_dropped_and_nothing_drawn(p: float) -> None:
    x, tokens = torch.randn(4, 5), torch.arange(4)
    before = torch.get_rng_state()
    assert EmbeddingDropout(p).train(p == 0)(x, tokens, 4) is x
    assert WeightDrop(p).train(p == 0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)
