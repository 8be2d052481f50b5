"""Samples on the screen while a model trains and when it is done, and the commands to go on with."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path

from textgen.generation.generator import Generator
from textgen.settings.config import SampleConfig

SAMPLE_LINES, SAMPLE_COLUMNS = 6, 90  # of a sample on the screen
WORDS = re.compile(r"\w[\w',;-]*(?: \w[\w'-]*)?")  # which no shell changes within double quotes


def samples(
    generator: Generator, documents: str, *, num_samples: int, max_new_tokens: int, seed: int
) -> list[list[str]]:
    """New texts, each as at most SAMPLE_LINES lines for the screen.

    documents: the run's `documents` option. Where each line is a document, a sample is several of them, and
    max_new_tokens is ignored.
    """
    if documents != "line":
        config = SampleConfig(max_new_tokens=max_new_tokens)
        texts = generator.generate(num_samples=num_samples, seed=seed, config=config)
        return [sample_lines(text.text, is_cut=text.finish_reason == "length") for text in texts]
    config = SampleConfig(max_new_tokens=SAMPLE_COLUMNS)
    texts = generator.generate(num_samples=num_samples * SAMPLE_LINES, seed=seed, config=config)
    lines = [shortened(text.text, is_cut=text.finish_reason == "length") for text in texts]
    return [lines[start : start + SAMPLE_LINES] for start in range(0, len(lines), SAMPLE_LINES)]


def sample_lines(text: str, *, is_cut: bool = False) -> list[str]:
    """A sample as a few lines for the screen: with its own line breaks, long lines wrapped, the rest cut off.

    is_cut: the text ended before the model ended it, so that a short last line is left out where there are
    others, and a long one ends with an ellipsis.
    Control characters, which could act on a terminal, are shown as escapes.

    >>> sample_lines("To be,\\n\\nor not to be\\x1b")
    ['To be,', '', 'or not to be\\\\x1b']
    >>> sample_lines("To be,\\nor no", is_cut=True)
    ['To be,']
    """
    own_lines = text.expandtabs(4).strip("\n").split("\n")
    if is_cut and len(own_lines) > 1 and len(own_lines[-1]) <= SAMPLE_COLUMNS:
        own_lines.pop()
        is_cut = False
    lines = [part for line in own_lines for part in textwrap.wrap(_visible(line), SAMPLE_COLUMNS) or [""]]
    if len(lines) > SAMPLE_LINES or is_cut:
        lines = lines[:SAMPLE_LINES]
        lines[-1] = f"{lines[-1].rstrip()} ..."
    while len(lines) > 1 and not lines[-1].strip():
        lines.pop()
    return [line.rstrip() for line in lines]


def shortened(text: str, *, is_cut: bool) -> str:
    """The first screen line of a text, with an ellipsis if there is more of it; is_cut: as in sample_lines.

    >>> shortened("Nether\\tWallop", is_cut=False)
    'Nether  Wallop'
    """
    first, *rest = textwrap.wrap(_visible(text.expandtabs(4).strip("\n")), SAMPLE_COLUMNS) or [""]
    return f"{first} ..." if rest or is_cut else first


def next_commands(run: Path, documents: str, shown: Iterable[list[str]], *, validated: bool) -> list[str]:
    """Commands that someone who has just trained a run may want, each with what it does.

    shown: the samples on the screen, where a prompt is taken from. validated: the run has a validation text,
    which `inspect` shows.
    """
    name = shlex.quote(str(run))
    commands = []
    if documents == "line":
        commands.append((f"textgen sample {name} --num-samples 20 --novel", "lines that are not in the text"))
    else:
        commands.append((f"textgen sample {name}", "another text"))
        beginnings = (WORDS.match(line) for lines in shown for line in lines)
        prompt = next((words.group() for words in beginnings if words), None)
        if prompt is not None:
            commands.append((f'textgen sample {name} --prompt "{prompt}"', "continue a prompt"))
    if validated:
        commands.append((f"textgen inspect {name}", "look inside, on one HTML page"))
    width = max(len(command) for command, _ in commands)
    return [f"{command:{width}}   {purpose}" for command, purpose in commands]


def _visible(line: str) -> str:
    """A line with its control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
