"""Running the scripts in tests as a user does, each in its own process."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RunScript = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_script() -> RunScript:
    """run_script(name, *arguments): run a script of scripts/ with warnings as errors; returns its output."""

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return subprocess.run(
            [sys.executable, f"scripts/{name}", *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": paths, "PYTHONWARNINGS": "error"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def import_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """import_script(name): import a module of scripts/, as the scripts themselves do."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module
