"""What of a run's settings may leave the machine: no paths, only the names at their ends.

/home/ada/poems/spring.txt               ->  spring.txt
s3://private-bucket/poems/spring.txt     ->  spring.txt
https://example.org/poems/spring.txt     stays: others can read it there
.../models--ada--poems/snapshots/0a1b2c  ->  hf:ada/poems@0a1b2c
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from textgen.hub.repository import PREFIX, is_on_hub
from textgen.run import TOKENIZER
from textgen.settings.config import DataConfig, RunConfig
from textgen.text.remote.urls import is_url

_FOR_ALL = "http://", "https://", "hf://"
_SNAPSHOT = re.compile(
    r".*[\\/]models--(?P<user>[^\\/]+)--(?P<name>[^\\/]+)[\\/]snapshots[\\/](?P<commit>\w+)"
)


def public_config(config: RunConfig) -> RunConfig:
    """The config of a run for others, which does not say where its files are or were."""
    urls = {text for text in config.data.texts if _is_for_all(text)}
    return dataclasses.replace(
        config,
        data=_public_data(config.data),
        directory=None,
        from_run=None if config.from_run is None else _public_run(config.from_run),
        remote=tuple(entry for entry in config.remote if entry.get("url") in urls),
        # Sizes, speeds, and the fingerprint by which the text is known.
        measured={name: value for name, value in config.measured.items() if not _is_path(value)},
    )


def public_name(path: str) -> str:
    """The last part of a path or URL; a URL that others can read as well stays as it is."""
    if _is_for_all(path):
        return path
    parts = [part for part in re.split(r"[\\/]", path) if part]
    return parts[-1] if parts else path


def _public_data(data: DataConfig) -> DataConfig:
    changed: dict[str, Any] = {
        "corpus": tuple(map(public_name, data.corpus)),
        "val": None if data.val is None else public_name(data.val),
        "test": None if data.test is None else public_name(data.test),
        "include": None if data.include is None else tuple(map(_public_pattern, data.include)),
    }
    if data.uses_tokenizer_file:
        changed["tokenizer"] = TOKENIZER  # the run has it
    return dataclasses.replace(data, **changed)


def _public_pattern(pattern: str) -> str:
    return public_name(pattern) if _is_path(pattern) else pattern


def _public_run(path: str) -> str:
    """The name of the run that another one started from."""
    if (found := _SNAPSHOT.fullmatch(path)) is not None:
        return f"{PREFIX}{found['user']}/{found['name']}@{found['commit']}"
    return path if is_on_hub(path) else public_name(path)


def _is_for_all(text: str) -> bool:
    return is_url(text) and text.lower().startswith(_FOR_ALL)


def _is_path(value: object) -> bool:
    """Whether a value is an absolute path, of any system."""
    return isinstance(value, str) and re.match(r"[\\/~]|[A-Za-z]:[\\/]", value) is not None
