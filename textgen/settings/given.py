"""The options that the user gave to `train`, by section: on the command line, in a file, or from Python.

names and values  ->  UserOptions(data, model, training: a Section each)  ->  a stage takes its section
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from textgen.errors import ConfigError
from textgen.settings.config import TOKENIZER_KINDS, DataConfig, ModelConfig, TrainingConfig
from textgen.settings.option import checked_values, flag, from_mapping, options_of, shown, unknown_name
from textgen.settings.sizes import parse_size

Config = TypeVar("Config")

SECTIONS: dict[str, type] = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig}
FOLLOW_FROM_TEXT = "model_vocab_size", "labels", "start_id"  # fields that the user cannot set
PATHS, FETCH, CACHE_SIZE = ("from_run", "run", "cache_dir"), "fetch", "cache_size"
TEXTS = frozenset({"corpus", "val", "test"})
FILES = TEXTS | {"tokenizer", "from_run"}  # options that name what is read
BUDGETS = ("minutes", "epochs", "steps")


def _not_valid(name: str, value: str) -> str:
    return f"{flag(name)} {shown(value)}: not a valid value; give another, or leave it out"


@dataclass(frozen=True)
class Section(Mapping[str, Any], Generic[Config]):
    """The options of one config class that the user gave; an option that is absent was not given.

    Names, types, ranges and choices are those of the config class. Raises ConfigError.
    """

    config_class: type[Config]
    given: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checked = checked_values(self.config_class, self.given)
        for name, value in checked.items():
            if isinstance(value, str) and (value == "" or "\0" in value):
                raise ConfigError(
                    f"{flag(name)} {shown(value)}: not a valid value; give another, or leave it out"
                )
            if broken := options_of(self.config_class)[name].violation(value):
                raise ConfigError(f"{name}={shown(value)}: {broken}")
        object.__setattr__(self, "given", checked)

    def __getitem__(self, name: str) -> Any:
        return self.given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)

    def value(self, name: str) -> Any:
        """The value that the user gave, or else the default of the config class."""
        return self.given.get(name, options_of(self.config_class)[name].default)

    def replaced(self, **values: Any) -> Section[Config]:
        """The section with these values added or replaced."""
        return Section(self.config_class, {**self.given, **values})

    def without(self, names: Iterable[str]) -> Section[Config]:
        """The section without these options."""
        dropped = set(names)
        kept = {name: value for name, value in self.given.items() if name not in dropped}
        return Section(self.config_class, kept)

    def complete(self, **chosen: Any) -> Config:
        """The config: given values take precedence over chosen ones, and these over defaults.

        Raises ConfigError.
        """
        return from_mapping(self.config_class, {**chosen, **self.given})


@dataclass(frozen=True, kw_only=True)
class UserOptions:
    """All options that the user gave to `train`.

    from_run: the run whose weights and tokenizer to start from. run: the new run's directory. cache_dir:
    where encoded and fetched text is kept. None: not given. fetch: whether a URL may be fetched that a run
    names. cache_size: the most bytes that shards of remote texts may have in the cache. files_of_runs: those
    of the files that a run names, whose options are repeated, and not the user; each with that run's
    directory.

    Raises ConfigError for options that exclude each other.
    """

    data: Section[DataConfig] = Section(DataConfig)
    model: Section[ModelConfig] = Section(ModelConfig)
    training: Section[TrainingConfig] = Section(TrainingConfig)
    from_run: str | None = None
    run: str | None = None
    cache_dir: str | None = None
    fetch: bool = False
    cache_size: int | None = None
    files_of_runs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in PATHS:
            value = getattr(self, name)
            if value is not None and (value == "" or "\0" in value):
                raise ConfigError(
                    f"{flag(name)} {shown(value)}: not a valid value; give another, or leave it out"
                )
        if {"val", "val_fraction"} <= self.data.keys():
            raise ConfigError("--val and --val-fraction do not go together: leave one out")
        if ("val" in self.data or self.data.value("val_fraction") == 0) and "val_order" in self.data:
            raise ConfigError("--val-order does nothing where no text is held out: leave it out")
        if "val" not in self.data and self.data.value("val_fraction") == 0:
            for name in sorted({"patience", "eval_tokens"} & self.training.keys()):
                raise ConfigError(f"{flag(name)} does nothing without validation: leave it out")
        if "patience" in self.training and not self.training.value("early_stopping"):
            raise ConfigError("--patience does nothing without early stopping: leave it out")

    @classmethod
    def from_names(cls, given: Mapping[str, Any]) -> UserOptions:
        """Sort options into their sections by name; None means not given.

        Raises ConfigError for unknown names and for values that the sections refuse.
        """
        sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        places: dict[str, str] = {}
        fetch, cache_size = False, None
        for name, value in given.items():
            if value is None:
                continue
            if name in PATHS:
                if not isinstance(value, str):
                    raise ConfigError(f"{name} must be text in quotes, not {shown(value)}")
                places[name] = value
            elif name == FETCH:
                if not isinstance(value, bool):
                    raise ConfigError(f"{name} must be true or false, not {shown(value)}")
                fetch = value
            elif name == CACHE_SIZE:
                cache_size = parse_size(name, value)
            elif name in option_names():
                sections[_section_of(name)][name] = value
            else:
                raise ConfigError(unknown_name("option", name, [*option_names(), *PATHS, FETCH, CACHE_SIZE]))
        return cls(
            data=Section(DataConfig, sections["data"]),
            model=Section(ModelConfig, sections["model"]),
            training=Section(TrainingConfig, sections["training"]),
            from_run=places.get("from_run"),
            run=places.get("run"),
            cache_dir=places.get("cache_dir"),
            fetch=fetch,
            cache_size=cache_size,
        )

    def names(self) -> dict[str, Any]:
        """All options, by name."""
        places = {name: getattr(self, name) for name in PATHS if getattr(self, name) is not None}
        given: dict[str, Any] = {**self.data, **self.model, **self.training, **places}
        if self.cache_size is not None:
            given[CACHE_SIZE] = self.cache_size
        return given | ({FETCH: True} if self.fetch else {})

    def overridden_by(self, given: UserOptions) -> UserOptions:
        """These options, of a settings file, overridden by those of the command line.

        A budget replaces any other budget, a tokenizer replaces the settings of another one, and an option
        replaces those that it excludes.
        """
        groups = (
            (set(BUDGETS), set(BUDGETS)),
            ({"tokenizer"}, {"tokenizer", "vocab_size", "min_frequency", "end_of_text"}),
            ({"val", "val_fraction"}, {"val", "val_fraction"}),
            ({"val"}, {"val_order"}),
            ({"val_order"}, {"val"}),
            ({"early_stopping", "patience"}, {"early_stopping", "patience"}),
        )
        kept, new = self.names(), given.names()
        for replacing, replaced in groups:
            if new.keys() & replacing:
                kept = {name: value for name, value in kept.items() if name not in replaced}
        repeated = self.files(FILES - new.keys())
        named = {text: run for text, run in self.files_of_runs.items() if text in repeated}
        return dataclasses.replace(UserOptions.from_names(kept | new), files_of_runs=named)

    def texts(self, names: Collection[str] = TEXTS) -> tuple[str, ...]:
        """The texts that are given by these options of the data section."""
        given = [self.data[name] for name in sorted(names) if name in self.data]
        return tuple(text for value in given for text in ((value,) if isinstance(value, str) else value))

    def files(self, names: Collection[str] = FILES) -> tuple[str, ...]:
        """The texts, the tokenizer.json and the run that are given by these options, in that order."""
        tokenizer = self.data.get("tokenizer") if "tokenizer" in names else None
        others = [None if tokenizer in TOKENIZER_KINDS else tokenizer]
        others += [self.from_run if "from_run" in names else None]
        return (*self.texts(TEXTS & set(names)), *filter(None, others))


def option_names() -> list[str]:
    """All options of the three sections that the user can give; every name is in one section only."""
    names = [name for config_class in SECTIONS.values() for name in options_of(config_class)]
    return [name for name in names if name not in FOLLOW_FROM_TEXT]


def _section_of(name: str) -> str:
    return next(section for section, config_class in SECTIONS.items() if name in options_of(config_class))
