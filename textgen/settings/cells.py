"""The recurrent cells by name: gates, state, and the names and shapes of their weights. No torch.

To add a cell, add its entry here and, under the same name, its equations and initial weights to CELLS in
models/cells.py. That is enough to train, evaluate and sample. A fused pass (models/recurrent.py) and a NumPy
twin (generation/numpy_engine/layers.py) make it faster and are optional, and so is its ONNX operator.

Shapes: E input_size, H hidden_size, G gates and candidates (LSTM 4, GRU 3, RNN 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from textgen.errors import ConfigError
from textgen.settings.option import unknown_name

Shape = tuple[int, ...]
Item = TypeVar("Item")


class CellWeights(NamedTuple, Generic[Item]):
    """The weights of one layer of LSTM, GRU or RNN, or their shapes: tensors, NumPy arrays or tuples.

    The gates are stacked along the first axis in torch's order.
    """

    weight_ih: Item  # (G*H, E)  from the input
    weight_hh: Item  # (G*H, H)  from the last hidden state
    bias_ih: Item  # (G*H,)
    bias_hh: Item  # (G*H,)  only the GRU's new gate can tell it from the first bias


@dataclass(frozen=True, kw_only=True)
class OnnxOperator:
    """The operator of ONNX that computes a cell whose weights are CellWeights.

    gates: where each of its blocks of rows comes from, in torch's order of gates. attributes: beside
    hidden_size.
    """

    name: str
    gates: tuple[int, ...]
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """What a cell is made of.

    `gates` lie between 0 (closed) and 1 (open), `candidates` between -1 and 1; both are fields of the cell's
    step in models/cells.py. `state` names the parts of the state, the hidden state first.

    `weight_shapes(E, H)` gives the shapes of one layer's weights as a named tuple; elsewhere a tuple of the
    same type holds the weights themselves. Among them are a weight_ih (any, E), the only weight that the
    input is multiplied by, and a weight_hh (any, H), on which weight_drop acts.

    onnx: None where ONNX has no operator for the cell; then it cannot be exported there.
    """

    gates: tuple[str, ...]
    candidates: tuple[str, ...]
    state: tuple[str, ...]
    weight_shapes: Callable[[int, int], Any]
    onnx: OnnxOperator | None = None

    @property
    def summary(self) -> str:
        """The gates in a few words.

        >>> find_spec("gru").summary
        'reset, update + new'
        """
        candidates = (f"+ {name.replace('_', ' ')}" for name in self.candidates)
        return " ".join([", ".join(self.gates) or "none", *candidates])


def _stacked(num_gates: int) -> Callable[[int, int], CellWeights[Shape]]:
    """The weight shapes of torch.nn's recurrent layers; num_gates counts the candidates too."""

    def weight_shapes(input_size: int, hidden_size: int) -> CellWeights[Shape]:
        height = num_gates * hidden_size
        return CellWeights((height, input_size), (height, hidden_size), (height,), (height,))

    return weight_shapes


CELL_SPECS: dict[str, CellSpec] = {
    "lstm": CellSpec(
        gates=("input", "forget", "output"),
        candidates=("cell_candidate",),
        state=("hidden", "cell"),
        weight_shapes=_stacked(4),
        onnx=OnnxOperator(name="LSTM", gates=(0, 3, 1, 2)),  # input, output, forget, candidate
    ),
    "gru": CellSpec(
        gates=("reset", "update"),
        candidates=("new",),
        state=("hidden",),
        weight_shapes=_stacked(3),
        # Update, reset, new. The reset gate acts after the product with the state, as in torch.
        onnx=OnnxOperator(name="GRU", gates=(1, 0, 2), attributes={"linear_before_reset": 1}),
    ),
    "rnn": CellSpec(
        gates=(),
        candidates=(),
        state=("hidden",),
        weight_shapes=_stacked(1),
        onnx=OnnxOperator(name="RNN", gates=(0,)),
    ),
}


def find_spec(cell: str) -> CellSpec:
    """The entry of a cell. Raises ConfigError when there is none of that name."""
    if cell not in CELL_SPECS:
        raise ConfigError(f"{unknown_name('cell', cell, CELL_SPECS)}; the cells are {', '.join(CELL_SPECS)}")
    return CELL_SPECS[cell]
