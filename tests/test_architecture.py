"""The rules of the architecture: imports go one way, never in a circle, and load torch only for networks."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import textgen

PACKAGE = Path(textgen.__file__).parent
# In the order in which data walks through them; see textgen/README.md.
WITHOUT_TORCH = ("errors", "version", "system", "settings", "plots", "text", "run")
# What a CPU samples and scores with reads them.
MODELS_WITHOUT_TORCH = ("textgen.models", "textgen.models.weights", "textgen.models.cost")
PACKAGES = (
    *WITHOUT_TORCH,
    "models",
    "generation",
    "evaluation",
    "training",
    "analysis",
    "api",
    "cli",
    "__main__",
)
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path): path for path in MODULES}


def package_of(name: str) -> str:
    return name.split(".")[1]


def is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(path: Path, *, for_types: bool = True) -> set[str]:
    """The modules of textgen that a file imports anywhere, inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not for_types:
        tree.body = [node for node in tree.body if not is_type_checking(node)]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("textgen.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            assert module != "textgen", f"{path}: import from a module, not from the package"
            if module.startswith("textgen."):
                submodules = {f"{module}.{alias.name}" for alias in node.names} & NAMES.keys()
                found |= submodules or {module}
    return found


def imports_torch_on_loading(path: Path) -> bool:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import) and any(a.name.split(".")[0] == "torch" for a in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            return True
    return False


@pytest.mark.parametrize("name", NAMES)
def test_a_package_imports_only_packages_above_it(name: str) -> None:
    own = PACKAGES.index(package_of(name))
    for module in imports(NAMES[name]):
        assert PACKAGES.index(package_of(module)) <= own, f"{name} imports {module}, which lies below it"


def test_no_file_imports_a_file_that_imports_it() -> None:
    graph = {name: imports(path) - {name} for name, path in NAMES.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


@pytest.mark.parametrize("name", NAMES)
def test_torch_is_loaded_only_where_networks_run(name: str) -> None:
    package = package_of(name)
    if (
        package in (*WITHOUT_TORCH, "api", "cli")
        or name in MODELS_WITHOUT_TORCH
        or (package == "generation" and not name.endswith("torch_engine"))
    ):
        assert not imports_torch_on_loading(NAMES[name])


@pytest.mark.parametrize("name", [*MODELS_WITHOUT_TORCH, "textgen.generation.generator"])
def test_loading_it_loads_no_torch_by_any_way(name: str) -> None:
    code = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_nothing_is_called_utils() -> None:
    banned = {"utils", "common", "base", "misc", "helpers"}
    assert not [path for path in PACKAGE.rglob("*") if path.stem in banned]
