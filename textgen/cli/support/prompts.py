"""Prompts from the command line, from files and from a keyboard."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from textgen.errors import ConfigError
from textgen.settings.config import RunConfig
from textgen.system.bounded_files import PROMPT_LIMIT, read_at_most

ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\"}


def read_escapes(text: str) -> str:
    r"""Replace the escapes \n, \r, \t and \\, and no others.

    >>> read_escapes(r"a\tb\d") == "a" + chr(9) + r"b\d"
    True
    """
    return re.sub(r"\\[nrt\\]", lambda escape: ESCAPES[escape[0]], text)


def given_prompt(prompt: str | None, prompt_file: str | None, option: str = "--prompt-file") -> str:
    """The content of a file, which `option` named, else a text with escapes. Raises ConfigError."""
    if prompt_file is None:
        return read_escapes(prompt or "")
    try:
        content = _read(prompt_file)
    except OSError as error:
        raise ConfigError(f"{option} {prompt_file}: {error.strerror}") from error
    try:
        return content.decode("utf-8").removeprefix("\ufeff")  # a byte-order mark is not part of the text
    except UnicodeDecodeError as error:
        raise ConfigError(f"{option} {prompt_file}: not UTF-8 at byte {error.start}") from error


def _read(prompt_file: str) -> bytes:
    """The bytes of a file, a pipe or a device; - is standard input. Raises OSError."""
    if prompt_file == "-":
        return read_at_most(sys.stdin.buffer.read, PROMPT_LIMIT, "prompts")
    with Path(prompt_file).open("rb", buffering=0) as file:
        return read_at_most(lambda size: file.read(size) or b"", PROMPT_LIMIT, "prompts")


def prompts_of(prompts_file: str) -> list[str]:
    """The lines of a file, with escapes. Raises ConfigError."""
    content = given_prompt(None, prompts_file, option="--prompts")
    lines = content.removesuffix("\n").split("\n")
    return [read_escapes(line.removesuffix("\r")) for line in lines]


def form_note(config: RunConfig, prompts: Iterable[str]) -> str | None:
    """One line about a prompt in another Unicode form than the training text; None if there is none.

    The same letter is then different characters: é as one, or as e and an accent.
    """
    from textgen.text.normalize import form_of

    trained = config.measured.get("unicode_form")
    if trained is None or config.data.normalize is not None:
        return None
    other = next((form for form in map(form_of, prompts) if form not in (None, trained)), None)
    if other is None:
        return None
    return (
        f"the prompt is in Unicode form {other.upper()}, the training text in {trained.upper()}: "
        f"their accented letters differ; train with --normalize {other} to use either"
    )


def typed_prompts() -> Iterator[str]:
    """Yield the lines of standard input as they come, with a "> " where a person types them."""
    asks = sys.stdin.isatty()
    mark = "\ufeff"  # byte-order mark, at the start only
    while True:
        if asks:
            print("> ", end="", file=sys.stderr, flush=True)
        try:
            line = sys.stdin.readline(PROMPT_LIMIT)
        except UnicodeDecodeError as error:
            raise ConfigError(f"standard input is not {sys.stdin.encoding} text ({error.reason})") from error
        if not line:
            return
        if len(line) == PROMPT_LIMIT:
            raise ConfigError(f"standard input: a line of {PROMPT_LIMIT:,} characters; type shorter prompts")
        yield read_escapes(line.removeprefix(mark).removesuffix("\n").removesuffix("\r"))
        mark = ""
