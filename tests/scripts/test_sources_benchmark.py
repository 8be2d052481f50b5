"""The script that measures sources of text, at a small size."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from textgen.settings.config import DataConfig
from textgen.text.corpus import Corpus

RunScript = Callable[..., subprocess.CompletedProcess[str]]


def test_every_source_holds_the_same_text(import_script: Callable[[str], ModuleType], tmp_path: Path) -> None:
    script = import_script("sources_benchmark")
    text = "".join(f"line {number}\n" for number in range(5000))
    for number, write in enumerate(script.CASES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        corpus = Corpus(DataConfig(**write(folder, text, 2, 20)))
        found = "".join(
            item for part in corpus.parts for item in corpus.stream(part) if isinstance(item, str)
        )
        assert found == text * 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory as Linux reports it")
def test_the_script_compares_sources_with_one_file(run_script: RunScript) -> None:
    result = run_script("sources_benchmark.py", "--megabytes", "1", "--files", "50", "--only", "folder")
    assert result.returncode == 0, result.stderr
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) \|", result.stdout, re.MULTILINE)
    assert [name for name, _ in rows] == ["one .txt", "folder"]
