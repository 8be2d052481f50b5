"""Files of results as JSON lines, appended to, so that a script that was stopped can continue."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import click


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file, one per line; none if there is no file. Raises ClickException."""
    lines: list[dict[str, Any]] = []
    texts = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, text in enumerate(texts, 1):
        try:
            lines.append(dict(json.loads(text)))
        except (TypeError, ValueError) as error:
            raise click.ClickException(f"{path}: line {number} is not a result; remove it") from error
    return lines


def append_line(path: Path, line: dict[str, Any]) -> None:
    """Append an object to such a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def text_digest(path: Path) -> str:
    """A digest of a text file's content, independent of its name."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
