"""What `textgen export` refuses, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.api import load
from textgen.errors import ConfigError, RunError
from textgen.export.formats import FORMATS, export

if TYPE_CHECKING:
    from tests.conftest import MakeRun


def test_every_format_has_help_and_an_exporter() -> None:
    for form in FORMATS.values():
        assert form.help
        assert callable(form.find())


def test_its_own_file_is_replaced_and_no_other(make_run: MakeRun, tmp_path: Path) -> None:
    run, output = make_run(), tmp_path / "page.html"
    export(run, "html", output, weights="float32")
    before = output.stat().st_size
    export(run, "html", output, weights="float16", cache_dir=str(tmp_path))
    assert output.stat().st_size < before
    output.write_text("<!doctype html>mine")
    with pytest.raises(ConfigError, match="exists, and was not written by textgen export html"):
        export(run, "html", output)
    assert output.read_text() == "<!doctype html>mine"


def test_what_does_not_apply_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    for name, output, options, words in (
        ("htm", None, {}, r"unknown format 'htm'; did you mean 'html'\? The formats are html"),
        ("html", tmp_path / "page.txt", {}, "must end in .html"),
        ("html", tmp_path / "no" / "page.html", {}, "there is no folder"),
        ("html", tmp_path / "page.html", {"weights": "bfloat16"}, "html has float16"),
        ("html", tmp_path / "page.html", {"opset": 15}, "--opset does nothing with html"),
    ):
        with pytest.raises(ConfigError, match=words):
            export(run, name, output, **options)
    (run.path / "model.safetensors").unlink()
    with pytest.raises(RunError, match="no weights yet"):
        export(run, "html", tmp_path / "page.html")


def test_python_exports_what_the_command_does(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    report = load(run.path).export("html", tmp_path / "page.html", weights="float32")
    assert report.files == (tmp_path / "page.html",)
    export(run, "html", tmp_path / "other.html", weights="float32")
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "other.html").read_bytes()
    with pytest.raises(ConfigError, match="the formats are html"):
        load(run.path).export("pdf")
