"""`sample --novelty`, `sample --avoid-copy` and `eval --novelty` on the command line."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from textgen.errors import ConfigError, RunError, TextgenError
from textgen.settings.config import NoveltyConfig
from textgen.text import copies as copies_module

if TYPE_CHECKING:
    from tests.conftest import Invoke

    Figures = Callable[..., dict[str, Any]]

TINY = "--steps 60 --evaluations 1 --hidden-size 16 --embedding-dim 8 --batch-size 4 --seq-len 16".split()
SHORT = ("--seed", 1, "--max-new-tokens", 60)
SEEN = 1800  # characters of the corpus that training reads


@pytest.fixture(scope="module")
def trained(invoke: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and a run that read it."""
    folder = tmp_path_factory.mktemp("novelty")
    rng = random.Random(1)
    text = "".join(rng.choice("the cat sat on a mat\n") for _ in range(2000))
    (folder / "corpus.txt").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        invoke("train", "corpus.txt", "--run", "run", "--cache-dir", "cache", *TINY)
    return folder


@pytest.fixture
def text(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The corpus, in whose folder the test works; put back afterwards."""
    monkeypatch.chdir(trained)
    monkeypatch.setenv("XDG_CACHE_HOME", str(trained / "cache"))
    text = Path("corpus.txt").read_text()
    yield text
    Path("corpus.txt").write_text(text)


@pytest.fixture
def as_json(invoke: Invoke) -> Figures:
    """What `textgen COMMAND run ... --json` prints."""

    def run(command: str, *arguments: object) -> dict[str, Any]:
        found = json.loads(invoke(command, "run", *arguments, "--json").stdout)
        assert isinstance(found, dict)
        return found

    return run


def longest_copy(new: str, trained_on: str) -> int:
    """The length of the longest copy, by its definition."""
    return max(j - i for j in range(len(new) + 1) for i in range(j + 1) if new[i:j] in trained_on)


def test_line_numbers_are_reported_for_a_text_that_was_moved_with_its_run(
    invoke: Invoke, trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    moved = trained.rename(tmp_path / "moved")
    try:
        result = "".join(invoke("sample", moved / "run", *SHORT, "--novelty").notes)
    finally:
        moved.rename(trained)
    assert "of corpus.txt)" in result.splitlines()[0]


@pytest.mark.usefixtures("text")
@pytest.mark.parametrize("more", [(), ("--num-samples", 3), ("--output", "out.txt")], ids=str)
def test_novelty_leaves_the_text_as_it_is_and_reports_on_standard_error(
    invoke: Invoke, more: tuple[object, ...]
) -> None:
    plain = invoke("sample", "run", *SHORT, *more)
    result = invoke("sample", "run", *SHORT, *more, "--novelty")
    assert result.stdout == plain.stdout
    assert plain.stderr == ""
    lines = result.notes
    assert len(lines) == 1 + 2 * (3 if "--num-samples" in more else 1)
    assert "longest copy: " in lines[0]
    assert "of corpus.txt)" in lines[0]
    assert lines[-1].startswith("real text (val), 60 characters at a time: ")


def test_json_has_figures_for_each_sample_and_the_reference_once(as_json: Figures, text: str) -> None:
    found = as_json("sample", *SHORT, "--num-samples", 2, "--novelty", "--novelty-length", 3)
    assert found["novelty"]["length"] == 3
    assert found["novelty"]["real_text"]["name"] == "val"
    assert found["novelty"]["real_text"]["copied_share"] > 0
    for sample in found["samples"]:
        novelty = sample["novelty"]
        assert novelty["longest_characters"] == longest_copy(sample["text"], text[:SEEN])
        longest = novelty["longest"]
        offset = longest["first"]["offset"]
        assert text[offset:].startswith(longest["text"])
        assert longest["first"]["line"] == text[:offset].count("\n") + 1
        assert longest["text"] in sample["text"]


@pytest.mark.usefixtures("text")
def test_the_length_changes_the_share(as_json: Figures) -> None:
    shares = [
        as_json("sample", *SHORT, "--novelty", *length)["samples"][0]["novelty"]["copied_share"]
        for length in ([], ["--novelty-length", 2])
    ]
    assert shares[0] < shares[1]


def test_avoid_copy_applies_to_one_text_and_to_several_and_counts_the_prompt(
    invoke: Invoke, as_json: Figures, text: str
) -> None:
    prompt = text[100:140]
    plain = invoke("sample", "run", *SHORT, "--no-prompt", "--prompt", prompt).stdout
    kept = [invoke("sample", "run", *SHORT, "--no-prompt", "--prompt", prompt, "--avoid-copy", 3).stdout]
    assert kept[0] != plain
    found = as_json("sample", *SHORT, "--prompt", prompt, "--avoid-copy", 3, "--num-samples", 3)
    assert found["settings"]["avoid_copy"] == 3
    assert found["samples"][0]["text"] == kept[0].removesuffix("\n")
    for sample in found["samples"]:
        assert longest_copy(prompt[-3:] + sample["text"], text[:SEEN]) <= 3


@pytest.mark.usefixtures("text")
def test_in_interactive_mode_every_prompt_has_a_report(invoke: Invoke) -> None:
    result = invoke("sample", "run", *SHORT, "--interactive", "--novelty", input="the\ncat\n")
    assert result.stderr.count(" of corpus.txt)") == result.stderr.count("real text (val)") == 2


@pytest.mark.usefixtures("text")
def test_eval_compares_its_samples_with_the_text_that_it_reads(invoke: Invoke, as_json: Figures) -> None:
    plain = as_json("eval")
    found = as_json("eval", "--novelty", "--novelty-length", 4, "--novelty-samples", 3)
    novelty = found.pop("novelty")
    assert found == plain
    assert novelty["settings"] == vars(NoveltyConfig(length=4, samples=3))
    assert novelty["samples"]["texts"] == len(novelty["samples"]["each"]) == 3
    assert novelty["real_text"]["name"] == "val"
    lines = invoke("eval", "run", "--novelty").stdout.splitlines()
    table = lines[lines.index("") + 1 :]
    assert table[0].split()[:2] == ["samples", "val"]
    assert table[1].split() == ["20", "1", "texts"]
    assert table[-1].startswith("longest copy of all: ")


def test_eval_of_the_training_part_finds_all_of_it_copied(
    invoke: Invoke, as_json: Figures, text: str
) -> None:
    found = as_json("eval", "--part", "train", "--novelty", "--novelty-tokens", 50)
    assert found["novelty"]["real_text"]["copied_share"] == 1
    Path("other.txt").write_text("zyx" * 100 + text[:100] + "zyx" * 100)
    result = invoke("eval", "run", "-", "--novelty", "--json", input=Path("other.txt").read_bytes())
    real = json.loads(result.stdout)["novelty"]["real_text"]
    assert real["name"] == "-"
    assert real["most_longest_characters"] == 100


@pytest.mark.usefixtures("text")
@pytest.mark.parametrize("option", ["samples=2", "tokens=9", "temperature=0", "seed=2", "length=2"])
def test_every_setting_of_eval_changes_the_figures(as_json: Figures, option: str) -> None:
    name, value = option.split("=")
    few = ("--novelty-samples", 4, "--novelty-tokens", 30) if name not in ("samples", "tokens") else ()
    plain, changed = (
        as_json("eval", "--novelty", *few, *more)["novelty"] for more in ((), (f"--novelty-{name}", value))
    )
    assert changed["samples"] != plain["samples"]


# ---- refusals


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("sample", ["--novelty-length", "3"], "--novelty-length does nothing without --novelty"),
        ("eval", ["--novelty-samples", "3"], "--novelty-samples does nothing without --novelty"),
        (
            "sample",
            ["--cache-dir", "x"],
            "--cache-dir does nothing without --adapt, --avoid-copy, --novel or",
        ),
        ("sample", ["--fetch"], "--fetch does nothing without --adapt, --avoid-copy, --novel or"),
        (
            "sample",
            ["--novelty", "--novelty-length", "0"],
            "'--novelty-length': 0 must be",
        ),
        ("eval", ["--novelty", "--novelty-temperature", "-1"], "'--novelty-temperature': -1.0"),
    ],
)
@pytest.mark.usefixtures("text")
def test_options_that_do_nothing_or_are_out_of_range_are_refused(
    invoke: Invoke, command: str, arguments: list[str], message: str
) -> None:
    with pytest.raises((ConfigError, click.ClickException)) as refused:
        invoke(command, "run", *arguments)
    error = refused.value
    assert message in (error.format_message() if isinstance(error, click.ClickException) else str(error))


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("sample", ("--novelty",)),
        ("sample", ("--avoid-copy", 9)),
        ("eval", ("x.txt", "--novelty")),
    ],
    ids=str,
)
@pytest.mark.parametrize("what", ["gone", "changed"])
def test_a_missing_or_changed_corpus_is_a_one_line_error_that_names_the_option(
    invoke: Invoke, text: str, command: str, option: tuple[object, ...], what: str
) -> None:
    Path("x.txt").write_text(text)
    if what == "gone":
        Path("corpus.txt").unlink()
    else:
        Path("corpus.txt").write_text(text + "!")
    name = next(str(word) for word in option if str(word).startswith("--"))
    with pytest.raises(RunError, match=f"^{name} needs the text that the run was trained on. .*corpus.txt"):
        invoke(command, "run", *option)


@pytest.mark.parametrize("option", [("--novelty",), ("--avoid-copy", "9")], ids=str)
def test_without_the_package_one_line_names_the_extra(
    invoke: Invoke, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "pydivsufsort", None)
    with pytest.raises(TextgenError, match=r"pip install 'textgen\[novelty\]'") as caught:
        invoke("sample", "run", *SHORT, *option, "--cache-dir", tmp_path)
    assert "\n" not in str(caught.value)
    assert text


@pytest.mark.usefixtures("text")
def test_an_index_of_only_a_part_is_reported(
    invoke: Invoke, as_json: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies_module, "LARGEST_TEXT", 900)
    cache = ("--cache-dir", tmp_path)
    for option in (("--novelty",), ("--avoid-copy", 9), ("--novelty", "--avoid-copy", 9)):
        assert invoke("sample", "run", *SHORT, *cache, *option).stderr.count("Only 50.0%") == 1
    assert "Only 50.0%" in invoke("eval", "run", "--novelty", *cache).stdout
    assert as_json("sample", *SHORT, *cache, "--novelty")["novelty"]["indexed_share"] == 0.5


def test_the_training_text_of_an_earlier_run_is_reported_as_not_searched(
    invoke: Invoke, text: str, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text(text[::-1])
    cache = ("--cache-dir", tmp_path / "cache")
    same, other, third = (tmp_path / name for name in ("same", "other", "third"))
    budget = ("--steps", 2, "--evaluations", 1, *cache)
    invoke("train", "--from", "run", "--run", same, *budget)
    invoke("train", tmp_path / "other.txt", "--from", same, "--run", other, *budget)
    invoke("train", "--from", other, "--run", third, *budget)
    for run, before in ((same, None), (other, same), (third, same)):
        printed = invoke("sample", run, *SHORT, *cache, "--avoid-copy", 9).stderr
        assert ("is not searched" in printed) == (before is not None)
        assert before is None or f"The training text of {before} is not searched" in printed
    shutil.rmtree(other)
    assert (
        f"The training text of {other} is not searched" in invoke("eval", third, *cache, "--novelty").stderr
    )


@pytest.mark.usefixtures("text")
def test_avoid_copy_and_novelty_load_no_torch() -> None:
    code = (
        "import sys; from textgen.cli import group\n"
        "group.main(['sample', 'run', '--novelty', '--avoid-copy', '9', '--max-new-tokens', '9'],\n"
        "           prog_name='textgen', standalone_mode=False)\n"
        "print('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == "False"
