"""Encoding a text ahead of training: `textgen encode`.

data section ─prepare_tokenizer→ TokenizedText ─make_plan→ Plan ─encode_shard→ shards ─assemble→ Manifest
"""

from __future__ import annotations

import errno
import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgen.errors import ConfigError, CorpusError
from textgen.run import Run
from textgen.settings.config import DataConfig
from textgen.settings.given import Section
from textgen.system.digests import DamagedError
from textgen.text.corpus import Corpus
from textgen.text.encoded import FREE_OPTIONS, is_encoded, settings_of
from textgen.text.encoding import Progress
from textgen.text.manifest import Manifest, read_manifest
from textgen.text.remote.texts import RemoteTexts
from textgen.text.remote.urls import is_encoded_url
from textgen.text.shard_encoding import assemble, is_complete, remove_unfinished
from textgen.text.shard_jobs import encode_shards
from textgen.text.shard_plan import Plan, read_plan
from textgen.text.shard_planner import make_plan
from textgen.text.sources import find_files
from textgen.training.planning.data import TokenizedText, prepare_tokenizer
from textgen.training.planning.fine_tune import require_same_tokenizer


@dataclass(frozen=True)
class Turn:
    """Which shards somebody makes, of `count` who share the work: every count-th, from the number-th on."""

    number: int = 1
    count: int = 1

    def indices(self, plan: Plan) -> range:
        """The indices of these shards."""
        return range(self.number - 1, len(plan.shards), self.count)


@dataclass(frozen=True)
class Encoded:
    """What is in a folder now. manifest: None while shards are missing. made: shards made by this call."""

    plan: Plan
    made: int
    missing: int
    manifest: Manifest | None
    notes: tuple[str, ...]


def encode_text(
    data: Section[DataConfig],
    output: Path,
    *,
    remote: RemoteTexts,
    source: Run | None = None,
    turn: Turn | None = None,
    shard_characters: int,
    jobs: int = 1,
    dask: str | None = None,
    progress: Progress | None = None,
) -> Encoded:
    """Make the shards of a text that are missing in a folder, and the manifest once all are there.

    source: the run whose tokenizer is used; None: one is chosen and learnt as `train` does. turn: make only
    these shards; None: all. jobs, dask: who makes them; see encode_shards.

    Raises ConfigError, CorpusError, TokenizerError, RunError, and what encode_shards raises.
    """
    if "-" in data.get("corpus", ()):
        raise ConfigError(
            "-: each shard reads the text again, and standard input can be read only once; save it to a file"
        )
    if any(is_encoded_url(name) or is_encoded(Path(name)) for name in data.get("corpus", ())):
        raise ConfigError(f"{', '.join(data['corpus'])}: is encoded already; name the text")
    if source is not None:
        require_same_tokenizer(data, source.data, str(source.path), "--run-config")
    output = output.absolute()
    is_new = not output.exists()
    try:
        _require_ours(output)
        output.mkdir(parents=True, exist_ok=True)
        remove_unfinished(output)
        request = _request(data, source, shard_characters)
        plan, notes = read_plan(output), tuple[str, ...]()
        if plan is None:
            text = prepare_tokenizer(data, remote=remote, source=source)
            plan, notes = _new_plan(text, request, shard_characters, progress)
            output.mkdir(parents=True, exist_ok=True)  # another process may have failed, and removed it
            plan.write(output)
        elif plan.request != request:
            raise CorpusError(
                f"{output}: was planned for another text, for files that have changed since, or with other "
                "options; name another --output, or remove this folder"
            )
        missing = _missing(plan, output)
        made = sorted(set(missing).intersection((turn or Turn()).indices(plan)))
        encode_shards(plan, made, output, jobs, progress, dask=dask)
        manifest = None if missing else _known_manifest(output)
        manifest = manifest or assemble(plan, output)
        left = 0 if manifest is not None else len(_missing(plan, output))
        return Encoded(plan, len(made), left, manifest, notes)
    except OSError as error:
        raise CorpusError(
            f"{error.filename or output}: {error.strerror or error}; {_advice(error)}"
        ) from error
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty, unless nothing could be encoded
                output.rmdir()


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room and run the command again: complete shards are kept"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "name an --output that you can write to"
    return "run the command again: complete shards are kept"


def _missing(plan: Plan, output: Path) -> list[int]:
    return [index for index in range(len(plan.shards)) if not is_complete(plan, index, output)]


def _known_manifest(output: Path) -> Manifest | None:
    """The manifest of a folder; None where there is none, or a damaged one. Raises OSError."""
    try:
        return read_manifest(output)
    except (FileNotFoundError, DamagedError):
        return None


def _new_plan(
    text: TokenizedText, request: str, shard_characters: int, progress: Progress | None
) -> tuple[Plan, tuple[str, ...]]:
    assert isinstance(text.corpus, Corpus)
    plan = make_plan(
        text.corpus,
        text.tokenizer,
        settings_of(text.config),
        request=request,
        labels=text.labels,
        shard_characters=shard_characters,
        progress=progress,
    )
    notes = list(text.notes)
    if plan.records.skipped:
        notes.append(plan.records.note(text.config.field))
    return plan, tuple(notes)


def _request(data: Section[DataConfig], source: Run | None, shard_characters: int) -> str:
    """A digest of what was asked for: the options, the run, and the names and sizes of the files."""
    given: dict[str, Any] = {name: value for name, value in data.items() if name not in FREE_OPTIONS}
    names = [*data.get("corpus", ()), *filter(None, (data.get("val"), data.get("test")))]
    files = []
    for name in names:
        found = find_files(name, None, data.get("include"), fetched={name: Path(name)})
        sizes = [(Path(file.path).name, _size(file.path)) for file in found]
        files.append([Path(name).name, sizes])
    tokenizer = None if source is None else [source.tokenizer.fingerprint, list(source.config.model.labels)]
    asked = [{k: v for k, v in given.items() if k not in ("val", "test")}, files, tokenizer, shard_characters]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=list).encode()).hexdigest()


def _size(path: Path | str) -> int | None:
    """The size of a file; None for a URL."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return None


def _require_ours(output: Path) -> None:
    """Raise CorpusError for a path that is not a folder, or one with files of something else."""
    if not output.exists():
        return
    if not output.is_dir():
        raise CorpusError(f"{output}: not a folder; name another --output")
    if any(output.iterdir()) and not is_encoded(output) and not any(output.glob("shard-*.json")):
        raise CorpusError(f"{output}: holds other files; name another --output")
