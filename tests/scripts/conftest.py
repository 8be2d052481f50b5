"""How the tests of the scripts run them: as a user does, as a process of their own."""

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
    """run_script(name, *arguments): a script of scripts/ with warnings as errors, and what it printed."""

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
    """import_script(name): a module of scripts/, found as a script there finds it."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module
