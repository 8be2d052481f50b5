"""`textgen train`: a text becomes a run."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from textgen.cli.support.options import cache_dir_option, config_option, json_option
from textgen.errors import ConfigError
from textgen.settings.config import (
    CELLS,
    DEVICES,
    DOCUMENT_KINDS,
    DROPOUTS,
    PRECISIONS,
    DataConfig,
    ModelConfig,
    TrainingConfig,
)
from textgen.settings.given import TrainOptions, read_options
from textgen.settings.option import flag, from_mapping

CHOICES = {"documents": DOCUMENT_KINDS, "cell": CELLS, "device": DEVICES, "precision": PRECISIONS}
# What is chosen from corpus, budget and device when the user says nothing.
CHOSEN = {
    "vocab_size", "min_frequency", "embedding_dim", "hidden_size", "num_layers", *DROPOUTS, "tie_weights",
    "batch_size", "learning_rate", "beta1", "weight_decay", "temporal_activation_penalty", "minutes",
    "epochs", "eval_tokens", "threads",
}  # fmt: skip


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for every field of the three config classes, in their order."""
    fields = [
        (config_class, name)
        for config_class in (DataConfig, ModelConfig, TrainingConfig)
        for name in config_class.__dataclass_fields__
        if name != "corpus" and (config_class, name) != (ModelConfig, "model_vocab_size")
    ]
    for config_class, name in reversed(fields):
        decorate = config_option(
            config_class,
            name,
            choices=CHOICES.get(name),
            shown_default="chosen" if name in CHOSEN else None,
            unset=True,
        )
        command = decorate(command)
    return command


@click.command(name="train")
@click.argument("corpus", nargs=-1)
@click.option("--run", metavar="DIR", help="The run's directory, new.  [default: runs/<name of the corpus>]")
@click.option(
    "--resume", metavar="DIR", help="Go on with an interrupted run, exactly as if it had never stopped."
)
@click.option(
    "--from",
    "from_run",
    metavar="DIR",
    help="Start from another run's weights and tokenizer, without a CORPUS on its text.",
)
@click.option(
    "--config",
    "settings",
    metavar="FILE",
    help="Read options from a TOML file or a run's config.json; what is given here wins.",
)
@training_options
@cache_dir_option
@json_option("the result")
def command(
    corpus: tuple[str, ...], resume: str | None, settings: str | None, as_json: bool, **said: Any
) -> None:
    """Train a language model on CORPUS: text files, folders, globs, or - for standard input.

    With no option at all, sizes and settings are chosen from the corpus and the device, printed and kept in
    the run's config.json. Each can be set here.
    """
    _load_torch()
    from textgen.system.interrupts import StopRequest
    from textgen.system.progress import Reporter
    from textgen.training.new_run import new_training
    from textgen.training.resume import resumed_training

    given = {name: value for name, value in said.items() if value is not None}
    if corpus:
        given["corpus"] = corpus
    reporter = Reporter(sys.stderr if as_json else sys.stdout)
    with StopRequest() as stop:
        if resume is not None:
            _refuse_beside_resume(given, settings)
            training = resumed_training(Path(resume), _cache_dir(given), reporter)
        else:
            options = read_options(Path(settings)) if settings else {}
            training = new_training(merge(options, given), reporter)
        result = training.complete(stop)
    if as_json:
        print(json.dumps(result))


def _load_torch() -> None:
    """Import torch, and keep all that it brings out of every search for garbage, which would take 0.1 s each.

    Modules stay as long as the process does.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        import torch  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def merge(settings: dict[str, Any], given: dict[str, Any]) -> TrainOptions:
    """The options of a settings file under those of the command line.

    One budget replaces another, a tokenizer replaces all that was said of another, and an option replaces one
    that it does not go with.
    """
    groups = (
        ({"minutes", "epochs", "steps"}, {"minutes", "epochs", "steps"}),
        ({"tokenizer"}, {"tokenizer", "vocab_size", "min_frequency", "end_of_text"}),
        ({"val", "val_fraction"}, {"val", "val_fraction"}),
        ({"early_stopping", "patience"}, {"early_stopping", "patience"}),
    )
    for replacing, replaced in groups:
        if given.keys() & replacing:
            settings = {name: value for name, value in settings.items() if name not in replaced}
    return from_mapping(TrainOptions, settings | given)


def _refuse_beside_resume(given: dict[str, Any], settings: str | None) -> None:
    extra = sorted(given.keys() - {"cache_dir"}) + (["config"] if settings else [])
    if extra:
        flags = {"corpus": "CORPUS", "from_run": "--from"}
        names = ", ".join(flags.get(name, flag(name)) for name in extra)
        raise ConfigError(f"--resume goes on with a run as it was: leave out {names}")


def _cache_dir(given: dict[str, Any]) -> Path | None:
    return Path(given["cache_dir"]) if "cache_dir" in given else None
