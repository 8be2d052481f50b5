"""Figures of several runs: means, differences by seed, and when the common loss was reached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from textgen.analysis.comparison.figures import Comparison, Evaluation, first_reached
from textgen.analysis.comparison.files import comparison_json, write_files
from textgen.analysis.comparison.table import caption, markdown, rows, terminal_lines

CURVE = [Evaluation(10, 100, 1.0, 3.0), Evaluation(20, 200, 2.0, 2.0), Evaluation(40, 400, 4.0, 1.0)]


@pytest.mark.parametrize(
    ("loss", "moment"),
    [
        (3.5, Evaluation(10, 100, 1.0, 3.0)),  # below it already at the first evaluation
        (3.0, Evaluation(10, 100, 1.0, 3.0)),
        (2.5, Evaluation(15, 150, 1.5, 2.5)),
        (2.0, Evaluation(20, 200, 2.0, 2.0)),
        (1.25, Evaluation(35, 350, 3.5, 1.25)),
        (1.0, Evaluation(40, 400, 4.0, 1.0)),
    ],
)
def test_when_a_loss_was_reached_is_interpolated_between_evaluations(loss: float, moment: Evaluation) -> None:
    assert first_reached(CURVE, loss) == moment


def test_the_first_time_that_a_loss_was_reached_counts() -> None:
    rising = [*CURVE[:2], Evaluation(30, 300, 3.0, 2.9), CURVE[2]]
    assert first_reached(rising, 2.0).step == 20


def test_the_common_loss_is_the_worse_cells_and_the_better_cell_reached_it_earlier(
    make_comparison: Any,
) -> None:
    comparison: Comparison = make_comparison(gru=(1.8, 1.5, 1.2))
    assert comparison.common_nats_per_token == {1: 1.8, 2: 1.5, 3: 1.5}
    assert comparison.common_loss == pytest.approx(1.6)
    lstm, gru = comparison.cells
    # The LSTM falls from 2.25 at one minute to 1.5 at two, the third GRU from 2.1 to 1.2.
    assert lstm.minutes_to_common_loss == pytest.approx((1.6 + 2 + 2) / 3)
    assert gru.minutes_to_common_loss == pytest.approx((2 + 2 + 1 + 2 / 3) / 3)
    assert comparison.minutes_saved("gru", "lstm") == pytest.approx([-0.4, 0, 1 / 3])
    assert lstm.steps_to_common_loss == pytest.approx((80 + 100 + 100) / 3)


def test_cells_are_compared_seed_by_seed(make_comparison: Any) -> None:
    comparison: Comparison = make_comparison(gru=(1.6, 1.5, 1.2), gru_speed=(500, 1000, 2000))
    assert comparison.differences("gru", "lstm") == pytest.approx([0.1, 0.0, -0.3])
    assert comparison.speed_ratios("gru", "lstm") == [0.5, 1.0, 2.0]


def test_speeds_are_uneven_when_the_seeds_of_a_cell_differ_by_more_than_a_fifth(make_comparison: Any) -> None:
    assert make_comparison(gru_speed=(1000, 1100, 1200)).uneven_speeds() == {}
    assert make_comparison(gru_speed=(1000, 1100, 1201)).uneven_speeds() == {"gru": (1000, 1201)}


def test_a_cell_has_means_over_its_seeds_and_from_three_seeds_on_an_interval(make_comparison: Any) -> None:
    gru = make_comparison(gru=(1.4, 1.5, 1.6), gru_speed=(900, 1000, 1400)).cells[1]
    assert gru.nats_per_token.mean == pytest.approx(1.5)
    assert gru.nats_per_token.half_width == pytest.approx(4.3027 * 0.1 / 3**0.5, abs=1e-4)
    assert gru.tokens_per_second == 1100
    assert make_comparison(gru=(1.4, 1.5), gru_speed=(1, 1)).cells[1].nats_per_token.half_width is None


def test_memory_is_unknown_where_no_run_reports_it(make_comparison: Any) -> None:
    assert make_comparison(peak_memory_bytes=None).cells[0].peak_memory_bytes is None
    table = {label: value for label, value, _ in rows(make_comparison(peak_memory_bytes=None))}
    assert table["peak memory, MB"] == "unknown"


@pytest.mark.parametrize("width", [40, 80, 100])
def test_the_table_of_three_cells_fits_80_columns_and_the_text_its_width(
    make_comparison: Any,
    width: int,
) -> None:
    comparison = make_comparison(gru=(1.1, 1.5, 1.9), cells=("lstm", "gru", "rnn"))
    lines = terminal_lines(comparison, width)
    end = lines.index("")
    assert max(map(len, lines[:end])) <= 80
    assert max(map(len, lines[end:])) <= width
    assert lines[0].split() == ["LSTM", "GRU", "RNN"]


def test_every_row_has_its_unit_and_one_column_per_cell(make_comparison: Any) -> None:
    table = rows(make_comparison(gru=(1.4, 1.5, 1.6)))
    figures = {label: values for label, *values in table}
    assert {len(row) for row in table} == {3}
    assert figures["gates"] == ["input, forget, output + cell candidate", "reset, update + new"]
    assert figures["validation, nats/token"] == ["1.5000 ± 0.0000", "1.5000 ± 0.2484"]
    assert figures["peak memory, MB"] == ["400", "400"]
    assert figures["sampling, characters/s"] == ["20,000", "25,000"]


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (1, "One seed per cell, no interval. 2 minutes per run, layers of the same size."),
        (2, "Means over two seeds, no interval."),
        (3, "Means over 3 seeds, ± the 95% confidence interval of the mean (Student's t)."),
    ],
)
def test_the_caption_says_how_the_figures_were_obtained(make_comparison: Any, seeds: int, words: str) -> None:
    assert words in caption(make_comparison(gru=[1.4] * seeds, gru_speed=[1000] * seeds))


def test_markdown_says_the_same_as_the_terminal(make_comparison: Any) -> None:
    comparison = make_comparison(gru=(1.4, 1.5, 1.6))
    text = markdown(comparison, "A title")
    assert text.startswith("# A title\n\n|  | LSTM | GRU |\n| --- | ---: | ---: |\n")
    printed = " ".join(" ".join(terminal_lines(comparison, 80)).split())
    for line in text.splitlines():
        if line.startswith("- "):
            assert line in printed


def test_json_has_every_figure_and_claim(make_comparison: Any) -> None:
    found = json.loads(json.dumps(comparison_json(make_comparison()), allow_nan=False))
    assert {"plan", "runs", "cells", "passes", "findings", "claims", "remarks"} <= found.keys()
    assert found["cells"][1]["nats_per_token"] == {"mean": 1.5, "half_width": 0.0}
    assert found["common_nats_per_token"] == {"1": 1.5, "2": 1.5, "3": 1.5}
    assert len(found["runs"]) == 6
    assert {claim["verdict"] for claim in found["claims"]} == {"supported", "within noise"}


def test_the_picture_is_drawn_for_any_number_of_seeds_and_left_out_without_matplotlib(
    make_comparison: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        comparison = make_comparison(
            gru=[1.4] * number, gru_speed=[1000] * number, cells=("lstm", "gru", "rnn")
        )
        assert write_files(comparison, tmp_path)[-1] == tmp_path / "compare.png"
        assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("textgen.analysis.comparison.files.can_draw", lambda: False)
    written = write_files(make_comparison(), tmp_path)
    assert [path.name for path in written] == ["comparison.json", "comparison.md"]
