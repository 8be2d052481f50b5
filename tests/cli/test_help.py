"""The help of every command: examples that work, and its options under headings, a line each."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import click
import pytest

from textgen.cli import COMMANDS, group

if TYPE_CHECKING:
    from tests.conftest import Cli

HEADINGS = {
    "": ["Examples", "Commands", "Options"],
    "train": [
        "Examples", "Common options", "Text", "Network", "Regularisation", "Optimisation",
        "Budget and validation", "Device", "Output",
    ],
    "sample": ["Examples", "Common options", "Sampling", "Copying", "Adaptation", "Output"],
    "eval": ["Examples", "Common options", "Text", "Dynamic evaluation", "Novelty", "Output"],
    "score": ["Examples", "Common options", "Text", "Device", "Output"],
    "compare": [
        "Examples", "Common options", "Text", "Network", "Regularisation", "Optimisation", "Device", "Output",
    ],
    "inspect": ["Examples", "Common options", "Text", "Output"],
    "gradients": ["Examples", "Common options", "Training, with a CORPUS", "Output"],
    "ngram": ["Examples", "Common options", "Output"],
    "serve": ["Examples", "Common options", "Safety", "Output"],
    "push": ["Examples", "Common options", "Output"],
    "export": ["Examples", "Common options", "Output"],
    "encode": ["Examples", "Common options", "Text", "Output"],
    "info": ["Examples", "Output"],
    "cache": ["Examples", "Common options", "Output"],
}  # fmt: skip


@pytest.fixture(params=HEADINGS, ids=lambda name: name or "textgen")
def name(request: pytest.FixtureRequest) -> str:
    """A command; "" is textgen itself."""
    return str(request.param)


@pytest.fixture
def help(name: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its help, 100 columns wide."""
    monkeypatch.setenv("COLUMNS", "100")
    return cli(*name.split(), "--help").stdout


def section(help: str, heading: str) -> list[str]:
    """The lines below a heading."""
    lines = help.partition(f"\n{heading}:\n")[2].splitlines()
    return lines[: lines.index("")] if "" in lines else lines


def test_every_command_is_tested() -> None:
    assert HEADINGS.keys() == {"", *COMMANDS}


def test_the_headings_are_in_order(name: str, help: str) -> None:
    assert [line[:-1] for line in help.splitlines() if re.fullmatch(r"\w.*:", line)] == HEADINGS[name]


def test_every_option_takes_one_line(name: str, help: str) -> None:
    for heading in HEADINGS[name]:
        for line in section(help, heading):
            assert re.match(r"  \S", line), f"not on one line: {line}"
            assert len(line) <= 100
            assert not line.endswith("...")


def test_there_are_at_most_five_examples_and_their_options_exist(help: str) -> None:
    examples = section(help, "Examples")
    assert 1 < len(examples) <= 5
    for line in examples:
        command_line, description = re.split(r"\s{2,}", line.strip())
        assert description
        program, name, *arguments = shlex.split(command_line.split("|")[-1])
        assert program == "textgen"
        command = group.get_command(click.Context(group), name)
        assert command is not None
        command.make_context(name, arguments)  # raises for an option that does not exist, or a wrong value


def test_no_help_has_a_percentage(help: str) -> None:
    assert not re.search(r"\d\s*%", help)


def test_an_option_out_of_range_is_refused_with_its_range(cli: Cli) -> None:
    values: list[Any] = [
        ("eval", "--window", 0, "at least 1"),
        ("gradients", "--steps", 10_001, "at most 10,000"),
        ("gradients", "--tokens", 1, "at least 2"),
        ("gradients", "--minutes", "nan", "above 0"),
        ("gradients", "--seed", -1, "0 or more"),
        ("inspect", "--characters", 0, "at least 1"),
    ]
    for command, option, value, range in values:
        error = cli(command, "run", option, value).only_error
        assert option in error
        assert range in error
