"""Options read from a file: settings in TOML, or another run's config.json.

hidden_size = 512       options by name,
[training]              or in the sections of config.json
minutes = 5
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textgen.errors import ConfigError
from textgen.settings.config import DataConfig, TrainingConfig
from textgen.settings.given import FETCH, FOLLOW_FROM_TEXT, SECTIONS, UserOptions
from textgen.settings.option import checked_values, unknown_name
from textgen.system.bounded_files import (
    RUN_FILE_LIMIT,
    SETTINGS_LIMIT,
    parse_json,
    parse_toml,
    read_bounded,
)
from textgen.system.relocate import relocate_path, relocated_data


def read_options(path: Path) -> UserOptions:
    """The options of a TOML file, or of a run, given as its directory or config.json.

    Raises ConfigError when the file cannot be read, and for names and values that cannot be used.
    """
    if path.is_dir():
        path = path / "config.json"
    try:
        content = _content(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise ConfigError(f"{path}: not valid {kind} ({error})") from error
    try:
        names = _of_run(content, path) if path.suffix == ".json" else _of_settings(content)
        options = UserOptions.from_names(names)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if path.suffix != ".json":
        return options
    return dataclasses.replace(options, files_of_runs=dict.fromkeys(options.files(), str(path.parent)))


def _content(path: Path) -> Any:
    """The content of a JSON or TOML file. Raises OSError or ValueError."""
    if path.suffix == ".json":
        return parse_json(read_bounded(path, RUN_FILE_LIMIT, "the config.json of a run"))
    return parse_toml(read_bounded(path, SETTINGS_LIMIT, "a settings file").decode("utf-8"))


def _of_settings(content: dict[str, Any]) -> dict[str, Any]:
    """The options of a settings file, by name."""
    names: dict[str, Any] = {}
    for name, value in content.items():
        inside = {name: value}
        if isinstance(value, dict):
            if name not in SECTIONS:
                hint = f"the sections are {', '.join(SECTIONS)}"
                raise ConfigError(unknown_name("section", name, SECTIONS, hint))
            inside = checked_values(SECTIONS[name], value)
        if repeated := names.keys() & inside.keys():
            raise ConfigError(f"{min(repeated)} is given twice; leave one out")
        names |= inside
    if "from" in names:  # as on the command line; a Python name cannot be `from`
        if "from_run" in names:
            raise ConfigError("from and from_run are the same; leave one out")
        names["from_run"] = names.pop("from")
    if isinstance(names.get("corpus"), str):
        names["corpus"] = [names["corpus"]]
    return names


def _of_run(content: Any, path: Path) -> dict[str, Any]:
    """The options that repeat the run of a config.json, with its paths where the files are now."""
    if not isinstance(content, dict) or not SECTIONS.keys() <= content.keys():
        raise ConfigError("not the config.json of a run; settings files are TOML")
    for name in SECTIONS:
        if not isinstance(content[name], dict):
            raise ConfigError(f"{name} must be an object of names and values")
    directory = content.get("directory")
    if isinstance(directory, str):
        content["data"] = relocated_data(content["data"], directory, path.parent)
        if isinstance(content.get("from_run"), str):
            content["from_run"] = relocate_path(content["from_run"], directory, path.parent)
    # The size of the model vocabulary follows from the text; format 1 called it vocab_size.
    computed = {*FOLLOW_FROM_TEXT, "vocab_size"}
    model = {name: value for name, value in content["model"].items() if name not in computed}
    names: Mapping[str, Any] = content["data"] | model | content["training"]
    if FETCH in names:  # the user's permission, which a run from a stranger cannot give itself
        raise ConfigError(unknown_name("option", FETCH, ()))
    # An earlier version, whose config.json lacks some of them, read documents in file order.
    file_order = {"val_order": DataConfig.val_order, "shuffle": TrainingConfig.shuffle}
    names = file_order | dict(names) | {"from_run": content.get("from_run")}
    # Options that another one overrides were not used, and giving both would be refused.
    if names.get("val") is not None:
        names.pop("val_fraction", None)
        names.pop("val_order", None)
    if names.get("val_fraction") == 0:
        names = {name: value for name, value in names.items() if name not in {"val_order", "patience"}}
    if not names.get("early_stopping", True):
        names.pop("patience", None)
    return names
