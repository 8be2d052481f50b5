"""The run directory: all that a trained model is, readable by eye, and nothing that can run code.

    runs/<name>/
        config.json          how it was made, complete
        tokenizer.json       text <-> token ids; plain `tokenizers` loads it
        model.safetensors    the best weights by validation loss, with the table of rows
        metrics.jsonl        one line a measurement
        loss.png             the same, drawn
        stdin.txt            the text, where it came from standard input
        training/            what an exact resume needs; may be deleted

Sampling needs the first three only. Weights are NumPy arrays here, so that reading a run loads no torch.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from textgen.errors import ConfigError, CorpusError, RunError
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from textgen.settings.option import from_mapping
from textgen.system.atomic import write_file
from textgen.system.relocate import relocated_data
from textgen.text.corpus import Corpus
from textgen.text.model_vocab import ModelVocab
from textgen.text.store import TokenStore
from textgen.text.tokenizer import Tokenizer

Progress = Callable[[str, int, int], None]  # what is worked on, done, total

FORMAT = 2  # 1 called the model's vocabulary size vocab_size, as the tokenizer's
_READABLE_FORMATS = (1, 2)
CONFIG, TOKENIZER, WEIGHTS, METRICS = "config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl"
TRAINING, STDIN = "training", "stdin.txt"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(
            f"{path}: {error.strerror or error}. Name a run directory, such as runs/<name>."
        ) from error
    except ValueError as error:
        raise RunError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: not a JSON object")
    if content.get("format") not in _READABLE_FORMATS:
        raise RunError(
            f"{path}: format {content.get('format')!r}, but this version of textgen reads format {FORMAT} "
            "and earlier; install a newer textgen"
        )
    return _upgraded(content)


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """A config.json of an earlier format as today's has it."""
    model = content.get("model")
    if content["format"] == 1 and isinstance(model, dict) and "vocab_size" in model:
        content["model"] = {"model_vocab_size": model["vocab_size"]} | {
            name: value for name, value in model.items() if name != "vocab_size"
        }
    return content | {"format": FORMAT}


def read_config(path: Path) -> RunConfig:
    """Read a config.json, complete and strictly checked.

    Raises RunError when there is none, ConfigError when it holds what this version does not know.
    """
    content = _read_json(path)
    missing = {"textgen_version", "data", "model", "training"} - content.keys()
    if missing:
        raise RunError(f"{path}: this is a saved model without a run: no {', '.join(sorted(missing))} in it")
    sections = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig}
    for name, section in sections.items():
        content[name] = from_mapping(section, content[name], f"{path}: {name}")
    return from_mapping(RunConfig, content, str(path))


def config_json(config: RunConfig) -> str:
    """The text of config.json."""
    return json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + "\n"


def save_weights(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as one safetensors file, whole or not at all."""
    write_file(
        path, safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in weights.items()})
    )


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """Read arrays by name. Raises RunError when the file is missing or damaged."""
    try:
        return safetensors.numpy.load_file(path)
    except FileNotFoundError:  # also for one that may not be read
        if path.exists():
            raise RunError(f"{path}: cannot be read; see who may read it") from None
        raise RunError(f"{path}: no such file; {_instead_of_weights(path.parent)}") from None
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path}: not a readable safetensors file ({error})") from error


def _instead_of_weights(directory: Path) -> str:
    """What to do when a run has none."""
    run = Run(directory)
    if not run.is_complete:
        return f"no weights yet. Go on with: textgen train --resume {directory}"
    copies = sorted(run.training_directory.glob("step-*/best.safetensors"))
    if copies:
        return f"the weights of this complete run are gone. Copy them back from {copies[-1]}"
    return f"the weights of this complete run are gone. Train it again: textgen train --config {directory}"


def save_model(directory: Path, config: ModelConfig, weights: Mapping[str, np.ndarray]) -> None:
    """Write a model alone, without a tokenizer or a run: config.json and model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    write_file(
        directory / CONFIG,
        json.dumps({"format": FORMAT, "model": dataclasses.asdict(config)}, indent=2) + "\n",
    )
    save_weights(directory / WEIGHTS, weights)


def load_model(directory: Path) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    """Read the network of a run, or of a model saved alone. Raises RunError or ConfigError."""
    content = _read_json(directory / CONFIG)
    if "model" not in content:
        raise RunError(f"{directory / CONFIG}: no model in it")
    config = from_mapping(ModelConfig, content["model"], f"{directory / CONFIG}: model")
    return config, load_weights(directory / WEIGHTS)


class Run:
    """One run directory, read lazily."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            kind = "a file, not a run's directory" if self.path.is_file() else "no such run directory"
            hint = "; textgen info lists those in runs/"
            if (Path("runs") / self.path.name / CONFIG).is_file():
                hint = f"; did you mean {Path('runs') / self.path.name}?"
            raise RunError(f"{self.path}: {kind}{hint}")

    @cached_property
    def config(self) -> RunConfig:
        """How the run was made. Raises RunError or ConfigError."""
        return read_config(self.path / CONFIG)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's own tokenizer. Raises RunError or TokenizerError."""
        if not (self.path / TOKENIZER).is_file():
            raise RunError(f"{self.path / TOKENIZER}: no such file; a run's tokenizer lies in its directory")
        return Tokenizer.load(self.path / TOKENIZER)

    def measured(self, name: str) -> Any:
        """What was measured before the first step. Raises RunError where it is not there."""
        try:
            return self.config.measured[name]
        except KeyError:
            raise RunError(
                f"{self.path / CONFIG}: no {name} among what was measured; it is damaged"
            ) from None

    @property
    def is_complete(self) -> bool:
        """Whether the run was trained to its end, and validated then."""
        return any(record["kind"] == "final" for record in self.metrics())

    @property
    def has_weights(self) -> bool:
        """Whether there is something to sample from."""
        return (self.path / WEIGHTS).is_file()

    def load_weights(self) -> dict[str, np.ndarray]:
        """The best weights by name, in the names of torch.nn, and the rows' table. Raises RunError."""
        return load_weights(self.path / WEIGHTS)

    @property
    def training_directory(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / TRAINING

    @property
    def data(self) -> DataConfig:
        """As config.data, with the paths as they are now: to read the text with, not to show."""
        config = self.config
        if config.directory is None:
            return config.data
        return DataConfig(**relocated_data(vars(config.data), config.directory, self.path))

    def open_corpus(self) -> Corpus:
        """The text that the run was trained on.

        Raises RunError when it has changed since, CorpusError when it cannot be read.
        """
        # In training/ earlier versions kept it.
        kept = [folder / STDIN for folder in (self.path, self.training_directory)]
        try:
            corpus = Corpus(self.data, next((path for path in kept if path.is_file()), None))
            fingerprint = corpus.fingerprint
        except CorpusError as error:
            raise CorpusError(f"{error} (it is what {self.path} was trained on)") from error
        if fingerprint != self.measured("corpus_fingerprint"):
            raise RunError(
                f"{', '.join(self.data.corpus)}: the corpus has changed since {self.path} was begun. "
                "Put the old text back, or train a new run."
            )
        return corpus

    def open_store(self, cache_dir: Path, progress: Progress | None) -> TokenStore:
        """The encoded text that the run was trained on, built again from the corpus if it is gone.

        Raises what open_corpus does.
        """
        return TokenStore.open_or_build(self.open_corpus(), self.tokenizer, cache_dir, progress)

    def require_part(self, store: TokenStore, part: str) -> str:
        """The name of a part of the run's corpus, if it has one. Raises ConfigError."""
        if part not in store.parts:
            raise ConfigError(f"{self.path}: its corpus has no {part} part, only {', '.join(store.parts)}")
        return part

    @property
    def metrics_path(self) -> Path:
        """metrics.jsonl, whether it is there or not."""
        return self.path / METRICS

    def metrics(self) -> list[dict[str, Any]]:
        """The measurements so far, oldest first; a last line that a crash left half written is left out."""
        if not self.metrics_path.is_file():
            return []
        records = []
        lines = self.metrics_path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
                records.append(record | {"kind": record["kind"], "step": record["step"]})
            except (ValueError, TypeError, KeyError) as error:
                where = f"{self.metrics_path}, line {number}"
                raise RunError(f"{where}: not a measurement; remove the line") from error
        return records

    def facts(self) -> dict[str, Any]:
        """What a person wants to know of a run, by name; `best` is None before the first evaluation."""
        config, metrics = self.config, self.metrics()
        final = [record for record in metrics if record["kind"] == "final"]
        best = final or [record for record in metrics if record["kind"] == "val" and record["best"]]
        model = config.model
        return {
            "run": str(self.path),
            "status": "complete" if final else "not complete",
            "network": f"{model.num_layers} x {model.hidden_size} {model.cell}",
            "parameters": self.measured("parameters"),
            "tokenizer": config.data.tokenizer,
            "vocab_size": model.model_vocab_size,
            "corpus": list(config.data.corpus),
            "train_characters": self.measured("train_characters"),
            "from_run": config.from_run,
            "settings": describe(config),
            "steps": metrics[-1]["step"] if metrics else 0,
            "seconds": metrics[-1]["seconds"] if metrics else 0.0,
            "best": best[-1] if best else None,
        }


def active_records(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The measurements of the steps that led to where a run is now, oldest first: steps and epochs only rise.

    Those of steps that failed and were taken back are left out; the lines that tell of going back stay.
    """
    kept = list[dict[str, Any]]()
    for record in records:
        if record["kind"] == "rollback":
            kept = [earlier for earlier in kept if earlier["step"] <= record["back_to"]]
        kept.append(record)
    return kept


def describe(config: RunConfig) -> str:
    """A network and how it is trained, in one line."""
    model, training = config.model, config.training
    budgets = {"minutes": training.minutes, "epochs": training.epochs, "steps": training.steps}
    budget = " or ".join(f"{value:,g} {name}" for name, value in budgets.items() if value is not None)
    more = {"input": model.input_dropout, "embedding": model.embedding_dropout, "weights": model.weight_drop}
    dropped = [f"{model.dropout:g}", *(f"{share:g} of {part}" for part, share in more.items() if share)]
    tied = " and head" if model.tie_weights else ""
    return (
        f"{model.num_layers} x {model.hidden_size} {model.cell}, embedding{tied} {model.embedding_dim}, "
        f"dropout {' + '.join(dropped)}, batch {training.batch_size} x {training.seq_len}, "
        f"learning rate {training.learning_rate:g}, {budget}, {training.device} {training.precision}, "
        f"{training.threads} thread{'s' * (training.threads != 1)}, seed {training.seed}"
    )


def vocab_of(weights: Mapping[str, np.ndarray]) -> ModelVocab:
    """The table from token id to row that a run keeps beside its weights."""
    return ModelVocab(weights["token_ids"], weights["token_counts"])


def all_runs(root: Path) -> list[Run]:
    """The runs in a folder, the most recently written first."""
    if not root.is_dir():
        return []
    # A name with a dot in front is a directory that a killed process left half made.
    names = [path for path in root.iterdir() if not path.name.startswith(".")]
    runs = [Run(path) for path in names if os.access(path, os.X_OK) and (path / CONFIG).is_file()]
    return sorted(runs, key=lambda run: _last_written(run.path), reverse=True)


def _last_written(path: Path) -> float:
    weights = path / WEIGHTS
    return (weights if weights.is_file() else path / CONFIG).stat().st_mtime


def newest_run(root: Path) -> Run:
    """The run whose weights were written last. Raises RunError when there is none."""
    trained = [run for run in all_runs(root) if run.has_weights]
    if not trained:
        raise RunError(
            f"no trained run in {root}/. Train one with `textgen train CORPUS`, or name a directory."
        )
    return trained[0]


def free_directory(root: Path, name: str) -> Path:
    """root/name, or root/name-2, root/name-3, ... when taken."""
    number, path = 1, root / name
    while path.exists():
        number += 1
        path = root / f"{name}-{number}"
    return path
