"""Find the text of a run again after both were moved together: a folder renamed or copied elsewhere.

    trained as:  /home/ada/poems/runs/first   on  /home/ada/poems/corpus.txt, which is ../../corpus.txt
    now:         /mnt/poems/runs/first        so   /mnt/poems/corpus.txt

Only paths are looked at here. Whether the text is still the same is checked by Run.open_corpus.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def relocated_data(data: Mapping[str, Any], original: str, directory: Path) -> dict[str, Any]:
    """The section `data` of a run's config, its paths replaced where the files were moved with the run.

    original is the run's directory when it was trained, directory the one that it is in now.
    """

    def relocated(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(map(relocated, value))
        return relocate_path(value, original, directory) if isinstance(value, str) else value

    return {
        **data,
        **{name: relocated(data[name]) for name in ("corpus", "val", "test", "tokenizer") if name in data},
    }


def relocate_path(path: str, original: str, directory: Path) -> str:
    """The path, or its new place if nothing is at the path and something is at the new place.

    The new place is as far from `directory` as the path was from `original`. A path may hold wildcards; what
    is not an absolute path ("-", the name of a tokenizer kind) stays as it is.
    """
    if not Path(path).is_absolute() or _exists(path):
        return path
    try:
        moved = os.path.normpath(directory.absolute() / os.path.relpath(path, original))
    except ValueError:  # the run was on another drive of Windows
        return path
    return moved if _exists(moved) else path


def _exists(path: str) -> bool:
    # Unlike Path.exists, these do not raise for a path inside a folder that may not be read.
    return os.path.exists(path) or any(  # noqa: PTH110
        glob.iglob(path, recursive=True)  # noqa: PTH207 (absolute patterns)
    )
