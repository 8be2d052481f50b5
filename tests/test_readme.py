"""What the documents show works: every textgen and scripts line of their sh blocks runs, and README's Python.

Lines run in order, since later ones use the runs of earlier ones. Long ones get a smaller budget. Commands
that need a text of your own, or hours, stand in text blocks and do not run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN_FROM = (
    "README.md",
    "scripts/RESULTS.md",
    "scripts/BENCHMARKS.md",
    "textgen/README.md",
    "textgen/training/planning/RECIPE.md",
)
DOCUMENTS = (*RUN_FROM, "CHANGELOG.md", "data/README.md")
SMALL = "--steps 3 --hidden-size 8 --embedding-dim 8".split()
LARGEST_PICTURE = 300_000  # bytes


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(document), flags=re.DOTALL | re.MULTILINE)


def shell_lines() -> list[str]:
    """The lines of the sh blocks that call textgen or a script, each once; lines with && by their parts."""
    found = [
        part.strip().removeprefix(".venv/bin/").split(" | ")[0]
        for document in RUN_FROM
        for block in blocks(document, "sh")
        for line in block.splitlines()
        for part in line.split(" && ")
    ]
    commands: dict[str, str] = {}  # without its comment -> the first line that shows it
    for line in found:
        if line.startswith(("textgen ", "python scripts/")):
            commands.setdefault(shlex.join(shlex.split(line, comments=True)), line)
    return list(commands.values())


def smaller(arguments: list[str]) -> list[str]:
    """The same command with a budget for a test: a few steps of a tiny network, one epoch of regression."""
    program, *rest = arguments
    if program == "scripts/copy_task.py":
        return [*arguments, "--delays", "1,2", "--seeds", "1", "--steps", "3"]
    if program == "scripts/regression.py":
        kept = [argument for argument in arguments if argument != "--keras"]  # that has its own test
        return [*kept, "--epochs", "1", "--repeats", "3"]
    if program == "serve":
        return [*arguments, "--port", "0"]
    if program == "scripts/serve_load.py":
        return [*arguments, "--rounds", "1", "--characters", "20", "--requests", "20"]
    if program == "scripts/benchmark.py":
        return [*arguments, "--rounds", "3", "--only", "textgen --help"]
    if "--dynamic" in rest:
        return [*arguments, "--dynamic-method", "sgd", "--dynamic-window", "500"]
    if "--adapt" in rest:
        return [*arguments, "--adapt-method", "sgd"]
    if program == "gradients" and rest[0].startswith("runs/"):
        return [*arguments, "--steps", "5", "--tokens", "2000"]
    if program not in ("compare", "gradients", "train") or rest[0].startswith("runs/") or "--resume" in rest:
        return arguments
    if "--minutes" in arguments:
        at = arguments.index("--minutes")
        arguments = arguments[:at] + arguments[at + 2 :]
    if program == "compare":
        return [*arguments, "--minutes", "0.04", "--seeds", "1", "--hidden-size", "8"]
    if program == "gradients":
        return [*arguments, "--train-steps", "3", "--hidden-size", "8", "--steps", "5", "--tokens", "2000"]
    if "runs/long" in arguments:  # to be interrupted
        return [*arguments, "--steps", "400", "--evaluations", "2", *SMALL[2:]]
    has_network = "--from" in arguments or "--config" in arguments
    return arguments + (SMALL[:2] if has_network else SMALL)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a fresh clone."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("data", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def environment(cwd: Path) -> dict[str, str]:
    return os.environ | {"XDG_CACHE_HOME": str(cwd / "cache"), "PYTHONPATH": str(ROOT)}


def start(line: str, cwd: Path) -> subprocess.Popen[str]:
    program, *arguments = shlex.split(line, comments=True)
    module = ["-m", "textgen"] if program == "textgen" else []
    command = [sys.executable, *module, *smaller(arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=cwd, env=environment(cwd), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    )


def press_ctrl_c(process: subprocess.Popen[str], run: Path) -> None:
    deadline = time.monotonic() + 60
    while not (run / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("line", shell_lines(), ids=lambda line: line[:60])
def test_a_command_that_the_documents_show_works(line: str, clone: Path) -> None:
    interrupted = "press Ctrl-C" in line
    process = start(line, clone)
    if interrupted:
        press_ctrl_c(process, clone / "runs" / "long")
    if line.startswith("textgen serve "):
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == (130 if interrupted else 0), err
    assert out or "--output" in line or line.startswith("textgen serve ")


def test_the_python_of_the_readme_works(clone: Path) -> None:
    (interrupted,) = [line for line in shell_lines() if "press Ctrl-C" in line]
    shutil.rmtree(clone / "runs" / "long", ignore_errors=True)  # completed by now; to be interrupted again
    process = start(interrupted, clone)
    press_ctrl_c(process, clone / "runs" / "long")
    process.communicate(timeout=120)
    code = "".join(blocks("README.md", "python"))
    assert "minutes=2" in code
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code.replace("minutes=2", "steps=3, hidden_size=8")],
        cwd=clone,
        env=environment(clone),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_two_commands_are_in_the_readme() -> None:
    first, second = [line for line in read("README.md").splitlines() if line.startswith("python3 -m venv")]
    assert "textgen train data/tales.txt" in first
    assert "textgen sample" in first
    assert second.endswith("-m pytest")


def anchors(text: str) -> set[str]:
    """The names by which GitHub links to the headings of a document."""
    headings = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings_that_exist(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(document)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("document", ["scripts/BENCHMARKS.md", "textgen/training/planning/RECIPE.md"])
def test_the_sections_that_comments_point_to_exist(document: str) -> None:
    sections = {heading.lower() for heading in re.findall(r"^##+ (.*)", read(document), flags=re.MULTILINE)}
    pointer = re.compile(rf"{Path(document).name},((?:[\s#,]|\"[^\"]+\"|and)*)")
    for folder in ("scripts", "textgen"):
        for path in (ROOT / folder).rglob("*.py"):
            for names in pointer.findall(path.read_text(encoding="utf-8")):
                assert {name.lower() for name in re.findall(r'"([^"]+)"', names)} <= sections, path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_document_shows_a_path_of_the_machine_that_it_was_written_on(document: str) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|mnt|opt|Users)/|\b[A-Z]:\\", read(document))
    assert "@@" not in read(document)


@pytest.mark.parametrize("picture", sorted((ROOT / ".github").glob("*.png")), ids=lambda path: path.name)
def test_a_picture_is_small_and_shown(picture: Path) -> None:
    assert picture.stat().st_size < LARGEST_PICTURE
    assert any(f".github/{picture.name})" in read(document) for document in DOCUMENTS)
