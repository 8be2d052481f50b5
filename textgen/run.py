"""The run directory: everything about a trained model, in files that cannot run code.

    runs/<name>/
        config.json          all settings and measurements that the run was made with
        tokenizer.json       text <-> token ids; the `tokenizers` library reads it
        files.json           SHA-256 digests of these two
        model.safetensors    the best weights by validation loss, and the model vocabulary
        ngram.safetensors    the n-gram companion, where it improves predictions
        metrics.jsonl        one line per measurement
        loss.png             a plot of the metrics
        stdin.txt            the corpus, if it came from standard input
        training/            what is needed to resume exactly; may be deleted

Sampling needs only the first two and the weights. Weights are NumPy arrays here, so that reading a run does
not load torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import ConfigError, CorpusError, RunError
from textgen.measurements import (
    figures_with_ngrams,
    has_final_record,
    read_measurements,
    summarize_measurements,
)
from textgen.ngram.companion import Companion, companion_file, read_companion
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from textgen.settings.option import from_mapping, shown
from textgen.system.atomic import write_file
from textgen.system.bounded_files import (
    RUN_FILE_LIMIT,
    SETTINGS_LIMIT,
    TOKENIZER_LIMIT,
    parse_json,
    read_bounded,
)
from textgen.system.digests import DamagedError, file_digest, sealed, unsealed
from textgen.system.locks import lock_while_alive
from textgen.system.relocate import relocated_data
from textgen.text.cache import record_use
from textgen.text.corpus import Corpus
from textgen.text.encoded import AnyCorpus, is_encoded
from textgen.text.encoding import Progress
from textgen.text.model_vocab import ModelVocab
from textgen.text.opening import open_encoded
from textgen.text.remote.texts import NamedText, RemoteRecord, RemoteTexts
from textgen.text.remote.urls import is_url
from textgen.text.store import TokenStore, default_cache_dir
from textgen.text.tokenizer import Tokenizer
from textgen.weights.file import read_weights, stored_kind, weights_file

Announce = Callable[[str], None]  # called with a line for the user

FORMAT = 2  # format 1 used the name vocab_size for the size of the model vocabulary
_READABLE_FORMATS = (1, 2)
CONFIG, TOKENIZER, WEIGHTS, METRICS = "config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl"
NGRAM, FILES = "ngram.safetensors", "files.json"
TRAINING, STDIN, PICTURE = "training", "stdin.txt", "loss.png"
_NAMES_SHOWN = 5


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = read_bounded(path, RUN_FILE_LIMIT, "a config.json")
        require_as_written(path, text)
        content = parse_json(text)
    except OSError as error:
        if is_encoded(path.parent):
            raise RunError(
                f"{path.parent}: encoded text, not a run. Train on it with: textgen train {path.parent}"
            ) from error
        raise RunError(
            f"{path}: {error.strerror or error}. Name a run directory, such as runs/<name>."
        ) from error
    except ValueError as error:
        raise RunError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: not a JSON object")
    if "format" not in content:
        raise RunError(f"{path}: not of a run of textgen: it has no format; name another run")
    if content.get("format") not in _READABLE_FORMATS:
        raise RunError(
            f"{path}: format {shown(content.get('format'))}, but this version of textgen reads format "
            f"{FORMAT} and earlier; install a newer textgen"
        )
    return _upgraded(content)


def files_json(directory: Path) -> str:
    """The content of a files.json for a run that is being made: the digests of files that never change."""
    digests = {name: file_digest(directory / name) for name in (CONFIG, TOKENIZER)}
    return json.dumps(sealed({"files": digests}), indent=2) + "\n"


def require_as_written(path: Path, content: bytes) -> None:
    """Raise RunError when a file of a run has another content than when the run was made, by files.json.

    Runs of earlier versions have no files.json, and saved models neither.
    """
    files = path.parent / FILES
    try:
        digests = unsealed(parse_json(read_bounded(files, SETTINGS_LIMIT, "a files.json")))["files"]
        expected = digests.get(path.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(f"{files}: {error.strerror or error}; it must be readable") from error
    except (ValueError, KeyError, AttributeError) as error:
        raise RunError(
            f"{files}: damaged ({error}). Put a copy of it there, or remove it to use the run unchecked"
        ) from error
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise RunError(
            f"{path}: has changed since the run was made. Put a copy of the old one there; if you changed it "
            f"yourself, remove {files}"
        )


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a config.json, converted to the current format."""
    model = content.get("model")
    if content["format"] == 1 and isinstance(model, dict) and "vocab_size" in model:
        content["model"] = {"model_vocab_size": model["vocab_size"]} | {
            name: value for name, value in model.items() if name != "vocab_size"
        }
    return content | {"format": FORMAT}


def read_config(path: Path) -> RunConfig:
    """Read the config.json of a run, with every field checked.

    Raises RunError when it is missing or damaged, ConfigError when it has fields or values that this version
    does not know.
    """
    content = _read_json(path)
    missing = {"textgen_version", "data", "model", "training"} - content.keys()
    if missing:
        raise RunError(f"{path}: this is a saved model, not a run: it has no {', '.join(sorted(missing))}")
    sections = {"data": DataConfig, "model": ModelConfig, "training": TrainingConfig}
    for name, section in sections.items():
        content[name] = from_mapping(section, content[name], f"{path}: {name}")
    return from_mapping(RunConfig, content, str(path))


def config_json(config: RunConfig) -> str:
    """The content of a config.json."""
    return json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + "\n"


def save_weights(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name to a safetensors file, atomically."""
    write_file(path, weights_file(weights))


def load_weights(path: Path, config: ModelConfig) -> dict[str, np.ndarray]:
    """Read the weights of a network by name; see weights/file.py for what is checked.

    Raises RunError when they are missing, damaged, or not those of the config.
    """
    try:
        return read_weights(path, config)
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; {_missing_weights_hint(path.parent)}") from None
    except DamagedError as error:
        raise RunError(f"{path}: {error}; {_missing_weights_hint(path.parent)}") from error
    except PermissionError:
        raise RunError(f"{path}: cannot be read; check its permissions") from None


def _missing_weights_hint(directory: Path) -> str:
    """What to do about a run without whole weights."""
    run = Run(directory)
    if not (run.path / CONFIG).is_file():
        return "put a copy of it there"
    if not run.is_complete:
        return f"resume the run, which writes it: textgen train --resume {directory}"
    copies = sorted(run.training_directory.glob("step-*/best.safetensors"))
    if copies:
        return f"copy it from {copies[-1]}"
    return f"there is no copy in the run, so train it again: textgen train --config {directory}"


def save_model(directory: Path, config: ModelConfig, weights: Mapping[str, np.ndarray]) -> None:
    """Write only a model, without tokenizer and run: config.json and model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    write_file(
        directory / CONFIG,
        json.dumps({"format": FORMAT, "model": dataclasses.asdict(config)}, indent=2) + "\n",
    )
    save_weights(directory / WEIGHTS, weights)


def load_model(directory: Path) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    """Read the network of a run, or a model written by save_model. Raises RunError or ConfigError."""
    content = _read_json(directory / CONFIG)
    if "model" not in content:
        raise RunError(f"{directory / CONFIG}: no model in it")
    config = from_mapping(ModelConfig, content["model"], f"{directory / CONFIG}: model")
    return config, load_weights(directory / WEIGHTS, config)


class Run:
    """A run directory; its files are read when needed.

    remote: how its text is opened where that is a URL; None: from the user's cache, and never fetched.
    announce: called before its text is read, with a line that names it: the user named the run, but a run
    from a stranger may name any file. None: not announced.
    name: what it is called; None: as its directory.

    Raises RunError when there is no such directory.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        remote: RemoteTexts | None = None,
        announce: Announce | None = None,
        *,
        name: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._name = name
        self._remote = remote
        self._announce = announce
        if not self.path.is_dir():
            kind = "a file, not a run directory" if self.path.is_file() else "no such run directory"
            hint = "; textgen info lists the runs in runs/"
            if str(self.path).startswith("hf:"):  # hub/ opens those that the user names
                hint = "; a run on the hub is fetched only where you name it yourself, not where a file does"
            if (Path("runs") / self.path.name / CONFIG).is_file():
                hint = f"; did you mean {Path('runs') / self.path.name}?"
            raise RunError(f"{self.path}: {kind}{hint}")

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.path.resolve().name if self._name is None else self._name

    @cached_property
    def config(self) -> RunConfig:
        """All settings of the run. Raises RunError or ConfigError."""
        return read_config(self.path / CONFIG)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the run. Raises RunError or TokenizerError."""
        path = self.path / TOKENIZER
        if not path.is_file():
            raise RunError(f"{path}: no such file; a run directory must have its tokenizer")
        if path.stat().st_size <= TOKENIZER_LIMIT:  # a longer one is refused
            require_as_written(path, path.read_bytes())
        return Tokenizer.load(path)

    def measured(self, name: str) -> Any:
        """A value that was measured before the first step. Raises RunError when config.json lacks it."""
        try:
            return self.config.measured[name]
        except KeyError:
            raise RunError(
                f"{self.path / CONFIG}: no {name} in its section 'measured'; it is damaged"
            ) from None

    def _count(self, name: str) -> int:
        """A number that was measured before the first step. Raises RunError."""
        value = self.measured(name)
        if not isinstance(value, int) or value < 0:
            where = f"{self.path / CONFIG}: measured"
            raise RunError(f"{where}: {name} must be a whole number, not {shown(value)}; it is damaged")
        return value

    @property
    def is_complete(self) -> bool:
        """Whether the run was trained to its end, including the final validation."""
        return has_final_record(self.metrics_path)

    @property
    def has_weights(self) -> bool:
        """Whether there are weights to sample from."""
        return (self.path / WEIGHTS).is_file()

    def load_weights(self) -> dict[str, np.ndarray]:
        """The best weights, under the names of torch.nn, and the model vocabulary. Raises RunError."""
        return load_weights(self.path / WEIGHTS, self.config.model)

    def require_weights(self) -> None:
        """Raise RunError when there are no weights yet."""
        if not self.has_weights:
            raise RunError(
                f"{self.path / WEIGHTS}: no weights yet; resume the run: textgen train --resume {self.path}"
            )

    @property
    def weights_kind(self) -> str:
        """How the weights are stored: float32, or what textgen export rounded them to (weights/quantized.py).

        It is float32 for weights that are missing or damaged, which load_weights refuses.
        """
        try:
            return stored_kind(self.path / WEIGHTS)
        except (FileNotFoundError, PermissionError, DamagedError):
            return "float32"

    def require_trainable(self) -> None:
        """Refuse rounded weights, which training cannot go on from without loss. Raises RunError."""
        if (kind := self.weights_kind) != "float32":
            raise RunError(
                f"{self.path}: its weights are rounded to {kind}, as textgen export does; train from the run "
                "that it was made from, which has them in float32"
            )

    @property
    def has_companion(self) -> bool:
        """Whether there is an n-gram companion."""
        return (self.path / NGRAM).is_file()

    def load_companion(self, vocab: ModelVocab) -> Companion | None:
        """The n-gram companion of the network, whose vocabulary is given; None where there is none.

        Raises RunError when it is damaged or belongs to another network.
        """
        path = self.path / NGRAM
        try:
            return read_companion(path, self.config.model, vocab)
        except FileNotFoundError:
            if path.is_symlink():
                raise RunError(f"{path}: a link to nothing; remove it, or use --no-ngram") from None
            return None
        except DamagedError as error:
            raise RunError(
                f"{path}: {error}. Remove it, make it anew with textgen ngram {self.path}, or use --no-ngram"
            ) from error
        except PermissionError:
            raise RunError(f"{path}: cannot be read; check its permissions") from None

    def save_companion(self, companion: Companion, vocab: ModelVocab) -> int:
        """Write the n-gram companion; returns how many bytes it has."""
        content = companion_file(companion, vocab)
        write_file(self.path / NGRAM, content)
        return len(content)

    @property
    def training_directory(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / TRAINING

    @property
    def data(self) -> DataConfig:
        """config.data with paths that are valid from here: for reading the text, not for display."""
        config = self.config
        if config.directory is None:
            return config.data
        return DataConfig(**relocated_data(vars(config.data), config.directory, self.path))

    @property
    def named_texts(self) -> dict[str, NamedText]:
        """What is known of each URL in its text. Raises RunError or ConfigError where that is damaged."""
        named = {record.url: NamedText(record, str(self.path)) for record in self._remote_records()}
        for url in filter(is_url, self.data.texts):
            if url not in named:
                raise RunError(f"{self.path / CONFIG}: remote: has no entry for {url}; it is damaged")
        return named

    def _remote_records(self) -> list[RemoteRecord]:
        """What config.json says of each URL. Raises RunError or ConfigError."""
        where = f"{self.path / CONFIG}: remote"
        return [from_mapping(RemoteRecord, entry, where) for entry in self.config.remote]

    def fetched_files(self, cache_dir: Path | None = None) -> Mapping[str, Path]:
        """The local file of each URL in its text; the argument and the errors are those of open_corpus."""
        if not (named := self.named_texts):
            return {}
        return self._texts(cache_dir).localize(self.data, named).files

    def _texts(self, cache_dir: Path | None) -> RemoteTexts:
        return self._remote or RemoteTexts(default_cache_dir() if cache_dir is None else cache_dir)

    def announce_texts(self) -> None:
        """Say, once, which files its config names, before they are read."""
        announce, self._announce = self._announce, None
        if announce is not None:
            announce_named(self.data.texts, str(self.path), announce)

    def open_corpus(self, cache_dir: Path | None = None) -> AnyCorpus:
        """The text that the run was trained on.

        cache_dir: where copies of URLs are looked for, unless the run was opened with `remote`; None: the
        user's cache.

        Raises RunError when the text has changed since then, CorpusError when it cannot be read.
        """
        self.announce_texts()
        # Earlier versions kept the text from standard input in training/.
        copies = [folder / STDIN for folder in (self.path, self.training_directory)]
        stdin = next((path for path in copies if path.is_file()), None)
        try:
            corpus: AnyCorpus
            encoded = open_encoded(self.data.corpus, self._texts(cache_dir), self.named_texts)
            if encoded is not None:
                corpus = encoded.corpus
            else:
                fetched = self.fetched_files(cache_dir)
                corpus = Corpus(self.data, stdin, fetched=fetched)
                for path in fetched.values():
                    lock_while_alive(corpus, path)
            fingerprint = corpus.fingerprint
        except CorpusError as error:
            raise CorpusError(f"{error} (the training text of {self.path})") from error
        if fingerprint != self.measured("corpus_fingerprint"):
            raise RunError(
                f"{', '.join(self.data.corpus)}: the corpus has changed since {self.path} was started. "
                "Restore the old text, or train a new run."
            )
        return corpus

    def open_store(self, cache_dir: Path, progress: Progress | None) -> TokenStore:
        """The encoded training text of the run, from the cache or encoded again.

        Raises what open_corpus raises, and CorpusError when the cache cannot be written.
        """
        corpus, labels = self.open_corpus(cache_dir), self.config.model.labels
        store = TokenStore.open_or_build(corpus, self.tokenizer, cache_dir, progress, labels=labels)
        record_use(store.path, self.config.data.corpus, self.path)
        return store

    def require_part(self, store: TokenStore, part: str) -> str:
        """Return the name of a part of the corpus. Raises ConfigError when the corpus has no such part."""
        if part not in store.parts:
            raise ConfigError(f"{self.path}: its corpus has no {part} part, only {', '.join(store.parts)}")
        return part

    @property
    def metrics_path(self) -> Path:
        """The path of metrics.jsonl, which may not exist."""
        return self.path / METRICS

    def metrics(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl, oldest first, without a last line that a crash left incomplete.

        Raises RunError for any other line that is not a record.
        """
        return list(read_measurements(self.metrics_path))

    def _lacks_measurements(self) -> bool:
        """Whether metrics.jsonl is shorter than the newest checkpoint says; False where there is none."""
        newest = max(self.training_directory.glob("step-*/progress.json"), key=_step_of, default=None)
        try:
            size = self.metrics_path.stat().st_size if self.metrics_path.exists() else 0
            return newest is not None and size < _metrics_size(newest)
        except OSError:  # another process has just removed it
            return False

    def facts(self) -> dict[str, Any]:
        """A summary of the run, by name; `best` is the best validation record, None before the first.

        with_ngrams: the loss with the n-grams that the run has, None where it was not measured.

        Raises RunError or ConfigError for damaged files.
        """
        config, measured = self.config, summarize_measurements(self.metrics_path)
        best, last = measured.final or measured.best, measured.last or {"step": 0, "seconds": 0.0}
        model = config.model
        return {
            "run": str(self.path),
            "status": "complete" if measured.final else "not complete",
            "network": f"{model.num_layers} x {model.hidden_size} {model.cell}",
            "parameters": self._count("parameters"),
            "weights": self.weights_kind if self.has_weights else None,
            "tokenizer": config.data.tokenizer,
            "vocab_size": model.model_vocab_size,
            "ngrams": self.has_companion,
            "with_ngrams": self._figures_with_ngrams(measured.final),
            "corpus": list(config.data.corpus),
            "train_characters": self._count("train_characters"),
            "from_run": config.from_run,
            "remote": [vars(record) for record in self._remote_records()],
            "settings": describe(config),
            "steps": last["step"],
            "seconds": last["seconds"],
            "metrics_cut_short": measured.is_cut_short or self._lacks_measurements(),
            "validates": config.data.val is not None or config.data.holds_out,
            "best": best if best and "nats_per_token" in best else None,
        }

    def _figures_with_ngrams(self, final: dict[str, Any] | None) -> dict[str, float] | None:
        if final is None or "bits_per_character" not in final or not self.has_companion:
            return None
        return figures_with_ngrams(final, (self.path / NGRAM).stat().st_size)


def _step_of(progress: Path) -> int:
    step = progress.parent.name.removeprefix("step-")
    return int(step) if step.isdecimal() else -1


def _metrics_size(progress: Path) -> int:
    """The length of metrics.jsonl that a checkpoint stores, in bytes; 0 where that cannot be read."""
    try:
        size = parse_json(read_bounded(progress, RUN_FILE_LIMIT, "a checkpoint's progress"))["metrics_size"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return size if isinstance(size, int) else 0


def announce_named(names: Sequence[str], run: str, announce: Announce) -> None:
    """Say that files are read which a run names, and not the user; nothing where there are none."""
    # A URL is not fetched unasked, and standard input is no file.
    names = [name for name in names if name != "-" and not is_url(name)]
    # A name from a stranger may hold control characters, which a terminal obeys.
    shown = [name if name.isprintable() else ascii(name) for name in names[:_NAMES_SHOWN]]
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    if shown:
        announce(f"Reading what {run} names: {', '.join(shown)}{more}")


def active_records(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without those of steps that were rolled back, oldest first, so that steps only increase.

    The rollback records themselves are included.
    """
    active = list[dict[str, Any]]()
    for record in records:
        if record["kind"] == "rollback":
            active = [earlier for earlier in active if earlier["step"] <= record["back_to"]]
        active.append(record)
    return active


def describe(config: RunConfig) -> str:
    """The network and the training settings of a run, in one line."""
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
    """The model vocabulary that is saved with the weights of a run."""
    return ModelVocab(weights["token_ids"], weights["token_counts"])


def all_runs(root: Path) -> list[Run]:
    """The runs in a folder, the most recently written first; none when there is no such folder.

    Among them are folders that cannot be read, which may be runs.
    """
    if not root.is_dir():
        return []
    # A name that starts with a dot is an unfinished directory, left behind by a killed process.
    paths = [path for path in root.iterdir() if not path.name.startswith(".") and path.is_dir()]
    runs = [Run(path) for path in paths if not _is_readable(path) or (path / CONFIG).exists()]
    return sorted(runs, key=lambda run: _last_written(run.path), reverse=True)


def _is_readable(directory: Path) -> bool:
    return os.access(directory, os.X_OK)


def _last_written(path: Path) -> float:
    if not _is_readable(path):
        return path.stat().st_mtime
    weights = path / WEIGHTS
    return (weights if weights.is_file() else path / CONFIG).stat().st_mtime


def newest_run(root: Path) -> Run:
    """The run in a folder whose weights were written last. Raises RunError when there is none."""
    readable = [run for run in all_runs(root) if _is_readable(run.path) and (run.path / CONFIG).is_file()]
    trained = [run for run in readable if run.has_weights]
    if not trained:
        raise RunError(
            f"no trained run in {root}/. Train one with `textgen train CORPUS`, or name a run directory."
        )
    return trained[0]


def free_directory(root: Path, name: str) -> Path:
    """The first of root/name, root/name-2, root/name-3, ... that does not exist."""
    number, path = 1, root / name
    while path.exists():
        number += 1
        path = root / f"{name}-{number}"
    return path
