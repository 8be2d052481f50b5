"""The script that measures what a large text costs, at a small size."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path


def test_the_script_prints_a_slope_for_everything_that_it_measures(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("".join(f"line {number} of a text\n" for number in range(3000)))
    result = run_script("terabyte.py", str(tmp_path / "a.txt"), "--megabytes", "1", "--megabytes", "2")
    assert result.returncode == 0, result.stderr
    rows = dict(re.findall(r"^\| (\S.*?) +\|(.+)\|$", result.stdout, re.MULTILINE))
    assert {"plan, s", "shards, s", "order of documents, s", "documents", "plan, bytes"} <= rows.keys()
    assert all(row.count("|") == 3 for row in rows.values())
