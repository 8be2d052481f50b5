"""Writes generated text to standard output, as it is generated, or to a file, atomically."""

from __future__ import annotations

import codecs
import io
import itertools
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textgen.errors import ConfigError, TextgenError
from textgen.settings.config import RECORD
from textgen.system.atomic import write_file

if TYPE_CHECKING:
    from textgen.generation.sample import Sample

RULE = "-" * 12
BETWEEN = {"line": "", "block": "\n"}
SECONDS_BETWEEN_FLUSHES = 1 / 30  # to a terminal: often enough to look continuous


def writable(path: Path, option: str = "--output") -> Path:
    """The resolved path, checked before any work; `option` named it. Raises ConfigError."""
    try:
        path = path.resolve()  # a link is kept, and its target written
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, in Python 3.11
        raise ConfigError(f"{option} {path}: a broken link; name another file") from error
    if path.exists() and not path.is_file():
        raise ConfigError(f"{option} {path}: not a file; name a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"{option} {path}: not writable; name another file")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"{option} {path}: cannot write into {path.parent}; name another folder")
    return path


def as_text(samples: Sequence[Sample], *, with_prompt: bool, documents: str) -> str:
    """All samples, each ending with a newline, and between them what stands between documents of that kind.

    Nothing between lines, and between records where each is one line; a blank line between blocks; a numbered
    heading between whole files, and between other records.
    """
    texts = [_whole_lines((sample.prompt if with_prompt else "") + sample.text) for sample in samples]
    if documents == RECORD and all(text.count("\n") == 1 for text in texts):
        documents = "line"
    if documents in BETWEEN:
        return BETWEEN[documents].join(texts)
    headings = [f"{RULE} sample {number} of {len(texts)} {RULE}\n" for number in range(2, len(texts) + 1)]
    return "".join(itertools.chain(texts[:1], *zip(headings, texts[1:], strict=True)))


def _whole_lines(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def put(content: str, target: Path | None) -> None:
    """Write to the file, atomically, or to standard output. Raises TextgenError."""
    if target is None:
        show([content])
        return
    try:
        write_file(target, _whole_lines(content))
    except OSError as error:
        raise TextgenError(f"--output {target}: {error.strerror}; nothing was written") from error


class _Replacement:
    """Writes "?" for characters that an encoding does not have, as an error handler of codecs.

    count: how many there were.
    """

    name = "textgen.replace"

    def __init__(self) -> None:
        self.count = 0
        codecs.register_error(self.name, self)

    def __call__(self, error: UnicodeError) -> tuple[str, int]:
        """The replacement, and where encoding goes on."""
        if not isinstance(error, UnicodeEncodeError):
            raise error
        self.count += error.end - error.start
        return "?" * (error.end - error.start), error.end


def show(pieces: Iterable[str]) -> None:
    """Write to standard output, to a terminal piece by piece, to a pipe in blocks; ends with a newline.

    Characters that its encoding does not have become "?", which one line on stderr says.
    """
    out = sys.stdout
    # With PYTHONUNBUFFERED text is shown at once, but not with one system call per character.
    unbuffered = isinstance(out, io.TextIOWrapper) and out.write_through
    at_once = unbuffered or out.isatty()
    replacement = _Replacement()
    if isinstance(out, io.TextIOWrapper):
        # No newline translation.
        out.reconfigure(errors=replacement.name, newline="", line_buffering=False, write_through=False)
    flushed, last = 0.0, ""
    try:
        for piece in pieces:
            out.write(piece)
            last = piece or last
            if piece and at_once and time.monotonic() - flushed > SECONDS_BETWEEN_FLUSHES:
                out.flush()
                flushed = time.monotonic()
    finally:
        # After Ctrl-C too, so that what follows begins on a new line.
        if not last.endswith("\n"):
            out.write("\n")
        out.flush()
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(write_through=unbuffered)
        if replacement.count:
            print(
                f"{replacement.count:,} of the characters are not in {out.encoding} and are written as ?: "
                "--output FILE writes them all, and so does PYTHONIOENCODING=utf-8",
                file=sys.stderr,
            )
