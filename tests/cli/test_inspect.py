"""`textgen inspect`: the page, the pictures, the arrays and the figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from textgen.errors import ConfigError, CorpusError, RunError, TextgenError
from textgen.plots import style
from textgen.run import WEIGHTS, Run, save_weights

if TYPE_CHECKING:
    from tests.conftest import Invoke

    Figures = Callable[..., dict[str, Any]]

TINY = "--steps 5 --evaluations 1 --hidden-size 16 --embedding-dim 8 --batch-size 4 --seq-len 16".split()
LINE = 'Here is "a line" of text, and (perhaps) another one.\n'


@pytest.fixture
def inspect(invoke: Invoke) -> Invoke:
    """Run `textgen inspect runs/mine`; its errors are raised."""
    return lambda *arguments, **options: invoke("inspect", "runs/mine", *arguments, **options)


@pytest.fixture
def figures(inspect: Invoke) -> Figures:
    """What `textgen inspect runs/mine ... --json` prints."""

    def run(*arguments: object, **options: Any) -> dict[str, Any]:
        found = json.loads(inspect(*arguments, "--json", **options).stdout)
        assert isinstance(found, dict)
        return found

    return run


@pytest.fixture
def here(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run, its corpus and another text, of 1,060 characters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("corpus.txt").write_text(LINE * 200)
    Path("other.txt").write_text(LINE * 20)
    invoke("train", "corpus.txt", "--run", "runs/mine", *TINY)
    return tmp_path


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"corpus.txt", "other.txt", "runs", "cache"}


def test_without_a_text_it_reads_the_beginning_of_the_validation_text(
    inspect: Invoke, figures: Figures, here: Path
) -> None:
    result = inspect("--characters", 700)
    assert written(here) == {"inspect-mine.html"}
    assert "Read the first 700 characters of the validation text of corpus.txt" in result.stderr
    assert f"Open {here / 'inspect-mine.html'} in a browser." in result.stdout
    block = (here / "inspect-mine.html").read_text().split('id="data">')[1].split("</script>")[0]
    text = LINE * 200
    assert "".join(json.loads(block)["pieces"]) == text[int(0.9 * len(text)) :][:700]
    assert figures("--characters", 10)["characters"] == 10


def test_bits_per_character_equal_those_of_eval(
    invoke: Invoke, inspect: Invoke, figures: Figures, here: Path
) -> None:
    evaluated = json.loads(invoke("eval", "runs/mine", "other.txt", "--no-ngram", "--json").stdout)
    found = figures("other.txt")
    assert found["bits_per_character"] == pytest.approx(evaluated["bits_per_character"], rel=1e-6)
    assert (found["tokens"], found["cut"]) == (evaluated["tokens"], False)
    assert f"{evaluated['bits_per_character']:.4f} bits/character" in inspect("other.txt").stdout
    assert found["page"] == str(here / "inspect-mine.html")


@pytest.mark.parametrize("documents", ["line", "block"])
def test_text_between_documents_counts_as_in_eval(invoke: Invoke, here: Path, documents: str) -> None:
    Path("corpus.txt").write_text((LINE + "\n\n") * 200)
    Path("other.txt").write_text((LINE + " \n\n") * 20)
    invoke("train", "corpus.txt", "--run", "runs/other", "--documents", documents, *TINY)
    for text in ([], ["other.txt"]):
        evaluated = json.loads(invoke("eval", "runs/other", *text, "--no-ngram", "--json").stdout)
        read = invoke("inspect", "runs/other", *text, "--characters", 10_000, "--json")
        found = json.loads(read.stdout)
        assert found["bits_per_character"] == pytest.approx(evaluated["bits_per_character"], rel=1e-6)
        assert (found["characters"], found["tokens"]) == (evaluated["characters"], evaluated["tokens"])


def test_standard_input_can_be_inspected(figures: Figures, here: Path) -> None:
    piped = figures("-", "--output", here / "a.html", input=LINE * 20)
    assert piped["bits_per_character"] == figures("other.txt")["bits_per_character"]
    assert piped["text"] == "standard input"


def test_pictures_and_arrays_need_no_page(inspect: Invoke, here: Path) -> None:
    inspect("other.txt", "--png", "pictures", "--npz", "all.npz")
    assert written(here) == {"pictures", "all.npz"}
    assert {path.name for path in (here / "pictures").iterdir()} == {
        "surprisal.png",
        "gates.png",
        "saturation.png",
    }
    with np.load("all.npz") as arrays:
        assert arrays["cell"].shape == (1, len(LINE * 20), 16)
    inspect("other.txt", "--png", "pictures", "--output", "a.html")
    assert written(here) == {"pictures", "all.npz", "a.html"}


def test_the_units_asked_for_are_those_shown(inspect: Invoke, figures: Figures, here: Path) -> None:
    found = figures("other.txt", "--units", "0:3,0:11")
    assert {(unit["layer"], unit["unit"]) for unit in found["units"]} == {(0, 3), (0, 11)}
    shown = inspect("other.txt", "--units", "0:7").stdout.splitlines()[2].split()
    assert shown[0] == "0:7"
    (unit,) = figures("other.txt", "--units", "0:7")["units"]
    assert shown[1] == f"{unit['variance_share']:.1%}"
    assert " ".join(shown[2:]) == unit["feature"]


def test_records_and_encodings_of_the_text_are_read(inspect: Invoke, figures: Figures, here: Path) -> None:
    Path("a.jsonl").write_text(json.dumps({"text": "one"}) + "\n" + json.dumps({"text": "two"}) + "\n")
    assert figures("a.jsonl", "--field", "text")["characters"] == len("one\ntwo")
    Path("latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(CorpusError, match="invalid utf-8"):
        inspect("latin.txt")
    with pytest.raises(CorpusError, match=r"--field text: there is no \.jsonl"):
        inspect("other.txt", "--field", "text")
    assert figures("latin.txt", "--encoding", "latin-1")["characters"] == 4


def test_a_text_that_is_too_short_is_reported(inspect: Invoke, here: Path) -> None:
    Path("one.txt").write_text("x")
    assert "too short" in inspect("one.txt").stdout
    Path("short.txt").write_text(LINE)
    assert "may be chance" in inspect("short.txt").stdout
    assert "chance" not in inspect("other.txt").stdout


def test_without_its_corpus_a_run_can_read_another_text(inspect: Invoke, here: Path) -> None:
    Path("corpus.txt").unlink()
    with pytest.raises(RunError, match=r"corpus.txt.*textgen inspect runs/mine TEXT"):
        inspect()
    inspect("other.txt")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--field", "text"], "--field does nothing without TEXT"),
        (["--encoding", "latin-1"], "--encoding does nothing without TEXT"),
        (["other.txt", "--cache-dir", "x"], "--cache-dir is for the run's own text"),
        (["other.txt", "--npz", "a.npz", "--units", "\u00b2"], "--units"),
        (["other.txt", "--units", "1:0"], "layers 0 to 0 with units 0 to 15"),
        (["other.txt", "--output", "a.txt"], r"must end in \.html"),
        (["other.txt", "--output", "no/a.html"], "cannot write into"),
        (["other.txt", "--npz", "a.bin"], r"must end in \.npz"),
        (["other.txt", "--png", "other.txt"], "not a folder"),
    ],
)
def test_invalid_options_are_refused_and_nothing_is_written(
    inspect: Invoke, arguments: list[str], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        inspect(*arguments)
    assert written(Path()) == set()


@pytest.mark.usefixtures("here")
def test_a_text_that_is_empty_or_missing_is_refused(inspect: Invoke) -> None:
    Path("empty.txt").touch()
    for name in ("empty.txt", "missing.txt"):
        with pytest.raises(CorpusError, match=name):
            inspect(name)


def test_nan_weights_are_a_one_line_error(inspect: Invoke, here: Path) -> None:
    path = here / "runs" / "mine" / WEIGHTS
    weights = Run(path.parent).load_weights()
    save_weights(path, weights | {"head.bias": np.full_like(weights["head.bias"], np.nan)})
    with pytest.raises(RunError, match=r"head\.bias has the value nan.* it is damaged"):
        inspect("other.txt", "--json")
    assert written(here) == set()


@pytest.mark.usefixtures("here")
def test_pictures_without_matplotlib_name_the_extra(inspect: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "can_draw", lambda: False)
    with pytest.raises(ConfigError, match=r"textgen\[plot\]"):
        inspect("other.txt", "--png", "pictures")
    inspect("other.txt")


@pytest.mark.usefixtures("here")
def test_a_write_error_is_reported_in_one_line(inspect: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("textgen.analysis.inspection.page.write_file", refuse)
    with pytest.raises(TextgenError, match=r"inspect-mine.html: Input/output error"):
        inspect("other.txt")
