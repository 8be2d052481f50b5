import dataclasses
import math

import pytest
import torch
from torch import Tensor

from textgen.errors import ConfigError
from textgen.models.cells import (
    CELLS,
    GRUStep,
    LSTMStep,
    NormWeights,
    StackWeights,
    gru_step,
    layer_norm,
    lstm_step,
    rnn_step,
    run_cell,
    run_stack,
    stack_step,
)
from textgen.settings import config
from textgen.settings.cells import CELL_SPECS, CellWeights

X, HIDDEN, CELL = 0.7, -0.4, 1.3


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def number(x: float) -> Tensor:
    return torch.tensor([[x]], dtype=torch.float64)  # (B, H) = (1, 1)


def one_unit(num_gates: int) -> CellWeights:
    """One input, one unit; every weight and bias a number of its own."""
    numbers = torch.arange(1, 4 * num_gates + 1, dtype=torch.float64) / 10
    weight_ih, weight_hh, bias_ih, bias_hh = numbers.split(num_gates)
    return CellWeights(weight_ih[:, None], -weight_hh[:, None], bias_ih, -bias_hh)


def random_weights(cell: str, input_size: int, hidden_size: int) -> CellWeights:
    torch.manual_seed(len(cell))
    shapes = CELL_SPECS[cell].weight_shapes(input_size, hidden_size)
    return CellWeights(*(torch.randn(shape, dtype=torch.float64) for shape in shapes))


def test_an_lstm_step_is_its_equations_in_plain_numbers() -> None:
    # w = .1 .2 .3 .4, u = -.5 -.6 -.7 -.8, b = .9 1.0 1.1 1.2, c = -1.3 -1.4 -1.5 -1.6 for i, f, g, o
    step = lstm_step(number(X), (number(HIDDEN), number(CELL)), one_unit(4))
    i = sigmoid(0.1 * X + 0.9 - 0.5 * HIDDEN - 1.3)
    f = sigmoid(0.2 * X + 1.0 - 0.6 * HIDDEN - 1.4)
    g = math.tanh(0.3 * X + 1.1 - 0.7 * HIDDEN - 1.5)
    o = sigmoid(0.4 * X + 1.2 - 0.8 * HIDDEN - 1.6)
    cell = f * CELL + i * g
    hidden = o * math.tanh(cell)
    gates = step.input, step.forget, step.cell_candidate, step.output
    assert [gate.item() for gate in gates] == pytest.approx([i, f, g, o], rel=1e-12)
    assert [part.item() for part in step.state] == pytest.approx([hidden, cell], rel=1e-12)


def test_a_gru_step_is_its_equations_in_plain_numbers_with_reset_after_the_product() -> None:
    # w = .1 .2 .3, u = -.4 -.5 -.6, b = .7 .8 .9, c = -1.0 -1.1 -1.2 for r, z, n
    step = gru_step(number(X), (number(HIDDEN),), one_unit(3))
    r = sigmoid(0.1 * X + 0.7 - 0.4 * HIDDEN - 1.0)
    z = sigmoid(0.2 * X + 0.8 - 0.5 * HIDDEN - 1.1)
    n = math.tanh(0.3 * X + 0.9 + r * (-0.6 * HIDDEN - 1.2))
    assert [gate.item() for gate in (step.reset, step.update, step.new)] == pytest.approx(
        [r, z, n], rel=1e-12
    )
    assert step.state[0].item() == pytest.approx((1 - z) * n + z * HIDDEN, rel=1e-12)


def test_a_plain_rnn_step_is_its_equation_in_plain_numbers() -> None:
    step = rnn_step(number(X), (number(HIDDEN),), one_unit(1))
    assert step.state[0].item() == pytest.approx(math.tanh(0.1 * X + 0.3 - 0.2 * HIDDEN - 0.4), rel=1e-12)


def test_an_lstm_with_open_forget_and_closed_input_gate_keeps_its_cell() -> None:
    weights = random_weights("lstm", 3, 5)
    weights.bias_ih[:5], weights.bias_ih[5:10] = -1e3, 1e3
    cell = torch.randn(2, 5, dtype=torch.float64)
    _, (_, kept), _ = run_cell(
        "lstm", torch.randn(2, 20, 3).double(), (torch.zeros_like(cell), cell), weights
    )
    assert torch.equal(kept, cell)


def test_a_gru_with_open_update_gate_keeps_its_state() -> None:
    weights = random_weights("gru", 3, 5)
    weights.bias_ih[5:10] = 1e3
    hidden = torch.randn(2, 5, dtype=torch.float64)
    _, (kept,), _ = run_cell("gru", torch.randn(2, 20, 3).double(), (hidden,), weights)
    assert torch.equal(kept, hidden)


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_is_its_steps_one_after_another(cell: str) -> None:
    num_states = len(CELL_SPECS[cell].state)
    weights = random_weights(cell, 3, 5)
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    state = tuple(torch.randn(2, 5, dtype=torch.float64) for _ in range(num_states))
    outputs, last, sequence = run_cell(cell, x, state, weights)
    assert outputs.shape == (2, 4, 5)
    for t in range(4):
        step = CELLS[cell].step(x[:, t], state, weights)
        state = step.state
        assert torch.equal(outputs[:, t], state[0])
        for name, value in vars(step).items():
            found = getattr(sequence, name)
            if name == "state":
                assert all(torch.equal(whole[:, t], part) for whole, part in zip(found, value, strict=True))
            else:
                assert torch.equal(found[:, t], value)
    assert len(last) == num_states
    assert all(torch.equal(part, expected) for part, expected in zip(last, state, strict=True))


def test_gates_lie_between_0_and_1_and_candidates_between_minus_1_and_1() -> None:
    x, zeros = torch.randn(2, 9, 3).double() * 3, torch.zeros(2, 5).double()
    _, _, lstm = run_cell("lstm", x, (zeros, zeros), random_weights("lstm", 3, 5))
    _, _, gru = run_cell("gru", x, (zeros,), random_weights("gru", 3, 5))
    assert isinstance(lstm, LSTMStep)
    assert isinstance(gru, GRUStep)
    for gate in (lstm.input, lstm.forget, lstm.output, gru.reset, gru.update):
        assert gate.shape == (2, 9, 5)
        assert 0 <= gate.min() < 0.5 < gate.max() <= 1
    for candidate in (lstm.cell_candidate, gru.new):
        assert -1 <= candidate.min() < 0 < candidate.max() <= 1


def test_the_cells_are_those_that_a_config_may_name() -> None:
    assert tuple(CELLS) == tuple(CELL_SPECS) == config.CELLS


@pytest.mark.parametrize("cell", CELLS)
def test_a_cells_entry_names_the_gates_states_and_weights_of_its_equations(cell: str) -> None:
    spec = CELL_SPECS[cell]
    weights = random_weights(cell, 3, 5)
    step = CELLS[cell].step(
        torch.zeros(2, 3).double(), (torch.zeros(2, 5).double(),) * len(spec.state), weights
    )
    gates = {field.name for field in dataclasses.fields(step)} - {"state"}
    assert gates == {*spec.gates, *spec.candidates}
    assert len(step.state) == len(spec.state)
    torch_layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell](3, 5)
    expected = {
        name.removesuffix("_l0"): tuple(tensor.shape) for name, tensor in torch_layer.named_parameters()
    }
    assert spec.weight_shapes(3, 5)._asdict() == expected


def test_an_unknown_cell_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="unknown cell 'lsmt'; did you mean 'lstm'"):
        run_cell("lsmt", torch.zeros(1, 1, 1), (torch.zeros(1, 1),), random_weights("rnn", 1, 1))


def test_layer_norm_is_its_definition_in_plain_numbers() -> None:
    x, scale, offset = torch.tensor([[1, 2, 6], [2, 3, 4], [0.1, 0.2, 0.3]], dtype=torch.float64)
    normalised = layer_norm(x[None], NormWeights(scale, offset))
    deviation = math.sqrt((4 + 1 + 9) / 3 + 1e-5)  # the mean is 3
    expected = [2 * -2 / deviation + 0.1, 3 * -1 / deviation + 0.2, 4 * 3 / deviation + 0.3]
    assert normalised[0].tolist() == pytest.approx(expected, rel=1e-12)


def three_layers() -> tuple[list[CellWeights], list[NormWeights]]:
    torch.manual_seed(4)
    layers = [random_weights("rnn", 3, 5), random_weights("rnn", 5, 5), random_weights("rnn", 5, 5)]
    return layers, [NormWeights(torch.randn(5).double(), torch.randn(5).double()) for _ in layers]


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_a_stack_reads_the_norm_of_a_sum_that_itself_is_never_normalised(
    residual: bool, normalised: bool
) -> None:
    layers, norms = three_layers()
    x, state = torch.randn(2, 3).double(), (torch.randn(3, 2, 5).double(),)
    read, _ = stack_step("rnn", x, state, StackWeights(layers, norms if normalised else (), residual))

    def norm(layer: int, stream: Tensor) -> Tensor:
        return layer_norm(stream, norms[layer]) if normalised else stream

    first = rnn_step(x, (state[0][0],), layers[0]).state[0]
    second = rnn_step(norm(0, first), (state[0][1],), layers[1]).state[0]
    if residual:
        second = first + second
    third = rnn_step(norm(1, second), (state[0][2],), layers[2]).state[0]
    if residual:
        third = second + third
    assert torch.equal(read, norm(2, third))


@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_over_time_is_its_steps_one_after_the_other(cell: str) -> None:
    num_states = len(CELL_SPECS[cell].state)
    layers = [random_weights(cell, 3, 5), random_weights(cell, 5, 5)]
    stack = StackWeights(layers, residual=True)
    x, state = torch.randn(2, 4, 3).double(), (torch.randn(2, 2, 5).double(),) * num_states
    outputs, last, sequences = run_stack(cell, x, state, stack)
    for t in range(4):
        output, steps = stack_step(cell, x[:, t], state, stack)
        state = tuple(torch.stack(parts) for parts in zip(*(step.state for step in steps), strict=True))
        assert torch.equal(outputs[:, t], output)
        for layer, sequence in enumerate(sequences):
            assert torch.equal(sequence.state[0][:, t], steps[layer].state[0])
    assert all(map(torch.equal, last, state))
