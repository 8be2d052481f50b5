"""The fast layers against their equations and against torch.nn. Sizes differ from each other on purpose."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from textgen.errors import ConfigError
from textgen.models.cells import CELLS, State, run_cell, run_stack
from textgen.models.recurrent import Recurrent, _pack
from textgen.system.device import cpu_multiplies_bfloat16

BATCH, TIME, INPUT, HIDDEN = 3, 7, 5, 6
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}

Run = Callable[[Recurrent, Tensor, State], tuple[Tensor, State]]

every_cell = pytest.mark.parametrize("cell", CELLS)
every_depth = pytest.mark.parametrize("num_layers", [1, 2, 3])
ARRANGEMENTS = [{"residual": True}, {"layer_norm": True}, {"residual": True, "layer_norm": True}]
every_arrangement = pytest.mark.parametrize("arrangement", ARRANGEMENTS, ids="+".join)


def make(
    cell: str, num_layers: int = 1, dtype: torch.dtype = torch.float64, **arrangement: bool
) -> Recurrent:
    """A stack with every weight and bias random: the biases' zeros would hide mistakes."""
    torch.manual_seed(1)
    model = Recurrent(cell, INPUT, HIDDEN, num_layers, **arrangement).double()
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.6, 0.6)
    return model.to(dtype)


def make_input(model: Recurrent) -> tuple[Tensor, State]:
    """Random x (B, T, E) and state (L, B, H) per part in the model's type and place, asking for gradients."""
    torch.manual_seed(2)
    like = model.layer_weights(0).weight_hh
    shapes = [(BATCH, TIME, INPUT)] + [(model.num_layers, BATCH, HIDDEN)] * model.num_states
    x, *state = (torch.randn(shape, dtype=torch.float64).to(like).requires_grad_() for shape in shapes)
    return x, tuple(state)


def run_equations(model: Recurrent, x: Tensor, state: State) -> tuple[Tensor, State]:
    """The stack by cells.py, step by step."""
    out, last, _ = run_stack(model.cell, x, state, model.stack_weights())
    return out, last


def run_torch(model: Recurrent, x: Tensor, state: State) -> tuple[Tensor, State, list[Tensor]]:
    """The stack by torch.nn with the same weights; also its parameters."""
    twin = TORCH[model.cell](INPUT, HIDDEN, model.num_layers, batch_first=True).to(x.dtype)
    twin.load_state_dict(model.state_dict())
    out, last = twin(x, state if model.cell == "lstm" else state[0])
    return out, last if model.cell == "lstm" else (last,), list(twin.parameters())


def gradients(out: Tensor, state: State, wrt: list[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of a loss in which every output and every part of the last state counts differently."""
    torch.manual_seed(3)
    terms = [(torch.randn(tensor.shape).to(tensor) * tensor.sin()).sum() for tensor in (out, *state)]
    return torch.autograd.grad(torch.stack(terms).sum(), wrt)


def everything(model: Recurrent, dtype: torch.dtype, run: Run) -> tuple[Tensor, ...]:
    """Outputs, last state and all gradients of a run on x in dtype, as float64 on the CPU."""
    x, state = make_input(model)
    out, last = run(model, x.to(dtype), state)
    found = gradients(out, last, [x, *state, *model.parameters()])
    return tuple(tensor.detach().double().cpu() for tensor in (out, *last, *found))


def assert_near(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    """Each differs from its twin by a vector that is short beside it."""
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= tolerance * other.norm()


def assert_close(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = 1e-12) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@every_cell
@every_depth
def test_fast_layers_equal_the_equations_in_outputs_states_and_gradients(cell: str, num_layers: int) -> None:
    model = make(cell, num_layers)
    x, state = make_input(model)
    wrt = [x, *state, *model.parameters()]
    out, last = model(x, state)
    expected_out, expected_last = run_equations(model, x, state)
    assert_close((out, *last), (expected_out, *expected_last))
    assert_close(gradients(out, last, wrt), gradients(expected_out, expected_last, wrt))


@every_cell
@every_depth
@every_arrangement
def test_residual_and_normed_stacks_equal_the_equations_in_outputs_states_and_gradients(
    cell: str, num_layers: int, arrangement: dict[str, bool]
) -> None:
    model = make(cell, num_layers, **arrangement)
    x, state = make_input(model)
    wrt = [x, *state, *model.parameters()]
    out, last = model(x, state)
    expected_out, expected_last = run_equations(model, x, state)
    assert_close((out, *last), (expected_out, *expected_last))
    assert_close(gradients(out, last, wrt), gradients(expected_out, expected_last, wrt))


@every_cell
@every_depth
def test_fast_layers_equal_torch_nn_in_outputs_states_and_gradients(cell: str, num_layers: int) -> None:
    model = make(cell, num_layers)
    x, state = make_input(model)
    out, last = model(x, state)
    expected_out, expected_last, twin_parameters = run_torch(model, x, state)
    assert_close((out, *last), (expected_out, *expected_last))
    found = gradients(out, last, [x, *state, *model.parameters()])
    assert_close(found, gradients(expected_out, expected_last, [x, *state, *twin_parameters]))


@every_cell
def test_in_float32_where_other_kernels_run_they_equal_the_equations_in_float64(cell: str) -> None:
    expected = everything(make(cell, 2), torch.float64, run_equations)
    found = everything(make(cell, 2, torch.float32), torch.float32, Recurrent.forward)
    assert_near(found, expected, tolerance=1e-5)


@every_cell
@every_depth
def test_state_dicts_load_from_and_to_torch_nn(cell: str, num_layers: int) -> None:
    ours = Recurrent(cell, INPUT, HIDDEN, num_layers)
    theirs = TORCH[cell](INPUT, HIDDEN, num_layers, batch_first=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(BATCH, TIME, INPUT)
    ours.load_state_dict(theirs.state_dict())
    assert_close((ours(x)[0],), (theirs(x)[0],), tolerance=1e-6)
    ours.reset_parameters()
    theirs.load_state_dict(ours.state_dict())
    assert_close((ours(x)[0],), (theirs(x)[0],), tolerance=1e-6)


@every_arrangement
def test_a_residual_or_normed_stack_and_torch_nn_refuse_each_others_state_dicts(
    arrangement: dict[str, bool],
) -> None:
    ours, theirs = make("gru", 2, torch.float32, **arrangement), nn.GRU(INPUT, HIDDEN, 2)
    before = copy.deepcopy(ours.state_dict())
    option = next(iter(arrangement))
    with pytest.raises(ConfigError, match=f"of a stack with {option}=False, and this one has {option}=True"):
        ours.load_state_dict(theirs.state_dict())
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())
    mark = {"residual": "residual_mark", "layer_norm": "norm_weight_l0"}[option]
    with pytest.raises(RuntimeError, match=mark):
        theirs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_dict_loads_into_its_own_arrangement_and_no_other(strict: bool) -> None:
    everything = [{}, *ARRANGEMENTS]
    for saved in everything:
        source = make("lstm", 2, torch.float32, **saved)
        for arrangement in everything:
            target = nn.Sequential(Recurrent("lstm", INPUT, HIDDEN, 2, **arrangement))  # keys with a prefix
            weights = nn.Sequential(source).state_dict()
            if arrangement == saved:
                target.load_state_dict(weights, strict=strict)
                x = torch.randn(BATCH, TIME, INPUT)
                assert torch.equal(target[0](x)[0], source(x)[0])
            else:
                with pytest.raises(ConfigError, match="of a stack with"):
                    target.load_state_dict(weights, strict=strict)


@every_arrangement
def test_a_fresh_norm_has_scale_1_and_offset_0_and_the_other_weights_are_drawn_as_ever(
    arrangement: dict[str, bool],
) -> None:
    torch.manual_seed(6)
    plain = Recurrent("gru", INPUT, HIDDEN, 2)
    torch.manual_seed(6)
    stack = Recurrent("gru", INPUT, HIDDEN, 2, **arrangement).stack_weights()
    assert len(stack.norms) == (2 if "layer_norm" in arrangement else 0)
    for norm in stack.norms:
        assert norm.weight.tolist() == [1] * HIDDEN
        assert norm.bias.tolist() == [0] * HIDDEN
    for layer in range(2):
        assert all(map(torch.equal, stack.layers[layer], plain.layer_weights(layer)))


@every_cell
@every_depth
def test_reading_step_by_step_equals_reading_at_once(cell: str, num_layers: int) -> None:
    model = make(cell, num_layers)
    x, state = make_input(model)
    expected, expected_last = model(x, state)
    outputs = []
    for t in range(TIME):
        out, state = model(x[:, t : t + 1], state)
        outputs.append(out)
    assert_close((torch.cat(outputs, dim=1), *state), (expected, *expected_last))


@every_cell
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_input_and_state_that_are_given_stay_as_they_were(cell: str, dtype: torch.dtype) -> None:
    model = make(cell, 2, torch.float32)
    x = torch.randn(BATCH, TIME, INPUT, dtype=dtype)
    state = tuple(torch.randn(2, BATCH, HIDDEN, dtype=dtype) for _ in range(model.num_states))
    before = copy.deepcopy((x, *state))
    with torch.no_grad():
        _, middle = model(x, state)
        middle_before = copy.deepcopy(middle)
        model(x, middle)
    for tensor, copied in zip((x, *state, *middle), (*before, *middle_before), strict=True):
        assert torch.equal(tensor, copied)


@every_cell
def test_the_state_is_not_kept_in_the_module(cell: str) -> None:
    model = make(cell)
    x, state = make_input(model)
    first, _ = model(x)
    model(x, state)
    assert torch.equal(model(x)[0], first)


@every_cell
def test_no_state_is_the_zero_state(cell: str) -> None:
    model = make(cell, 2)
    x, _ = make_input(model)
    zeros = model.zero_state(BATCH)
    assert all(part.shape == (2, BATCH, HIDDEN) and part.dtype == torch.float64 for part in zeros)
    assert not any(part.any() for part in zeros)
    out, last = model(x)
    expected_out, expected_last = model(x, zeros)
    assert all(torch.equal(a, b) for a, b in zip((out, *last), (expected_out, *expected_last), strict=True))


def test_the_parts_of_the_zero_state_share_no_memory() -> None:
    hidden, cell = make("lstm").zero_state(BATCH)
    assert hidden.data_ptr() != cell.data_ptr()


@every_cell
def test_gradients_in_eval_mode_equal_those_in_training_mode(cell: str) -> None:
    model = make(cell, 2, torch.float32)
    x, state = make_input(model)
    wrt = [x, *state, *model.parameters()]
    training = gradients(*model.train()(x, state), wrt)
    assert all(map(torch.equal, gradients(*model.eval()(x, state), wrt), training))


@every_cell
def test_bfloat16_input_is_served_by_float32_weights_with_float32_gradients(cell: str) -> None:
    model = make(cell, 2, torch.float32)
    x, state = make_input(model)
    out, last = model(x.bfloat16(), state)
    assert {tensor.dtype for tensor in (out, *last)} == {torch.bfloat16}
    found = gradients(out, last, list(model.parameters()))
    assert {gradient.dtype for gradient in found} == {torch.float32}
    expected = everything(make(cell, 2), torch.float64, run_equations)
    assert_near(everything(model, torch.bfloat16, Recurrent.forward), expected, tolerance=0.05)


@every_cell
@every_arrangement
def test_residual_and_normed_stacks_in_bfloat16_stay_near_the_equations(
    cell: str, arrangement: dict[str, bool]
) -> None:
    expected = everything(make(cell, 2, **arrangement), torch.float64, run_equations)
    model = make(cell, 2, torch.float32, **arrangement)
    assert_near(everything(model, torch.bfloat16, Recurrent.forward), expected, tolerance=0.05)
    x, state = make_input(model)
    out, last = model(x.bfloat16(), state)
    found = gradients(out, last, list(model.parameters()))
    assert {gradient.dtype for gradient in found} == {torch.float32}


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_lstm_trains_on_the_fused_kernel_of_onednn(dtype: torch.dtype) -> None:
    if dtype == torch.bfloat16 and not cpu_multiplies_bfloat16():
        pytest.skip("this processor multiplies no bfloat16")
    out, _ = make("lstm", 1, torch.float32)(torch.randn(BATCH, TIME, INPUT, dtype=dtype))
    names, nodes = set(), [out.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None:
            names.add(node.name())
            nodes += [parent for parent, _ in node.next_functions]
    assert any("MkldnnRnnLayer" in name for name in names), names


@pytest.mark.parametrize("columns", [5, 6])
def test_the_kernel_reads_pairs_of_columns_in_bfloat16(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[Tensor, Tensor]] = []

    def lstm(x: Tensor, state: State, weights: list[Tensor], *rest: object) -> tuple[Tensor, ...]:
        read.append((x, weights[0]))
        return run(x, state, weights, *rest)

    run = torch.lstm
    monkeypatch.setattr(torch, "lstm", lstm)
    model, x = Recurrent("lstm", columns, HIDDEN, 1), torch.randn(BATCH, TIME, columns)
    model(x.bfloat16())
    model(x)
    (short, short_weight), (full, full_weight) = read
    assert short.shape[2] == short_weight.shape[1] == 6
    assert not short[:, :, columns:].any()
    assert not short_weight[:, columns:].any()
    assert torch.equal(full, x)
    assert full_weight.shape[1] == columns


def test_packed_weights_are_the_same_numbers_in_one_block_of_memory() -> None:
    weights = make("gru", 1, torch.float32).layer_weights(0)
    packed = _pack(weights, torch.bfloat16)
    assert len({tensor.untyped_storage().data_ptr() for tensor in packed}) == 1
    ends = [tensor.storage_offset() + tensor.numel() for tensor in packed]
    assert [tensor.storage_offset() for tensor in packed] == [0, *ends[:-1]]
    for tensor, weight in zip(packed, weights, strict=True):
        assert torch.equal(tensor, weight.bfloat16())
        (gradient,) = torch.autograd.grad(tensor.float().pow(2).sum(), weight, retain_graph=True)
        assert torch.equal(gradient, (2 * weight.bfloat16().float()).bfloat16().float())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
@every_cell
@every_depth
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("arrangement", [{}, *ARRANGEMENTS], ids="+".join)
def test_a_gpu_gives_what_the_equations_give(
    cell: str, num_layers: int, dtype: torch.dtype, tolerance: float, arrangement: dict[str, bool]
) -> None:
    model = make(cell, num_layers, **arrangement)
    expected = everything(model, torch.float64, run_equations)
    # In eval mode, for cuDNN's own rule is that only a network in training has gradients.
    assert_near(everything(model.eval().cuda(), dtype, Recurrent.forward), expected, tolerance)


@every_cell
def test_each_gate_starts_orthogonal_on_the_state_and_glorot_uniform_on_the_input(cell: str) -> None:
    model = Recurrent(cell, 40, 50, 2)
    for layer, columns in enumerate([40, 50]):
        weights = model.layer_weights(layer)
        for gate in weights.weight_hh.chunk(model.num_gates):
            torch.testing.assert_close(gate @ gate.T, torch.eye(50), rtol=0, atol=1e-5)
        bound = (6 / (columns + 50)) ** 0.5
        assert 0.99 * bound < weights.weight_ih.abs().max() <= bound
        assert abs(weights.weight_ih.mean()) < 0.03 * bound


def test_the_forget_gates_biases_start_at_a_sum_of_1_and_all_others_at_0() -> None:
    model = Recurrent("lstm", INPUT, HIDDEN, 2)
    for layer in range(2):
        total = model.layer_weights(layer).bias_ih + model.layer_weights(layer).bias_hh
        assert total.view(4, HIDDEN).mean(dim=1).tolist() == [0, 1, 0, 0]
    for cell in ("gru", "rnn"):
        weights = Recurrent(cell, INPUT, HIDDEN).layer_weights(0)
        assert not weights.bias_ih.any()
        assert not weights.bias_hh.any()


def test_the_same_seed_draws_the_same_weights() -> None:
    def draw(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return list(Recurrent("gru", INPUT, HIDDEN, 2).parameters())

    assert all(map(torch.equal, draw(5), draw(5)))
    assert not all(map(torch.equal, draw(5), draw(6)))


def test_weights_drawn_from_a_given_generator_leave_torchs_own_alone() -> None:
    model = make("lstm")
    before = torch.get_rng_state()
    model.reset_parameters(torch.Generator().manual_seed(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_acts_between_layers_and_only_in_training() -> None:
    x = torch.randn(BATCH, TIME, INPUT)
    for num_layers, acts in ((1, False), (2, True)):
        model = Recurrent("gru", INPUT, HIDDEN, num_layers, dropout=0.5)
        exact = Recurrent("gru", INPUT, HIDDEN, num_layers)
        exact.load_state_dict(model.state_dict())
        assert torch.equal(model(x)[0], exact(x)[0]) != acts
        assert torch.equal(model.eval()(x)[0], exact(x)[0])


def test_dropout_acts_on_what_a_layer_reads_and_not_on_the_residual_sum() -> None:
    model = make("rnn", 2, residual=True)
    x, state = make_input(model)
    first = run_cell("rnn", x, (state[0][0],), model.layer_weights(0))[0]
    nothing = torch.zeros_like(first)
    second = run_cell("rnn", nothing, (state[0][1],), model.layer_weights(1))[0]
    model.dropout.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    assert_close((model(x, state)[0],), (first + second,))


@every_cell
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weight_drop_is_the_same_stack_with_some_recurrent_weights_zero_for_the_whole_call(
    cell: str, dtype: torch.dtype
) -> None:
    model = Recurrent(cell, INPUT, HIDDEN, 2, weight_drop=0.4).double()
    masked: list[Tensor] = []
    model.weight_drop.register_forward_hook(lambda module, args, out: masked.append(out))
    x, state = make_input(model)
    out, last = model(x.to(dtype), state)
    twin = Recurrent(cell, INPUT, HIDDEN, 2).double()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        for layer, weight in enumerate(masked):
            twin.layer_weights(layer).weight_hh.copy_(weight)
    expected = twin(x.to(dtype), state)
    assert torch.equal(out, expected[0])
    # The raw weight learns through what stays, scaled as it was; what is dropped gets nothing.
    names = [name for name, _ in model.named_parameters()]
    found = dict(zip(names, gradients(out, last, list(model.parameters())), strict=True))
    through = dict(zip(names, gradients(*expected, list(twin.parameters())), strict=True))
    for layer, weight in enumerate(masked):
        kept = (weight != 0) / 0.6
        assert 0 < kept.count_nonzero() < kept.numel()
        name = f"weight_hh_l{layer}"
        torch.testing.assert_close(found.pop(name), through[name] * kept)
    assert all(torch.equal(gradient, through[name]) for name, gradient in found.items())


def test_weight_drop_draws_a_new_mask_in_each_call_and_does_nothing_in_eval_mode() -> None:
    model, x = Recurrent("lstm", INPUT, HIDDEN, weight_drop=0.5), torch.randn(BATCH, TIME, INPUT)
    assert not torch.equal(model(x)[0], model(x)[0])
    exact = Recurrent("lstm", INPUT, HIDDEN)
    exact.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(x)[0], exact(x)[0])


@every_cell
def test_a_state_for_another_batch_is_refused_by_its_shape(cell: str) -> None:
    model = Recurrent(cell, INPUT, HIDDEN, 2)
    with pytest.raises(ValueError, match=r"state has shape \(2, 4, 6\); expected .* = \(2, 3, 6\)"):
        model(torch.zeros(3, TIME, INPUT), model.zero_state(4))


def test_a_state_of_another_cell_is_refused() -> None:
    gru, lstm = Recurrent("gru", INPUT, HIDDEN), Recurrent("lstm", INPUT, HIDDEN)
    with pytest.raises(ValueError, match="state has 1 parts; that of lstm has 2"):
        lstm(torch.zeros(BATCH, TIME, INPUT), gru.zero_state(BATCH))


@pytest.mark.parametrize("shape", [(TIME, INPUT), (BATCH, TIME, INPUT + 1), (BATCH, 0, INPUT)])
def test_an_input_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x has shape .*expected \(batch, time, 5\)"):
        Recurrent("lstm", INPUT, HIDDEN)(torch.zeros(shape))


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown cell 'gur'; did you mean 'gru'"):
        Recurrent("gur", INPUT, HIDDEN)


@pytest.mark.parametrize("name", ["input_size", "hidden_size", "num_layers"])
def test_a_size_below_1_is_refused_by_name(name: str) -> None:
    sizes = {"input_size": 1, "hidden_size": 1, "num_layers": 1} | {name: 0}
    with pytest.raises(ConfigError, match=f"{name}=0: must be at least 1"):
        Recurrent("lstm", **sizes)


@pytest.mark.parametrize(
    ("columns", "basis", "words"),
    [(5, (4, 3), r"x has shape .* expected \(batch, time, 4\)"), (4, (4, 2), r"basis has shape \(4, 2\)")],
)
def test_a_basis_that_does_not_fit_is_refused(columns: int, basis: tuple[int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recurrent("gru", 3, 5)(torch.zeros(2, 6, columns), None, torch.zeros(basis))
