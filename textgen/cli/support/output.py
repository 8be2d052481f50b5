"""Where written text goes: standard output, as it is drawn, or a file, whole or not at all."""

from __future__ import annotations

import io
import itertools
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.errors import ConfigError, TextgenError
from textgen.system.atomic import write_file

if TYPE_CHECKING:
    from textgen.generation.sample import Sample

RULE = "-" * 12
SECONDS_BETWEEN_FLUSHES = 1 / 30  # to a terminal: as often as an eye can tell


def writable(path: Path, option: str = "--output") -> Path:
    """Where to write, checked before any work; option is what named it. Raises ConfigError."""
    try:
        path = path.resolve()  # a link stays one: what it points to is written
    except (OSError, RuntimeError) as error:  # Python 3.11's own for links in a circle
        raise ConfigError(f"{option} {path}: a link that leads nowhere; name another place") from error
    if path.exists() and not path.is_file():
        raise ConfigError(f"{option} {path}: not a file; name a file to write")
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"{option} {path}: may not be written; name another place")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{option} {path}: cannot write into {path.parent}; name another place")
    return path


def as_text(samples: list[Sample], *, with_prompt: bool) -> str:
    """All samples, each ending with a newline, and between them a line that says which comes."""
    texts = [_whole_lines((sample.prompt if with_prompt else "") + sample.text) for sample in samples]
    headings = [f"{RULE} sample {number} of {len(texts)} {RULE}\n" for number in range(2, len(texts) + 1)]
    return "".join(itertools.chain([texts[0]], *zip(headings, texts[1:], strict=True)))


def _whole_lines(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def put(content: str, target: Path | None) -> None:
    """Write to the file, whole or not at all, or to standard output."""
    if target is None:
        show([content])
        return
    try:
        write_file(target, _whole_lines(content))
    except OSError as error:
        raise TextgenError(f"--output {target}: {error.strerror}; nothing was written") from error


def show(pieces: Iterable[str]) -> None:
    """Write to standard output, to a terminal as pieces come, to a pipe in blocks; ends with a newline."""
    out = sys.stdout
    # Whoever sets PYTHONUNBUFFERED wants to see text as it comes, but not to pay a system call a character.
    unbuffered = isinstance(out, io.TextIOWrapper) and out.write_through
    at_once = unbuffered or out.isatty()
    if isinstance(out, io.TextIOWrapper):
        # Text is written as drawn, "\r\n" too; what the encoding has no character for becomes "?".
        out.reconfigure(errors="replace", newline="", line_buffering=False, write_through=False)
    flushed, last = 0.0, ""
    try:
        for piece in pieces:
            out.write(piece)
            last = piece or last
            if piece and at_once and time.monotonic() - flushed > SECONDS_BETWEEN_FLUSHES:
                out.flush()
                flushed = time.monotonic()
    finally:
        # After Ctrl-C too: what was drawn stays, on lines of its own.
        if not last.endswith("\n"):
            out.write("\n")
        out.flush()
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(write_through=unbuffered)
