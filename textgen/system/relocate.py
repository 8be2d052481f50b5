"""Where the text of a run lies after both were moved: a folder renamed, or copied to another machine.

    begun:  /home/ada/poems/corpus.txt    /home/ada/poems/runs/first      corpus.txt is ../../corpus.txt
    now:    ?                             /mnt/poems/runs/first           so /mnt/poems/corpus.txt

Whether it is the same text is not asked here: Run.open_corpus compares fingerprints.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def data_now(data: Mapping[str, Any], begun: str, directory: Path) -> dict[str, Any]:
    """The section `data` of a run's config, begun in one directory and now in another, with its paths as they
    are now.

    A path that is still there stays, and so does one that is not where the run's directory says either.
    """

    def now(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple(map(now, value))
        return path_now(value, begun, directory) if isinstance(value, str) else value

    return {
        **data,
        **{name: now(data[name]) for name in ("corpus", "val", "test", "tokenizer") if name in data},
    }


def path_now(path: str, begun: str, directory: Path) -> str:
    """The same for one path."""
    if not Path(path).is_absolute() or _is_there(path):  # "-" and the names of tokenizers are no paths
        return path
    try:
        moved = os.path.normpath(directory.absolute() / os.path.relpath(path, begun))
    except ValueError:  # on another drive of Windows than the run was
        return path
    return moved if _is_there(moved) else path


def _is_there(path: str) -> bool:
    # In a folder that one may not look into there is nothing; Path.exists raises.
    return os.path.exists(path) or any(  # noqa: PTH110
        glob.iglob(path, recursive=True)  # noqa: PTH207 (absolute patterns)
    )
