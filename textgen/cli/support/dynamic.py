"""The options of dynamic evaluation, for `eval --dynamic` and `sample --adapt`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgen.cli.support.options import Decorator, config_option, take_given
from textgen.cli.support.remote import fetched_file
from textgen.errors import RunError, TextgenError
from textgen.settings.config import DynamicConfig

if TYPE_CHECKING:
    from textgen.evaluation.adaptation import Adaptation
    from textgen.run import Run
    from textgen.text.encoding import Progress
    from textgen.text.store import TokenStore

# `sample --adapt` predicts nothing while it reads, so it has no predictions to mix.
FIELDS = {
    "dynamic": [entry.name for entry in dataclasses.fields(DynamicConfig)],
    "adapt": [entry.name for entry in dataclasses.fields(DynamicConfig) if entry.name != "mix"],
}


def dynamic_options(switch: str, group: str = "") -> Decorator:
    """One option for each field of DynamicConfig: --dynamic-rate and so on for the switch `dynamic`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(FIELDS[switch]):
            command = config_option(DynamicConfig, name, unset=True, prefix=f"{switch}_", group=group)(
                command
            )
        return command

    return decorate


def take_dynamic_config(switch: str, is_given: bool, settings: dict[str, Any]) -> DynamicConfig | None:
    """Move the options of `switch` from a command's parameters to a config; None without the switch.

    Raises ConfigError for a value out of range, or one given without the switch.
    """
    given = take_given(switch, FIELDS[switch], is_given, settings)
    if not is_given:
        return None
    return DynamicConfig(**({} if "mix" in FIELDS[switch] else {"mix": False}) | given)


def training_store(run: Run, switch: str, cache_dir: Path, progress: Progress) -> TokenStore:
    """The text that a run was trained on, for the method `rms`. Raises RunError when it cannot be read."""
    try:
        return run.open_store(cache_dir, progress)
    except TextgenError as error:
        raise RunError(
            f"{error} The method rms needs the training text; --{switch}-method sgd does not."
        ) from error


def adaptation_to(
    run: Run,
    file: str,
    config: DynamicConfig,
    *,
    reading: Mapping[str, str | None],
    device: str,
    cache_dir: str | None,
    ngram: bool,
) -> Adaptation:
    """Adapt a run to a file; reports on standard error. The other arguments are those of `adapt`.

    reading: how the file is read where that is not as the run's text, as in DataConfig.for_text.
    Only weights and n-grams change: the recurrent state after the file is dropped, so that prompts are read
    as without adaptation, and texts of the same seed can be compared.
    """
    from textgen.evaluation.adaptation import adapt
    from textgen.system.device import resolve_device
    from textgen.system.memory import memory_errors
    from textgen.system.progress import Reporter
    from textgen.text.corpus import Corpus
    from textgen.text.sources import standard_input
    from textgen.text.store import TokenStore, default_cache_dir

    reporter = Reporter(sys.stderr)
    cache = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    file, fetched = fetched_file(file, cache_dir, reporter)
    with standard_input((file,)) as stdin:
        corpus = Corpus.whole(run.config.data, file, stdin, fetched=fetched, **reading)
        store = TokenStore.open_or_build(corpus, run.tokenizer, cache, reporter.work)
    with memory_errors():
        adaptation = adapt(
            run,
            store,
            corpus.parts[0],
            config,
            device=resolve_device(device),
            training_store=lambda: training_store(run, "adapt", cache, reporter.work),
            ngram=ngram,
            progress=reporter.work,
        )
    reporter.line(f"Adapted to {file}: {adaptation.summary()}")
    return adaptation
