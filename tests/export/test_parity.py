"""The loss that an export is measured by is that of `textgen score` and `eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.evaluation.score import Scorer
from textgen.export.parity import Validation, losses
from textgen.export.source import ExportSource

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
    assert one.startswith("the run: ")
    assert "bits/character on validation text" in one
    assert other.startswith("worse: ")
    assert "(+" in other


def test_where_the_text_is_gone_that_is_said(make_run: MakeRun, tmp_path: Path) -> None:
    source = ExportSource.open(make_run())
    (line,) = losses(source, {"the run": source.engine()}, tmp_path)
    assert line.startswith("loss not measured: ")
