"""The wheel and the sdist: what they hold, and that the wheel is all that a fresh environment needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from textgen.version import VERSION

ROOT = Path(__file__).parents[1]
BESIDE = {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO", ".gitignore"}  # of an sdist

pytestmark = pytest.mark.slow


def run(*command: object, **environment: str) -> str:
    """The standard output of a command, which succeeds."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], env=own | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of wheel and sdist, built from a copy, in which building leaves its folders."""
    copy = tmp_path_factory.mktemp("package")
    for name in ("textgen", "tests", "scripts", "data"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copyfile(path, copy / path.name)
    run(sys.executable, "-m", "build", copy)
    return copy / "dist"


def package_files() -> set[str]:
    """What belongs to the package: its modules, the mark of its types, and the parts of its pages."""
    files = (path for path in (ROOT / "textgen").rglob("*") if path.is_file())
    return {
        path.relative_to(ROOT).as_posix()
        for path in files
        if "__pycache__" not in path.parts and path.suffix not in (".md", ".pyc")
    }


def test_an_index_would_accept_both(built: Path) -> None:
    assert sorted(path.name for path in built.iterdir()) == [
        f"textgen-{VERSION}-py3-none-any.whl", f"textgen-{VERSION}.tar.gz",
    ]  # fmt: skip
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())


def test_the_wheel_holds_the_package_its_licence_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    assert "textgen/py.typed" in names
    about = {name for name in names if name.startswith(f"textgen-{VERSION}.dist-info/")}
    assert f"textgen-{VERSION}.dist-info/licenses/LICENSE" in about
    assert names - about == package_files()


def test_the_sdist_holds_what_the_wheel_is_built_from_and_nothing_else(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        members = {member.name for member in sdist if member.isfile()}
    names = {name.removeprefix(f"textgen-{VERSION}/") for name in members}
    assert names == package_files() | BESIDE


def test_the_wheel_alone_trains_and_samples(built: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    bin = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    wheel = next(built.glob("*.whl"))
    run(bin / "python", "-m", "pip", "install", "-q", "-c", ROOT / ".ci" / "constraints.txt", wheel)
    text, directory = tmp_path / "tales.txt", tmp_path / "run"
    shutil.copyfile(ROOT / "data" / "tales.txt", text)
    settings = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    run(bin / "textgen", "train", text, "--steps", 3, "--hidden-size", 8, "--run", directory, **settings)
    assert run(bin / "textgen", "sample", directory, "--seed", 1, "--max-new-tokens", 20, **settings)
    assert VERSION in run(bin / "textgen", "--version")
    assert run(bin / "python", "-I", "-c", "import textgen; print(textgen.__file__)").startswith(
        str(tmp_path)
    )
