"""LSTM, GRU and plain tanh RNN as equations of one time step, with named gates; and stacks of them.

These are the definitions that the fast twin, recurrent.py, is tested against, and where gates can be read. A
cell without a fast twin runs on them. settings/cells.py has the names and shapes of gates and weights.

Shapes: B batch, T time, E input_size, H hidden_size, L num_layers, G gates (LSTM 4, GRU 3, RNN 1).
Equations: W, b are weight_ih, bias_ih; U, c are weight_hh, bias_hh; * is elementwise, s the logistic sigmoid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from textgen.settings.cells import CellWeights, find_spec
from textgen.settings.config import LAYER_NORM_EPSILON

State = tuple[Tensor, ...]
"""What a network carries from step to step: LSTM (h, c), GRU (h,), RNN (h,).

Each part is (B, H) for one layer, (L, B, H) for a stack of L layers.
"""


class NormWeights(NamedTuple):
    """The scale and offset that layer norm gives each unit, (H,) each."""

    weight: Tensor
    bias: Tensor


class StackWeights(NamedTuple):
    """The weights of a stack of layers, and how each layer's output reaches what lies above it."""

    layers: Sequence[Any]  # L, from the first up: CellWeights, or what the cell has in their place
    norms: Sequence[NormWeights] = ()  # L, each for what is read above that layer; or none
    residual: bool = False


@dataclass(frozen=True)
class Step:
    """What one step of a cell computed: the new state, (B, H) per part; its gates in a subclass."""

    state: State


@dataclass(frozen=True)
class LSTMStep(Step):
    """What an LSTM step computed: the new state (h, c) and its gates, (B, H) each."""

    input: Tensor  # 0..1, how much of the candidate is written
    forget: Tensor  # 0..1, how much of the old cell is kept
    cell_candidate: Tensor  # -1..1, what could be written
    output: Tensor  # 0..1, how much of the cell is shown


@dataclass(frozen=True)
class GRUStep(Step):
    """What a GRU step computed: the new state (h,) and its gates, (B, H) each."""

    reset: Tensor  # 0..1, how much of the past the new value is computed from
    update: Tensor  # 0..1, how much of the old state is kept
    new: Tensor  # -1..1, what could replace it


def lstm_step(x: Tensor, state: State, weights: CellWeights[Tensor]) -> LSTMStep:
    """Read one input x (B, E) with an LSTM in state (h, c), (B, H) each.

        i = s(W_i x + b_i + U_i h + c_i)        input gate
        f = s(W_f x + b_f + U_f h + c_f)        forget gate
        g = tanh(W_g x + b_g + U_g h + c_g)     cell candidate
        o = s(W_o x + b_o + U_o h + c_o)        output gate
        cell' = f * cell + i * g
        h' = o * tanh(cell')

    The cell is only scaled and added to, never multiplied by a matrix, so a gradient can survive many steps.

    Hochreiter & Schmidhuber, "Long short-term memory", 1997, with the forget gate of Gers, Schmidhuber &
    Cummins, "Learning to forget: continual prediction with LSTM", 2000; no peepholes.
    """
    hidden, cell = state  # (B, H) each
    from_input = x @ weights.weight_ih.T + weights.bias_ih  # (B, 4H)
    from_hidden = hidden @ weights.weight_hh.T + weights.bias_hh  # (B, 4H)
    i, f, g, o = (from_input + from_hidden).chunk(4, dim=-1)  # (B, H) each
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    cell = f * cell + i * g
    return LSTMStep((o * torch.tanh(cell), cell), input=i, forget=f, cell_candidate=g, output=o)


def gru_step(x: Tensor, state: State, weights: CellWeights[Tensor]) -> GRUStep:
    """Read one input x (B, E) with a GRU in state (h,), (B, H).

        r = s(W_r x + b_r + U_r h + c_r)            reset gate
        z = s(W_z x + b_z + U_z h + c_z)            update gate
        n = tanh(W_n x + b_n + r * (U_n h + c_n))   new gate
        h' = (1 - z) * n + z * h

    Two GRUs share the name. This one, which torch and cuDNN compute, applies the reset gate after the
    recurrent product (in Keras: reset_after=True); the first one applied it before, U_n (r * h), and the
    weights of one do not fit the other. Also, z keeps the old state here; in some texts it admits the new.

    Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
    translation", 2014.
    """
    (hidden,) = state  # (B, H)
    from_input = x @ weights.weight_ih.T + weights.bias_ih  # (B, 3H)
    from_hidden = hidden @ weights.weight_hh.T + weights.bias_hh  # (B, 3H)
    input_r, input_z, input_n = from_input.chunk(3, dim=-1)  # (B, H) each
    hidden_r, hidden_z, hidden_n = from_hidden.chunk(3, dim=-1)  # (B, H) each
    r = torch.sigmoid(input_r + hidden_r)
    z = torch.sigmoid(input_z + hidden_z)
    n = torch.tanh(input_n + r * hidden_n)
    return GRUStep(((1 - z) * n + z * hidden,), reset=r, update=z, new=n)


def rnn_step(x: Tensor, state: State, weights: CellWeights[Tensor]) -> Step:
    """Read one input x (B, E) with a plain RNN in state (h,), (B, H). It has no gates.

        h' = tanh(W x + b + U h + c)

    Every step multiplies the past by U again, so over many steps its gradient vanishes or explodes.

    Elman, "Finding structure in time", 1990.
    """
    (hidden,) = state  # (B, H)
    from_input = x @ weights.weight_ih.T + weights.bias_ih  # (B, H)
    from_hidden = hidden @ weights.weight_hh.T + weights.bias_hh  # (B, H)
    return Step((torch.tanh(from_input + from_hidden),))


@torch.no_grad()
def init_gates(weights: CellWeights[Tensor], generator: torch.Generator | None) -> None:
    """Draw new weights in place, each gate on its own, from the generator (None: torch's global one).

    Input weights are Glorot uniform (Glorot & Bengio 2010). Recurrent weights are orthogonal, so that
    applying them again and again neither shrinks nor grows the state (Saxe et al. 2014). Biases are 0.
    """
    num_gates = len(weights.weight_hh) // weights.weight_hh.shape[1]
    for gate in weights.weight_ih.chunk(num_gates):  # (H, E)
        nn.init.xavier_uniform_(gate, generator=generator)
    for gate in weights.weight_hh.chunk(num_gates):  # (H, H)
        nn.init.orthogonal_(gate, generator=generator)
    weights.bias_ih.zero_()
    weights.bias_hh.zero_()


@torch.no_grad()
def init_lstm(weights: CellWeights[Tensor], generator: torch.Generator | None) -> None:
    """As init_gates, but the forget gate's bias is 1: open, until training learns what to drop.

    Jozefowicz, Zaremba & Sutskever, "An empirical exploration of recurrent network architectures", 2015.
    """
    init_gates(weights, generator)
    hidden_size = weights.weight_hh.shape[1]
    weights.bias_ih[hidden_size : 2 * hidden_size] = 1.0  # and 0 in bias_hh, because the gate adds both


class Cell(NamedTuple):
    """A cell's equations and initial weights; both take one layer's weights as settings/cells.py has them.

    `step` reads one input x (B, E) from a state, (B, H) per part. `init` draws new weights in place from a
    generator (None: torch's global one).
    """

    step: Callable[[Tensor, State, Any], Step]
    init: Callable[[Any, torch.Generator | None], None]


CELLS: dict[str, Cell] = {
    "lstm": Cell(lstm_step, init_lstm),
    "gru": Cell(gru_step, init_gates),
    "rnn": Cell(rnn_step, init_gates),
}


def find_cell(name: str) -> Cell:
    """The cell of that name. Raises ConfigError when there is none."""
    find_spec(name)
    return CELLS[name]


def run_cell(cell: str, x: Tensor, state: State, weights: Any) -> tuple[Tensor, State, Step]:
    """Read a sequence x (B, T, E), T >= 1, with one layer from state, (B, H) per part.

    Returns the hidden state after each step (B, T, H), the last state, (B, H) per part, and all steps as one:
    states and gates are (B, T, H) in it.

    Raises ConfigError for an unknown cell.
    """
    step = find_cell(cell).step
    steps: list[Step] = []  # T of them
    for x_t in x.unbind(dim=1):  # (B, E)
        steps.append(step(x_t, state, weights))
        state = steps[-1].state
    sequence = _over_time(steps)
    return sequence.state[0], state, sequence


def layer_norm(x: Tensor, norm: NormWeights) -> Tensor:
    """Bring the units of x (..., H) to mean 0 and variance 1, then to a learned scale and offset each.

    Ba, Kiros & Hinton, "Layer normalization", 2016.
    """
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(variance + LAYER_NORM_EPSILON) * norm.weight + norm.bias


def stack_step(cell: str, x: Tensor, state: State, stack: StackWeights) -> tuple[Tensor, list[Step]]:
    """Read one input x (B, E) with a stack of layers in state, (L, B, H) per part.

        s_1 = cell_1(x)
        s_l = cell_l(r_{l-1})               or, residual, s_{l-1} + cell_l(r_{l-1})
        r_l = s_l                           or, with layer norm, norm_l(s_l)

    Returns r_L (B, H), what the head reads, and the L steps. A residual sum runs past all norms (pre-norm):
    it is normalised for whoever reads it, never itself, so that a gradient comes down it unchanged. It begins
    above the first layer, whose input may have another size.

    Residual: He, Zhang, Ren & Sun, "Deep residual learning for image recognition", 2016; between LSTM layers
    Wu et al., "Google's neural machine translation system", 2016. Raises ConfigError for an unknown cell.
    """
    step = find_cell(cell).step
    steps: list[Step] = []
    read = stream = x
    for layer, weights in enumerate(stack.layers):
        steps.append(step(read, tuple(part[layer] for part in state), weights))
        hidden = steps[-1].state[0]  # (B, H)
        stream = stream + hidden if stack.residual and layer > 0 else hidden
        read = layer_norm(stream, stack.norms[layer]) if stack.norms else stream
    return read, steps


def run_stack(cell: str, x: Tensor, state: State, stack: StackWeights) -> tuple[Tensor, State, list[Step]]:
    """Read a sequence x (B, T, E), T >= 1, with a stack of layers from state, (L, B, H) per part.

    Returns what the head reads after each step (B, T, H), the last state, (L, B, H) per part, and for each
    layer all its steps as one: states and gates are (B, T, H) in it.

    Raises ConfigError for an unknown cell.
    """
    outputs: list[Tensor] = []  # T of (B, H)
    by_time: list[list[Step]] = []  # T times L
    for x_t in x.unbind(dim=1):  # (B, E)
        output, steps = stack_step(cell, x_t, state, stack)
        state = stacked_states(steps)
        outputs.append(output)
        by_time.append(steps)
    return torch.stack(outputs, dim=1), state, [_over_time(layer) for layer in zip(*by_time, strict=True)]


def stacked_states(steps: Sequence[Step]) -> State:
    """The states after the steps of L layers, as one: (L, B, H) per part."""
    return tuple(torch.stack(parts) for parts in zip(*(step.state for step in steps), strict=True))


def _over_time(steps: Sequence[Step]) -> Step:
    """T steps of (B, H) each as one of (B, T, H)."""
    states = zip(*(step.state for step in steps), strict=True)
    sequence: dict[str, Any] = {"state": tuple(torch.stack(parts, dim=1) for parts in states)}
    for field in dataclasses.fields(steps[0]):
        if field.name != "state":
            sequence[field.name] = torch.stack([getattr(step, field.name) for step in steps], dim=1)
    return type(steps[0])(**sequence)
