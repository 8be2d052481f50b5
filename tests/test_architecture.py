"""The rules of the architecture: imports go one way, never in a circle, and load torch only for networks; and
every module has its tests where one looks for them.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import textgen
from textgen.cli import COMMANDS

PACKAGE = Path(textgen.__file__).parent
TESTS = Path(__file__).parent
# In the order in which data walks through them; see textgen/README.md.
WITHOUT_TORCH = (
    "errors",
    "version",
    "system",
    "settings",
    "plots",
    "pages",
    "text",
    "measurements",
    "weights",
    "ngram",
    "run",
)
# What a CPU samples and scores with reads them.
MODELS_WITHOUT_TORCH = ("textgen.models", "textgen.models.cost")
PACKAGES = (
    *WITHOUT_TORCH,
    "models",
    "generation",
    "evaluation",
    "distributed",
    "training",
    "analysis",
    "export",
    "hub",
    "api",
    "serving",
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
        assert PACKAGES.index(package_of(module)) <= own, f"{name} imports {module}, which comes after it"


def test_no_file_imports_a_file_that_imports_it() -> None:
    graph = {name: imports(path) - {name} for name, path in NAMES.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


@pytest.mark.parametrize("name", NAMES)
def test_torch_is_loaded_only_where_networks_run(name: str) -> None:
    package = package_of(name)
    if (
        package in (*WITHOUT_TORCH, "export", "hub", "api", "serving", "cli")
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


# The tests of textgen/PACKAGE/MODULE.py are tests/PACKAGE/test_MODULE.py. Listed here are the modules that
# are tested together with another one, or through a command.
TESTED_ELSEWHERE = {
    "textgen.__main__": "test_start.py",
    "textgen.analysis.comparison.runs": "analysis/comparison/test_files.py",
    "textgen.analysis.memory.cell_runs": "cli/test_gradients.py",
    "textgen.analysis.real_text": "analysis/test_novelty.py",
    "textgen.cli": "test_start.py",
    "textgen.cli.push": "hub/test_push.py",
    "textgen.cli.support.dynamic": "cli/test_dynamic.py",
    "textgen.cli.support.novelty": "cli/test_novelty.py",
    "textgen.cli.support.options": "cli/test_help.py",
    "textgen.cli.support.output": "cli/test_sample.py",
    "textgen.cli.support.prompts": "cli/test_sample.py",
    "textgen.cli.support.remote": "cli/test_remote.py",
    "textgen.cli.support.terminal": "cli/test_score.py",
    "textgen.errors": "cli/test_errors.py",
    "textgen.evaluation.adaptation": "cli/test_dynamic.py",
    "textgen.evaluation.cross_entropy": "evaluation/test_report.py",
    "textgen.evaluation.summary": "evaluation/test_score.py",
    "textgen.export.html.exporter": "export/test_formats.py",
    "textgen.export.report": "export/test_run_directory.py",
    "textgen.export.source": "export/test_onnx.py",
    "textgen.generation.engine": "generation/test_engines.py",
    "textgen.generation.numpy_engine.engine": "generation/test_engines.py",
    "textgen.generation.numpy_engine.layers": "generation/test_engines.py",
    "textgen.generation.numpy_engine.stack": "generation/test_engines.py",
    "textgen.generation.numpy_engine.thread_tuner": "generation/test_thread_tuner.py",
    "textgen.generation.prompt": "generation/test_loop.py",
    "textgen.generation.request": "generation/test_loop.py",
    "textgen.generation.sample": "generation/test_generator.py",
    "textgen.generation.torch_engine": "generation/test_engines.py",
    "textgen.plots.curves": "analysis/memory/test_report.py",
    "textgen.plots.style": "analysis/inspection/test_pictures.py",
    "textgen.plots.text_maps": "analysis/inspection/test_pictures.py",
    "textgen.serving": "serving/test_asgi.py",
    "textgen.serving.errors": "serving/test_chat.py",
    "textgen.serving.generation_routes": "serving/test_asgi.py",
    "textgen.serving.jobs": "serving/test_chat.py",
    "textgen.serving.models": "serving/test_text_routes.py",
    "textgen.serving.replies": "serving/test_chat.py",
    "textgen.serving.schema": "serving/test_chat.py",
    "textgen.serving.service": "serving/test_asgi.py",
    "textgen.serving.status_routes": "cli/test_serve.py",
    "textgen.settings.option": "settings/test_config.py",
    "textgen.settings.serving": "serving/test_access.py",
    "textgen.text.chunks": "text/test_tokenizer.py",
    "textgen.text.opening": "cli/test_encoded_urls.py",
    "textgen.text.portions": "text/test_split.py",
    "textgen.text.remote.encoded": "cli/test_encoded_urls.py",
    "textgen.text.remote.partial": "text/remote/test_copies.py",
    "textgen.text.round_trip": "text/test_external.py",
    "textgen.text.shard_plan": "text/test_shard_encoding.py",
    "textgen.text.shard_planner": "text/test_shard_encoding.py",
    "textgen.text.sources": "text/test_corpus.py",
    "textgen.text.vocabulary": "text/test_tokenizer.py",
    "textgen.training.new_run": "cli/test_train.py",
    "textgen.training.planning.encode": "cli/test_encode.py",
    "textgen.training.planning.notes": "cli/test_train.py",
    "textgen.training.planning.resolve": "cli/test_train_plan.py",
    "textgen.training.resume": "cli/test_train_resume.py",
    "textgen.training.session": "test_resume.py",
    "textgen.training.setup": "analysis/memory/test_report.py",
    "textgen.training.state": "test_resume.py",
    "textgen.version": "test_start.py",
}


def twin(name: str) -> str:
    """Where the tests of a module are to be found, in tests/."""
    *packages, module = name.split(".")[1:]
    return "/".join([*packages, f"test_{module}.py"])


def defines_something(path: Path) -> bool:
    """False of the __init__.py of most packages, which is a docstring."""
    return path.name != "__init__.py" or len(ast.parse(path.read_text(encoding="utf-8")).body) > 1


def used_by_test(path: Path) -> set[str]:
    """The modules that a test reaches: those that it imports, its commands, and all that these import."""
    reached = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            reached |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            reached |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and node.value in COMMANDS:
            reached.add(f"textgen.cli.{node.value}")
        elif isinstance(node, ast.Constant) and node.value == "textgen":  # python -m textgen
            reached.add("textgen.__main__")
    waiting = reached = reached & NAMES.keys()
    while waiting:
        waiting = {module for name in waiting for module in imports(NAMES[name])} - reached
        reached = reached | waiting
    return reached


@pytest.mark.parametrize("name", [name for name, path in NAMES.items() if defines_something(path)])
def test_every_module_has_its_own_tests_or_is_listed_with_those_that_test_it(name: str) -> None:
    here = f'"{name}" of TESTED_ELSEWHERE in tests/test_architecture.py'
    if (TESTS / twin(name)).is_file():
        assert name not in TESTED_ELSEWHERE, f"there is tests/{twin(name)}: remove {here}"
        return
    assert name in TESTED_ELSEWHERE, (
        f"{name} has no tests/{twin(name)}: write it, or name the file of its tests as {here}"
    )
    elsewhere = TESTS / TESTED_ELSEWHERE[name]
    assert elsewhere.is_file(), f"there is no tests/{TESTED_ELSEWHERE[name]}: correct {here}"
    assert name in used_by_test(elsewhere), (
        f"tests/{TESTED_ELSEWHERE[name]} neither imports {name} nor runs a command that does: correct {here}"
    )


def test_the_list_of_tests_names_no_module_that_is_gone() -> None:
    gone = TESTED_ELSEWHERE.keys() - NAMES.keys()
    assert not gone, f"no such modules: remove {sorted(gone)} from TESTED_ELSEWHERE"
