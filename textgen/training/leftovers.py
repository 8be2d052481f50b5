"""Removes what killed processes left half written in a run, or beside it while they created it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from textgen.run import CONFIG, FILES, METRICS, NGRAM, PICTURE, STDIN, TOKENIZER, TRAINING, WEIGHTS
from textgen.system.locks import remove_unless_locked

_FILES = (CONFIG, TOKENIZER, FILES, WEIGHTS, NGRAM, METRICS, PICTURE, STDIN)
# As atomic.py and checkpoint.py name them.
_IN_RUN = re.compile(rf"\.({'|'.join(map(re.escape, _FILES))})\..+")
_IN_TRAINING = re.compile(r"\.step-\d+\..+")
# A run that is being created holds the first few of these.
_CREATED = (CONFIG, TOKENIZER, FILES, TRAINING, STDIN)
_UNFINISHED = [set(_CREATED[:number]) for number in range(len(_CREATED) + 1)]
_CREATING = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}")


def remove_leftovers(run: Path) -> None:
    """Remove what killed processes left half written in a run; the caller holds the run's lock."""
    for folder, ours in ((run, _IN_RUN), (run / TRAINING, _IN_TRAINING)):
        for path in folder.iterdir() if folder.is_dir() else ():
            if ours.fullmatch(path.name):
                remove_unless_locked(path)


def remove_unfinished_runs(folder: Path, name: str | None) -> None:
    """Remove runs in a folder whose processes were killed while they created them.

    name: of the only run to look for, in a folder that is not ours; None: any. A folder is kept if it holds
    anything else than a run does before its first step.
    """
    with suppress(OSError):  # a folder that may not be listed
        for path in folder.iterdir():
            found = _CREATING.fullmatch(path.name)
            if found is None or name not in (None, found["name"]) or not path.is_dir():
                continue
            if {entry.name for entry in path.iterdir()} in _UNFINISHED:
                remove_unless_locked(path)
