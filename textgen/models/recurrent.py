"""The cells of cells.py, stacked and fast: one call per layer into oneDNN, gru.py (CPU) or cuDNN (GPU).

A cell without such a call in FUSED runs step by step on its equations.

Shapes: B batch, T time, E input_size, H hidden_size, L num_layers, G gates (LSTM 4, GRU 3, RNN 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from textgen.errors import ConfigError
from textgen.models.cells import NormWeights, StackWeights, State, find_cell, run_cell
from textgen.models.dropout import LockedDropout, WeightDrop
from textgen.models.gru import gru_pass
from textgen.models.products import linear
from textgen.settings.cells import CellWeights, find_spec
from textgen.settings.config import LAYER_NORM_EPSILON
from textgen.weights.shapes import NORM_NAMES, RESIDUAL_MARK, layer_name, stack_shapes


class Recurrent(nn.Module):
    """A stack of recurrent layers: forward(x, state) -> (outputs, state).

    Parameters have the names, shapes and gate order of torch.nn.LSTM, GRU and RNN, so that state dicts load
    both ways. The state is a value: passed in, returned, never stored here and never changed in place.

    `dropout` acts on what each layer reads from the one below, with one mask for all time steps;
    `weight_drop` on the recurrent weights. `residual` adds each layer's input to its output, from the second
    layer on; `layer_norm` normalises what the next layer (before dropout) or the head reads of each
    layer. cells.stack_step has the equations. torch.nn has neither of the last two, so that the state dicts
    of such stacks load only here.

    Raises ConfigError for an unknown cell, a size below 1, a dropout outside [0, 1), and for a state dict of
    another arrangement.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        *,
        weight_drop: float = 0.0,
        residual: bool = False,
        layer_norm: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        for name, size in sizes.items():
            if size < 1:
                raise ConfigError(f"{name}={size!r}: must be at least 1")
        spec = find_spec(cell)
        self.cell = cell
        self.num_states = len(spec.state)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.residual = residual
        self.layer_norm = layer_norm
        self.dropout = LockedDropout(dropout)
        self.weight_drop = WeightDrop(weight_drop)
        shapes = stack_shapes(
            cell, input_size, hidden_size, num_layers, residual=residual, layer_norm=layer_norm
        )
        for name, shape in shapes.items():
            if name == RESIDUAL_MARK:
                self.register_buffer(name, torch.ones(shape, dtype=torch.uint8))
            else:
                self.register_parameter(name, nn.Parameter(torch.empty(shape)))
        self._weights_type = type(spec.weight_shapes(input_size, hidden_size))
        self.num_gates = shapes[layer_name("weight_hh", 0)][0] // hidden_size
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw new weights as the cell does (cells.py), from the generator (None: torch's global one).

        Layer norm starts with scale 1 and offset 0.
        """
        init = find_cell(self.cell).init
        for layer in range(self.num_layers):
            init(self.layer_weights(layer), generator)
            if self.layer_norm:
                norm = self._norm_weights(layer)
                norm.weight.fill_(1)
                norm.bias.zero_()

    def layer_weights(self, layer: int) -> Any:
        """The parameters of one layer, as the equations of cells.py take them: CellWeights, for our cells."""
        fields = self._weights_type._fields
        return self._weights_type(*(self.get_parameter(layer_name(name, layer)) for name in fields))

    def _norm_weights(self, layer: int) -> NormWeights:
        return NormWeights(*(self.get_parameter(layer_name(name, layer)) for name in NORM_NAMES))

    def stack_weights(self) -> StackWeights:
        """All parameters, as the equations of cells.py take them."""
        layers = range(self.num_layers)
        norms = [self._norm_weights(layer) for layer in layers] if self.layer_norm else ()
        return StackWeights([self.layer_weights(layer) for layer in layers], norms, self.residual)

    def zero_state(
        self, batch_size: int, dtype: torch.dtype | None = None, device: torch.device | None = None
    ) -> State:
        """The state before anything is read: zeros (L, B, H) per part; None means as the weights are."""
        shape = self.num_layers, batch_size, self.hidden_size
        like = self.get_parameter(layer_name("weight_hh", 0))
        return tuple(like.new_zeros(shape, dtype=dtype, device=device) for _ in range(self.num_states))

    def forward(
        self, x: Tensor, state: State | None = None, basis: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read x (B, T, E), T >= 1, from state, (L, B, H) per part; None is the zero state.

        With a basis (K, E), x (B, T, K) holds coordinates in it, and x @ basis is read. The basis is then
        multiplied once into the first layer's weights, not B T times: less work if K is below E.

        Returns what is read above the last layer (B, T, H), which is its hidden states where nothing is added
        or normalised, and the state after the last step. The arithmetic and both results are in x.dtype:
        weights and state of another type are cast to it, so float32 weights can serve a bfloat16 x, and their
        gradients are float32.

        Raises ValueError when shapes do not fit.
        """
        if state is None:
            state = self.zero_state(len(x), x.dtype, x.device)
        self._check_shapes(x, state, basis)
        ends: list[State] = []  # the last state of each layer, (1, B, H) per part
        read = stream = x
        for layer in range(self.num_layers):
            if layer > 0:
                read = self.dropout(read)
            start = tuple(part[layer : layer + 1].to(x.dtype) for part in state)  # (1, B, H) per part
            hidden, end = self._run_layer(layer, read, start, basis if layer == 0 else None)  # (B, T, H)
            ends.append(end)
            stream = stream + hidden if self.residual and layer > 0 else hidden
            read = self._normalise(layer, stream) if self.layer_norm else stream
        return read, tuple(torch.cat(parts) for parts in zip(*ends, strict=True))

    def _normalise(self, layer: int, stream: Tensor) -> Tensor:
        weight, bias = (parameter.to(stream.dtype) for parameter in self._norm_weights(layer))
        # Time first, as the layers leave it in memory: the kernel would copy any other layout.
        by_time = stream.transpose(0, 1)  # (T, B, H)
        size = (self.hidden_size,)
        return nn.functional.layer_norm(by_time, size, weight, bias, LAYER_NORM_EPSILON).transpose(0, 1)

    def _run_layer(self, layer: int, x: Tensor, state: State, basis: Tensor | None) -> tuple[Tensor, State]:
        weights = self.layer_weights(layer)
        weights = weights._replace(weight_hh=self.weight_drop(weights.weight_hh))
        if basis is not None:
            projected = linear(weights.weight_ih.to(x.dtype), basis.to(x.dtype))  # (G*H, K)
            weights = weights._replace(weight_ih=projected)
        if self.cell in FUSED:
            return FUSED[self.cell](x, state, weights)
        return _equation_pass(self.cell, x, state, weights)

    def _check_shapes(self, x: Tensor, state: State, basis: Tensor | None) -> None:
        columns = self.input_size
        if basis is not None:
            if basis.dim() != 2 or basis.shape[1] != self.input_size:
                raise ValueError(f"basis has shape {tuple(basis.shape)}; expected (any, {self.input_size})")
            columns = len(basis)
        if x.dim() != 3 or x.shape[1] == 0 or x.shape[2] != columns:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; expected (batch, time, {columns}), time at least 1"
            )
        if len(state) != self.num_states:
            raise ValueError(f"state has {len(state)} parts; that of {self.cell} has {self.num_states}")
        expected = self.num_layers, x.shape[0], self.hidden_size
        for part in state:
            if part.shape != expected:
                raise ValueError(
                    f"state has shape {tuple(part.shape)}; "
                    f"expected (num_layers, batch, hidden_size) = {expected} for x of shape {tuple(x.shape)}"
                )

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # torch calls this for every module that a state dict is loaded into.
        if f"{prefix}weight_ih_l0" in state_dict:
            marks = {"residual": RESIDUAL_MARK, "layer_norm": layer_name(NORM_NAMES[0], 0)}
            for option, mark in marks.items():
                here, there = getattr(self, option), prefix + mark in state_dict
                if here != there:
                    raise ConfigError(
                        f"these weights are of a stack with {option}={there}, and this one has "
                        f"{option}={here}: it would compute something else (torch.nn has neither option)"
                    )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        arrangement = "".join(f", {name}=True" for name in ("residual", "layer_norm") if getattr(self, name))
        return (
            f"{self.cell}, {self.input_size}, {self.hidden_size}, num_layers={self.num_layers}{arrangement}"
        )


def _equation_pass(cell: str, x: Tensor, state: State, weights: Any) -> tuple[Tensor, State]:
    """One layer by the equations of cells.py, in the type of x; arguments and results as of FUSED."""
    cast = type(weights)(*(weight.to(x.dtype) for weight in weights))
    out, last, _ = run_cell(cell, x, tuple(part[0] for part in state), cast)
    return out, tuple(part.unsqueeze(0) for part in last)


def _lstm_pass(x: Tensor, state: State, weights: CellWeights[Tensor]) -> tuple[Tensor, State]:
    if x.dtype == torch.bfloat16 and x.device.type == "cpu":
        x, weights = _with_even_columns(x, weights)
    out, hidden, cell = torch.lstm(x, state, _cast_weights(weights, x), *_torch_flags())
    return out, (hidden, cell)


def _gru_pass(x: Tensor, state: State, weights: CellWeights[Tensor]) -> tuple[Tensor, State]:
    if x.device.type == "cpu":
        by_time, last = gru_pass(x.transpose(0, 1), state[0][0], *_cast_weights(weights, x))
        return by_time.transpose(0, 1), (last.unsqueeze(0),)  # (B, T, H), (1, B, H)
    out, hidden = torch.gru(x, state[0], _cast_weights(weights, x), *_torch_flags())
    return out, (hidden,)


def _rnn_pass(x: Tensor, state: State, weights: CellWeights[Tensor]) -> tuple[Tensor, State]:
    out, hidden = torch.rnn_tanh(x, state[0], _cast_weights(weights, x), *_torch_flags())
    return out, (hidden,)


FUSED: dict[str, Callable[[Tensor, State, CellWeights[Tensor]], tuple[Tensor, State]]] = {
    "lstm": _lstm_pass,
    "gru": _gru_pass,
    "rnn": _rnn_pass,
}
"""The cells that read a sequence in one call: x (B, T, E), the state of one layer, (1, B, H) per part, and
its weights -> outputs (B, T, H) and the last state, both in the type of x."""


def _torch_flags() -> tuple[bool, int, float, bool, bool, bool]:
    """has_biases, num_layers, dropout, train, bidirectional and batch_first, as torch's functions take them.

    `train` keeps what the backward pass needs. It is not self.training: gradients of a model in eval mode are
    wanted too, and the dropout that torch means by it is ours, outside.
    """
    return True, 1, 0.0, torch.is_grad_enabled(), False, True


def _with_even_columns(x: Tensor, weights: CellWeights[Tensor]) -> tuple[Tensor, CellWeights[Tensor]]:
    """The same layer with one more column of zeros in x (B, T, E) where E is odd.

    The matrix unit of Intel's processors (AMX) multiplies bfloat16 numbers in pairs, and oneDNN's LSTM leaves
    it unused when the last number of a row has no partner; see BENCHMARKS.md, "odd columns".
    """
    if x.shape[2] % 2 == 0:
        return x, weights
    by_time = nn.functional.pad(x.transpose(0, 1), (0, 1))  # as the layers leave it in memory
    return by_time.transpose(0, 1), weights._replace(weight_ih=nn.functional.pad(weights.weight_ih, (0, 1)))


def _cast_weights(weights: CellWeights[Tensor], x: Tensor) -> list[Tensor]:
    """The weights of one layer in the type of x; gradients pass back through the cast."""
    if x.is_cuda:
        return _pack(weights, x.dtype)
    return [weight.to(x.dtype) for weight in weights]


def _pack(weights: CellWeights[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The weights of one layer as views of one block of memory.

    cuDNN reads a layer's weights as one block, in this order; from four it builds that block itself at each
    call and warns about it.
    """
    block = torch.cat([weight.flatten() for weight in weights]).to(dtype)
    parts = torch.split(block, [weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
