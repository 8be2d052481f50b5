"""The novelty options that `sample` and `eval` share, and the training text that they need."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.cli.support.options import Decorator, config_option, take_given
from textgen.errors import CorpusError, RunError, TextgenError
from textgen.settings.config import NoveltyConfig

if TYPE_CHECKING:
    from textgen.analysis.novelty import NoveltyMeter
    from textgen.analysis.real_text import RealText
    from textgen.run import Run
    from textgen.text.encoded import AnyCorpus
    from textgen.text.encoding import Progress

ALL_FIELDS = tuple(entry.name for entry in dataclasses.fields(NoveltyConfig))


def novelty_options(names: Iterable[str], group: str = "") -> Decorator:
    """One option for each of these fields of NoveltyConfig: --novelty-length and so on."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(tuple(names)):
            command = config_option(NoveltyConfig, name, unset=True, prefix="novelty_", group=group)(command)
        return command

    return decorate


def take_novelty_config(
    names: Iterable[str], is_given: bool, settings: dict[str, Any]
) -> NoveltyConfig | None:
    """Move these options from a command's parameters to a config; None without --novelty.

    Raises ConfigError for a setting out of range, or one given without --novelty.
    """
    given = take_given("novelty", names, is_given, settings)
    return NoveltyConfig(**given) if is_given else None


def training_corpus(run: Run, option: str) -> AnyCorpus:
    """The text that a run was trained on, for an option that needs it.

    Prints a warning if the run continued one that was trained on another text, which is not searched.

    Raises RunError if the text is missing or has changed.
    """
    try:
        corpus = run.open_corpus()
    except (CorpusError, RunError) as error:
        raise RunError(f"{option} needs the text that the run was trained on. {error}") from error
    if (other := _other_text(run)) is not None:
        print(f"The training text of {other} is not searched: copies from it are not found.", file=sys.stderr)
    return corpus


def _other_text(run: Run) -> str | None:
    """The nearest run that this one descends from (--from) and that may have had another text; else None."""
    from textgen.run import Run

    fingerprint = run.measured("corpus_fingerprint")
    seen = {run.path.absolute()}
    while run.config.from_run is not None:
        try:
            source = Run(run.config.from_run)
            if source.measured("corpus_fingerprint") != fingerprint or source.path.absolute() in seen:
                return run.config.from_run
        except TextgenError:  # its directory is missing
            return run.config.from_run
        run = source
        seen.add(run.path.absolute())
    return None


def novelty_meter(
    run: Run, corpus: AnyCorpus, real: RealText, length: int, cache_dir: Path, progress: Progress
) -> NoveltyMeter:
    """The meter that compares texts with a run's training text, next to real text."""
    from textgen.analysis.novelty import NoveltyMeter
    from textgen.text.cache import record_use
    from textgen.text.copies import Copies

    names = run.data.corpus  # where the files are now
    file = Path(names[0]).name if len(names) == 1 and Path(names[0]).is_file() else None
    copies = Copies.open_or_build(corpus, cache_dir, progress)
    record_use(copies.path, run.config.data.corpus, run.path)
    return NoveltyMeter(copies, real, length, file)
