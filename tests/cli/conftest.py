"""The folder in which the tests of the commands run textgen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))


@pytest.fixture
def text() -> str:
    """The content of corpus.txt."""
    return TEXT


@pytest.fixture
def cli(cli: Callable[..., Any], tmp_path: Path, text: str) -> Callable[..., Any]:
    """cli("train", "corpus.txt", ...): run textgen in this process, in a folder with corpus.txt."""
    (tmp_path / "corpus.txt").write_text(text)
    return cli
