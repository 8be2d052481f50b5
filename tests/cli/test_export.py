"""`textgen export`: what it writes, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textgen.cli.export import WEIGHTS
from textgen.export.formats import FORMATS

if TYPE_CHECKING:
    from tests.conftest import Cli, MakeRun


def test_the_page_is_written_beside_and_its_size_printed(make_run: MakeRun, cli: Cli, tmp_path: Path) -> None:
    run = make_run("tales")
    done = cli("export", run.path, "html", "--weights", "float32")
    assert done.exit_code == 0, done.stderr
    assert "tales.html: 0." in done.stdout
    assert "MB, weights in float32" in done.stdout
    assert (tmp_path / "tales.html").read_text().startswith("<!doctype html>")
    # The text that the run names is not there.
    assert "loss not measured: " in cli("export", run.path, "html", "--weights", "int8").stdout


def test_help_says_which_types_each_format_takes(cli: Cli) -> None:
    shown = " ".join(cli("export", "--help").stdout.split())
    assert "float16 or int8; html: also float32; weights: also bfloat16. [default: float16]" in shown
    assert FORMATS["html"].weights == ("float16", "float32", "int8")
    assert FORMATS["weights"].weights == ("float16", "bfloat16", "int8")
    assert FORMATS["onnx"].weights == ()
    assert set(WEIGHTS) == {kind for form in FORMATS.values() for kind in form.weights}


def test_bad_input_is_refused_in_a_line(make_run: MakeRun, cli: Cli, tmp_path: Path) -> None:
    run = make_run()
    assert "the formats are " in cli("export", run.path, "pdf").only_error
    assert "no such run directory" in cli("export", tmp_path / "none", "html").only_error
    error = cli("export", run.path, "onnx", "--weights", "int8").only_error
    assert "onnx, whose weights are float32: leave it out" in error
    config = run.path / "config.json"
    config.write_text("{}")
    assert "config.json" in cli("export", run.path, "html").only_error
