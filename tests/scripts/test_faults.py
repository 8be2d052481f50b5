"""The attacks of scripts/faults.py: that they find what is wrong, and a quick run of all of them."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import MakeRun

ROOT = Path(__file__).parents[2]
RunScript = Callable[..., subprocess.CompletedProcess[str]]
ImportScript = Callable[[str], ModuleType]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="most attacks need a system that can fork")


ERROR = "textgen: run: no such run directory"


@pytest.mark.parametrize(
    ("code", "err", "words"),
    [
        (0, "a note", ""),
        (1, ERROR, ""),
        (2, f"a note\n{ERROR}", ""),
        (130, "textgen: interrupted", ""),
        (-9, "", ""),
        (1, "", "0 error messages"),
        (1, f"{ERROR}\nanother line", "1 error messages"),
        (1, f"{ERROR}\n{ERROR}", "2 error messages"),
        (3, ERROR, "exit code 3"),
        (-11, "", "SIGSEGV"),
        (1, "Traceback (most recent call last):\n  File ...\nKeyError: 'x'", "KeyError: 'x'"),
        (0, "thread '<unnamed>' panicked at src/lib.rs:1", "panicked"),
        (0, "/x/textgen/run.py:7: RuntimeWarning: overflow", "RuntimeWarning"),
        (1, f"textgen: {'x' * 3000}", "characters"),
    ],
)
def test_only_one_line_that_says_what_is_wrong_is_no_fault(
    import_script: ImportScript, code: int, err: str, words: str
) -> None:
    outcome = import_script("fault_groups.children").Outcome(code, "", err)
    complaint = import_script("fault_groups.tally").complaint_about(outcome)
    assert bool(complaint) == bool(words)
    assert words in complaint


def run_code(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: this one may have threads, and should not be forked."""
    paths = os.pathsep.join([str(ROOT / "scripts"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


FORKED_AND_SPAWNED = """
import json, sys
from pathlib import Path
import fault_groups.children as children
work = Path(sys.argv[1])
for words in json.loads(sys.argv[2]):
    for children.CAN_FORK in (True, False):
        outcome = children.run_textgen(words, work, stdin=b"The d")
        print(json.dumps([outcome.code, outcome.out, outcome.err, outcome.peak_bytes]))
"""


def test_a_fork_gives_the_output_and_exit_code_of_a_process(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run("tiny")
    work = tmp_path / "work"
    work.mkdir()
    sample = ["sample", str(run.path), "--seed", "1", "--prompt-file", "-"]
    commands = [sample, ["sample", "none"], ["--help"], []]
    done = run_code(FORKED_AND_SPAWNED, work, json.dumps(commands))
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [code for code, *_ in outcomes[::2]] == [0, 1, 0, 2]
    assert outcomes[0][1].startswith("The d")
    for forked, spawned in zip(outcomes[::2], outcomes[1::2], strict=True):
        assert forked[:3] == spawned[:3]
        assert forked[3] > 5 * 2**20


WITH_HANDICAP = """
import os, sys
from pathlib import Path
from fault_groups.handicaps import Counter, Handicap
folder, counter = Path(sys.argv[1]), Counter()
eval(sys.argv[2]).take_effect(folder)
try:
    for name in "abc":
        (folder / name).write_bytes(bytes(9000))
    (folder / "a").unlink()
except OSError as error:
    sys.exit(error.errno)
sys.exit(counter.value)
"""


@pytest.mark.parametrize(
    ("handicap", "code", "files"),
    [
        ("Handicap(counter=counter)", 4, {"b": 9000, "c": 9000}),
        ("Handicap(kill_at=3)", -9, {"a": 9000, "b": 9000}),
        ("Handicap(full_at=2)", errno.ENOSPC, {"a": 9000}),
        ("Handicap(full_at=4)", 0, {"b": 9000, "c": 9000}),  # removing needs no space
        ("Handicap(largest_file=5000)", errno.EFBIG, {"a": 5000}),
        ("Handicap(largest_file=5000, killed_at_largest=True)", -25, {"a": 5000}),  # by SIGXFSZ
    ],
)
def test_a_handicap_takes_effect_exactly_where_it_should(
    tmp_path: Path, handicap: str, code: int, files: dict[str, int]
) -> None:
    done = run_code(WITH_HANDICAP, tmp_path, handicap)
    assert done.returncode == code, done.stderr
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == files


def test_a_child_that_does_not_end_is_killed_and_noted(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from fault_groups.children import run_textgen
from fault_groups.tally import Tally
outcome = run_textgen(["--help"], Path(sys.argv[1]), timeout=0)
tally = Tally("texts", tried=1)
tally.look_at("a case", outcome)
print(outcome.code, *tally.row()[:-1])
"""
    (tmp_path / "work").mkdir()
    assert run_code(code, tmp_path / "work").stdout == "-9 texts 1 0 0 0 0 1\n"


@pytest.mark.parametrize("kind", ["bit", "cut", "empty"])
def test_damage_changes_one_bit_or_shortens_the_file(
    import_script: ImportScript, tmp_path: Path, kind: str
) -> None:
    flips = import_script("fault_groups.flips")
    path, content = tmp_path / "file", bytes(range(100))
    for seed in range(20):
        path.write_bytes(content)
        assert flips.damage(path, kind, random.Random(seed))
        damaged = path.read_bytes()
        if kind == "bit":
            changed = [a ^ b for a, b in zip(damaged, content, strict=True)]
            assert sum(bits.bit_count() for bits in changed) == 1
        else:
            assert content.startswith(damaged)
            assert len(damaged) < len(content)
            assert kind == "cut" or not damaged


FLIP = """
import random, sys
from pathlib import Path
from fault_groups import flips
from fault_groups.children import preload
from fault_groups.plan import Plan
from fault_groups.tally import Tally
preload()
subject = Plan(Path(sys.argv[1]), 1, True).subject("plain")
for file in ("text.txt", "half/config.json"):
    tally = Tally("flips")
    for seed in range(5):
        flips._try(subject, flips.Target(file, "score"), random.Random(seed), tally)
    print(tally.tried, *sorted({fault.kind for fault in tally.faults}))
"""


@pytest.mark.slow
def test_another_result_with_exit_code_0_is_found(tmp_path: Path) -> None:
    """A change of the text that is scored gives other figures; of a file that is not read, it does not."""
    done = run_code(FLIP, tmp_path)
    assert done.stdout.splitlines() == ["5 silent", "5"], done.stderr


@pytest.mark.slow
def test_a_quick_run_of_all_groups_prints_a_row_for_each(run_script: RunScript, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    process = run_script("faults.py", "--quick", "--output", str(report))
    assert "Traceback" not in process.stderr, process.stderr
    assert report.read_text() == process.stdout
    table = [line for line in process.stdout.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert [row[0] for row in rows] == ["flips", "kills", "disk", "hostile runs", "texts", "command lines"]
    assert all(int(row[1]) > 3 for row in rows)
    faults = sum(int(cell) for row in rows for cell in row[2:-1])
    assert process.returncode == bool(faults)
    assert process.stdout.count("\n- ") == faults
