"""The pictures of an inspection, for texts and names of any kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from textgen.analysis.inspection.inspection import Inspection
from textgen.analysis.inspection.pictures import GATES, SATURATION, SURPRISAL, draw_pictures
from textgen.plots.curves import LossCurve, draw_comparison, draw_loss
from textgen.plots.style import drawable
from textgen.plots.text_maps import HeatMap, draw_gates, draw_saturation, draw_surprisal

Inspect = Callable[..., Inspection]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("lstm", [SURPRISAL, GATES, SATURATION]),
        ("gru", [SURPRISAL, GATES, SATURATION]),
        ("rnn", [SURPRISAL, GATES]),
    ],
)
def test_each_cell_has_its_pictures(
    inspect_text: Inspect, tmp_path: Path, cell: str, names: list[str]
) -> None:
    inspection = inspect_text(cell=cell, num_layers=2, hidden_size=4)
    folder = tmp_path / "pictures"
    folder.mkdir()
    drawn = draw_pictures(inspection, inspection.units(None), folder)
    assert [path.name for path in drawn] == names
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_characters_without_a_glyph_are_drawn_as_boxes(tmp_path: Path) -> None:
    path, title = tmp_path / "a.png", "诗: 1 x 8 lstm"
    validated = [{"kind": "val", "epoch": 1.0, "nats_per_token": 2.0, "best": True}]
    draw_loss(validated, title, path)
    draw_comparison({"LSTM": [LossCurve([1, 2], [1.0, 2.0], [2.0, 1.0])]}, title, path)
    draw_surprisal(["a"], np.array([1.0]), title, path)
    draw_gates([HeatMap("gate", np.ones((1, 1)), signed=False)], ["0:0"], ["a"], title, path)
    draw_saturation({"forget": (np.ones((1, 2)), np.zeros((1, 2)))}, title, path)
    assert drawable(title) == "□: 1 x 8 lstm"


def test_a_text_of_one_character_is_drawn(inspect_text: Inspect, tmp_path: Path) -> None:
    inspection = inspect_text("x", known="xy$\n", hidden_size=4)
    assert len(draw_pictures(inspection, inspection.units(None), tmp_path)) == 3


def test_a_surprising_token_has_a_darker_background(tmp_path: Path) -> None:
    draw_surprisal(["  ", "  "], np.array([0.0, 8.0]), "title", tmp_path / "a.png")
    picture = imread(tmp_path / "a.png")[..., 0]
    line = picture[int(0.72 * len(picture))]  # through the one line of text
    assert np.median(line) == 1
    columns = np.flatnonzero((line > 0.2) & (line < 0.5))
    assert len(columns) > 5
    # Two cells of 0.075 inches at 160 points an inch, after the first two and the margin.
    assert columns.min() >= (0.2 + 2 * 0.075) * 160 - 1
    assert columns.max() <= (0.2 + 4 * 0.075) * 160 + 1


def test_an_open_gate_is_black_and_a_shut_one_white(tmp_path: Path) -> None:
    gate = HeatMap("gate", np.array([[0.0] * 40 + [1.0] * 40]), signed=False)
    draw_gates([gate], ["0:0"], ["a"] * 80, "title", tmp_path / "a.png")
    picture = imread(tmp_path / "a.png")[..., :3].mean(axis=2)
    middle = picture[len(picture) // 2]
    longest = [len(run) for run in "".join("#" if value < 0.05 else " " for value in middle).split()]
    assert max(longest) > 0.3 * len(middle)
