"""How samples look on the screen, and the commands that training ends with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from textgen.training.samples import SAMPLE_COLUMNS, SAMPLE_LINES, next_commands, sample_lines, shortened

if TYPE_CHECKING:
    from tests.conftest import Cli

TINY = "--steps 12 --evaluations 3 --hidden-size 8 --embedding-dim 4 --batch-size 4 --seq-len 16".split()


def test_a_sample_keeps_its_line_breaks_and_shows_control_characters_as_escapes() -> None:
    assert sample_lines("\nA:\tone\n\nB: \x1b[2J\u0085two\n") == ["A:  one", "", "B: \\x1b[2J\\x85two"]


def test_long_lines_are_wrapped_and_a_long_sample_is_cut_with_an_ellipsis() -> None:
    (first, second) = sample_lines("word " * 30)
    assert len(first) <= SAMPLE_COLUMNS
    assert f"{first} {second}" == "word " * 29 + "word"
    lines = sample_lines("\n".join("abcdefghi"))
    assert lines == ["a", "b", "c", "d", "e", "f ..."]
    assert len(lines) == SAMPLE_LINES


def test_text_without_spaces_is_wrapped_too_and_an_empty_sample_is_one_empty_line() -> None:
    assert max(map(len, sample_lines("x" * 200))) == SAMPLE_COLUMNS
    assert sample_lines("") == [""]
    assert sample_lines("\n\n", is_cut=True) == [" ..."]


def test_of_a_text_that_was_cut_off_the_last_line_is_left_out_or_ends_with_an_ellipsis() -> None:
    assert sample_lines("one\ntwo\n\nthr", is_cut=True) == ["one", "two"]
    assert sample_lines("one line", is_cut=True) == ["one line ..."]
    first, second, third = sample_lines("one\n" + "word " * 30, is_cut=True)
    assert (first, second[:4], third[-8:]) == ("one", "word", "word ...")


def test_a_document_that_is_a_line_is_shown_as_one_line() -> None:
    assert shortened("Nether Wallop\n", is_cut=False) == "Nether Wallop"
    assert shortened("Nether Wa", is_cut=True) == "Nether Wa ..."
    assert len(shortened("word " * 30, is_cut=False)) <= SAMPLE_COLUMNS + len(" ...")


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("Once there was", "Once there"),
        ("ROMEO:", "ROMEO"),
        ('"Yes," said', None),
        ("It's 5 $HOME", "It's 5"),
        ("", None),
    ],
)
def test_the_prompt_to_go_on_with_is_how_a_sample_begins(line: str, prompt: str | None) -> None:
    commands = next_commands(Path("runs/my text"), "block", [["..."], [line, "two"]], validated=True)
    arguments = [shlex.split(command.split("   ")[0]) for command in commands]
    assert arguments[0] == ["textgen", "sample", "runs/my text"]
    expected = "two" if prompt is None else prompt
    assert arguments[1] == ["textgen", "sample", "runs/my text", "--prompt", expected]
    assert arguments[2] == ["textgen", "inspect", "runs/my text"]


def test_without_a_word_there_is_no_prompt_and_without_validation_text_no_inspection() -> None:
    (only,) = next_commands(Path("run"), "file", [["..."]], validated=False)
    assert only.startswith("textgen sample run ")


@pytest.mark.parametrize(("documents", "separator"), [("file", "\n"), ("block", "\n\n"), ("line", "\n")])
def test_training_ends_with_three_samples_and_commands_that_work(
    cli: Cli, documents: str, separator: str
) -> None:
    tales = (f"Tale {number} is of a fox and {number * 7919 % 1000} hens." for number in range(400))
    Path("tales.txt").write_text(separator.join(tales) + "\n")
    told = cli("train", "tales.txt", "--documents", documents, *TINY, "--run", "tales")
    assert told.exit_code == 0, told.stderr
    shown, commands = told.stdout.split("\nSamples:\n")[1].split("\nSaved in tales. Go on with:\n\n")
    assert all(line.startswith("    ") or not line for line in shown.splitlines())
    if documents == "line":
        assert len(shown.splitlines()) == 1 + 3 * SAMPLE_LINES + 2
    for line in commands.splitlines():
        arguments = shlex.split(line.strip().split("   ")[0])
        outcome = cli(*arguments[1:])
        assert outcome.exit_code == 0, outcome.stderr
