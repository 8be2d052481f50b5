"""The table and the text below it: rows, caption, width, and Markdown."""

from __future__ import annotations

from typing import Any

import pytest

from textgen.analysis.comparison.table import caption, markdown, rows, terminal_lines


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


def test_n_grams_are_the_last_column_without_intervals_and_a_dash_where_nothing_applies(
    make_comparison: Any,
) -> None:
    plain = rows(make_comparison(gru=(1.4, 1.5, 1.6)))
    table = rows(make_comparison(gru=(1.4, 1.5, 1.6), ngrams=1.45))
    assert [row[:-1] for row in table] == plain
    column = {label: values[-1] for label, *values in table}
    assert {label: value for label, value in column.items() if value != "–"} == {
        "": "n-grams",
        "parameters": "123,456",
        "training, minutes": "0.05",
        "validation, nats/token": "1.4500",
        "validation, bits/character": "2.0919",
    }


def test_a_table_of_four_columns_fits_80_columns(make_comparison: Any) -> None:
    comparison = make_comparison(gru=(1.1, 1.5, 1.9), cells=("lstm", "gru", "rnn"), ngrams=1.45)
    lines = terminal_lines(comparison, 80)
    table = lines[: lines.index("")]
    assert max(map(len, table)) <= 80
    assert table[0].split() == ["LSTM", "GRU", "RNN", "n-grams"]
    assert markdown(comparison, "A title").splitlines()[3] == "| --- | ---: | ---: | ---: | ---: |"


def test_the_caption_says_what_does_not_apply_to_n_grams(make_comparison: Any) -> None:
    assert "n-grams" not in caption(make_comparison())
    words = caption(make_comparison(ngrams=1.45))
    assert "n-grams: of up to 9 tokens, counted once" in words
    assert "no seeds, so no interval; the minutes and --match do not apply to them" in words
    assert "layers of the same size" in words
    assert "same size" not in caption(make_comparison(cells=("gru",), ngrams=1.45))


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
