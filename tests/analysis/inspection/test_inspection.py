"""Inspections: which units are shown, arrays and figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from textgen.analysis.inspection.inspection import DEFAULT_UNITS, Inspection, write_arrays
from textgen.errors import ConfigError

Inspect = Callable[..., Inspection]


def test_units_are_the_most_selective_or_those_listed(inspect_text: Inspect) -> None:
    inspection = inspect_text(num_layers=2)
    ranking = inspection.selectivity.ranking
    assert inspection.units(None) == inspection.units("64") == ranking  # there are only 32
    assert inspection.units("5") == ranking[:5]
    named = inspection.units("1:4-6, 0:2,1:5")
    assert named == [unit for unit in ranking if unit in {(1, 4), (1, 5), (1, 6), (0, 2)}]


def test_by_default_there_are_64(inspect_text: Inspect) -> None:
    assert len(inspect_text(hidden_size=70).units(None)) == DEFAULT_UNITS


@pytest.mark.parametrize("wanted", ["0", "", "x", "2:0", "0:16", "0:5-3", "0:1-16", "0:1,", "-3", "1.5"])
def test_units_that_do_not_exist_are_refused(inspect_text: Inspect, wanted: str) -> None:
    with pytest.raises(ConfigError, match="--units"):
        inspect_text(num_layers=2).units(wanted)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("text", ["x", "The quick brown fox.\n" * 5])
def test_the_arrays_are_those_in_the_docstring(
    inspect_text: Inspect, tmp_path: Path, cell: str, text: str
) -> None:
    inspection = inspect_text(text, known=text + "yz", cell=cell, num_layers=2)
    write_arrays(inspection, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        arrays = dict(file)
    gates = {"lstm": ("input", "forget", "output"), "gru": ("reset", "update"), "rnn": ()}[cell]
    signed = {"lstm": ("hidden", "cell", "cell_candidate"), "gru": ("hidden", "new"), "rnn": ("hidden",)}[
        cell
    ]
    length, alternatives = len(text), inspection.surprisal.model_ids.shape[1]
    features = len(inspection.features)
    shapes = {
        "text": (),
        **dict.fromkeys(("token_ids", "characters", "bits"), (length,)),
        **dict.fromkeys(("alternatives", "alternative_probabilities"), (length, alternatives)),
        **dict.fromkeys((*gates, *signed), (2, length, 16)),
        **{f"{gate}_{end}": (2, 16) for gate in gates for end in ("shut", "open")},
        "features": (features,),
        "feature_values": (features, length),
        **dict.fromkeys(("selectivity", "selectivity_feature"), (2, 16)),
    }
    assert {name: array.shape for name, array in arrays.items()} == shapes
    assert str(arrays["text"]) == text
    assert all(
        name in (Inspection.arrays.__doc__ or "") for name in shapes if not name.endswith(("shut", "open"))
    )
    decoded = inspection.run.tokenizer.decode(arrays["alternatives"][0, :1])
    assert decoded == inspection.run.tokenizer.token_text(int(inspection.alternative_ids[0, 0]))


def test_the_figures_of_units_agree_with_the_arrays(inspect_text: Inspect) -> None:
    inspection = inspect_text(num_layers=2)
    figures = inspection.as_dict([(1, 3)])
    (unit,) = figures["units"]
    arrays = inspection.arrays()
    assert unit["variance_share"] == arrays["selectivity"][1, 3]
    assert unit["gates"]["forget"]["open_share"] == arrays["forget_open"][1, 3]
    assert figures["bits_per_character"] == pytest.approx(arrays["bits"].sum() / len(str(arrays["text"])))
