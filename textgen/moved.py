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


def config_from(content: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The content of a config.json in this directory, with the paths in it as they are now.

    A path that is still there stays, and so does one that is not where the run's directory says either.
    """
    begun = content.get("directory")
    data = content.get("data")
    if not isinstance(begun, str) or not isinstance(data, Mapping):
        return dict(content)

    def now(value: Any) -> Any:
        if isinstance(value, list):
            return [now(each) for each in value]
        return _path_now(value, begun, directory) if isinstance(value, str) else value

    paths = {name: now(data[name]) for name in ("corpus", "val", "test", "tokenizer") if name in data}
    return {**content, "data": {**data, **paths}, "from_run": now(content.get("from_run"))}


def _path_now(path: str, begun: str, directory: Path) -> str:
    if not Path(path).is_absolute() or _is_there(path):  # "-" and the names of tokenizers are no paths
        return path
    try:
        moved = os.path.normpath(directory.absolute() / os.path.relpath(path, begun))
    except ValueError:  # on another drive of Windows than the run was
        return path
    return moved if _is_there(moved) else path


def _is_there(path: str) -> bool:
    return Path(path).exists() or any(glob.iglob(path, recursive=True))  # noqa: PTH207 (absolute patterns)
