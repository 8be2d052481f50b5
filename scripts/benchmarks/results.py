"""Files of results, made anew or appended to, so that a script that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import click


class OutputFile(click.Path):
    """A file to be written: its folder is there, which is known before anything is measured."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The file as a Path."""
        path = Path(super().convert(value, param, ctx))
        if not path.parent.is_dir():
            self.fail(f"{path}: there is no folder {path.parent}", param, ctx)
        return path


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file, one a line; none when there is no file. Raises ClickException."""
    lines: list[dict[str, Any]] = []
    texts = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, text in enumerate(texts, 1):
        try:
            lines.append(dict(json.loads(text)))
        except (TypeError, ValueError) as error:
            raise click.ClickException(f"{path}: line {number} is no result; take it out") from error
    return lines


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Add an object to such a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def text_digest(path: Path) -> str:
    """What tells one text from another, whatever its name."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
