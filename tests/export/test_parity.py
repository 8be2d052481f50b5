"""The loss that an export is measured by is that of `textgen score` and `eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.evaluation.score import Scorer
from textgen.export.parity import Validation, losses
from textgen.export.source import ExportSource
from textgen.run import NGRAM

if TYPE_CHECKING:
    from tests.conftest import Invoke, MakeRun
    from textgen.run import Run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, invoke: Invoke) -> Run:
    from textgen.run import Run

    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(
        "The quick brown fox jumps over the lazy dog. Why? It is not known.\n" * 60
    )
    options = ("--steps", 2, "--hidden-size", 8, "--run", folder / "run", "--cache-dir", folder / "cache")
    invoke("train", folder / "text.txt", *options)
    return Run(folder / "run")


def test_bits_per_character_are_those_of_scoring_the_validation_text(trained: Run, tmp_path: Path) -> None:
    source = ExportSource.open(trained)
    validation = Validation.of(source, tmp_path)
    text = "".join(item for item in trained.open_corpus().stream("val") if isinstance(item, str))
    (piece,) = Scorer.from_run(trained).read([text])
    expected = piece.nats.sum() / np.log(2) / len(text)
    assert validation.bits_per_character(source.engine()) == pytest.approx(expected, rel=1e-4)


def test_each_line_names_its_engine_and_how_much_worse_it_is(trained: Run, tmp_path: Path) -> None:
    source = ExportSource.open(trained)
    rough = source.weights | {"head.bias": source.weights["head.bias"] + np.arange(source.vocab.size) / 2}
    one, other = losses(source, {"the run": source.engine(), "worse": source.engine(rough)}, tmp_path)
    assert one.startswith("the run, with n-grams: ")
    assert one.endswith(" bits/character on all 402 tokens of the validation text")
    assert other.startswith("worse, with n-grams: ")
    assert "(+" in other


def test_a_figure_says_of_what_part_of_run_and_text_it_is(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("textgen.export.parity.MOST_TOKENS", 300)
    source = ExportSource.open(trained, ngram=False)
    (line,) = losses(source, {"the run": source.engine()}, tmp_path)
    assert line.startswith("the run, network alone: ")
    assert line.endswith("on the first 300 tokens of the validation text")
    (trained.path / NGRAM).rename(tmp_path / NGRAM)
    try:
        (line,) = losses(source, {"the run": source.engine()}, tmp_path)
    finally:
        (tmp_path / NGRAM).rename(trained.path / NGRAM)
    assert line.startswith("the run: ")


def test_where_the_text_is_gone_that_is_said(make_run: MakeRun, tmp_path: Path) -> None:
    source = ExportSource.open(make_run())
    (line,) = losses(source, {"the run": source.engine()}, tmp_path)
    assert line.startswith("loss not measured: ")
