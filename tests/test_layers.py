"""The house's one rule of building: a room imports only rooms above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import textgen

PACKAGE = Path(textgen.__file__).parent
GROUND = ("errors", "version", "atomic", "fields", "moved", "config", "train_options", "device", "plots")
ROOMS = (
    *GROUND,
    "text",
    "run",
    "models",
    "generation",
    "evaluation",
    "training",
    "analysis",
    "cli",
    "__main__",
)
# Where torch may not be imported when the module loads. batches.py ends the text room's part without it.
WITHOUT_TORCH = (*GROUND, "text", "run", "cli")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """The rooms of textgen that a file imports anywhere, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or ""]
            assert names != ["textgen"], f"{path}: import from a room, not from the package"
        rooms |= {name.split(".")[1] for name in names if name.startswith("textgen.")}
    return rooms


def imports_torch_on_loading(path: Path) -> bool:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import) and any(a.name.split(".")[0] == "torch" for a in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            return True
    return False


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    own = ROOMS.index(room_of(path))
    for room in imported_rooms(path):
        assert ROOMS.index(room) <= own, f"{path.relative_to(PACKAGE)} imports {room}, which lies below it"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_is_loaded_only_where_networks_run(path: Path) -> None:
    room = room_of(path)
    if room in WITHOUT_TORCH or (room == "generation" and path.name != "torch_engine.py"):
        assert not imports_torch_on_loading(path)


def test_nothing_is_called_utils() -> None:
    banned = {"utils", "common", "base", "misc", "helpers"}
    assert not [path for path in PACKAGE.rglob("*") if path.stem in banned]
