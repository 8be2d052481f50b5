"""What each cell is made of, by name."""

import pytest

from textgen.errors import ConfigError
from textgen.settings.cells import CELL_SPECS, CellSpec, find_spec


@pytest.mark.parametrize(
    ("cell", "summary"),
    [("lstm", "input, forget, output + cell candidate"), ("gru", "reset, update + new"), ("rnn", "none")],
)
def test_a_cells_gates_are_summed_up_in_a_few_words(cell: str, summary: str) -> None:
    assert CELL_SPECS[cell].summary == summary


def test_every_cell_has_one_weight_for_the_input_and_one_for_the_state_which_comes_first() -> None:
    for spec in CELL_SPECS.values():
        shapes = spec.weight_shapes(3, 5)
        assert [shape for shape in shapes if shape[1:] == (3,)] == [shapes.weight_ih]
        assert shapes.weight_hh[1] == 5
        assert spec.state[0] == "hidden"


def test_an_unknown_cell_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = CellSpec(gates=(), candidates=(), state=("hidden",), weight_shapes=CELL_SPECS["rnn"].weight_shapes)
    monkeypatch.setitem(CELL_SPECS, "mgu", spec)
    assert find_spec("mgu") is CELL_SPECS["mgu"]
    message = r"unknown cell 'lsmt'; did you mean 'lstm'\?; the cells are lstm, gru, rnn, mgu"
    with pytest.raises(ConfigError, match=message):
        find_spec("lsmt")
