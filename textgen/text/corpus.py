"""The corpus: sources of text, split into parts for training, validation and testing.

    a.txt        ██████████████████████████████████████░░░░    █ train   ░ val
    folder/      ███████████████████████████░░░

The end of every source is held out for validation, so that validation covers each source and no training
window contains validation text. Everything is streamed: memory does not grow with the corpus.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.documents import Separator, TextSize, between_documents, measure
from textgen.text.folders import FolderCount
from textgen.text.formats import raw_blocks
from textgen.text.records import RecordCount
from textgen.text.sources import (
    Source,
    find_files,
    notes_on_folders,
    refuse_repeated_files,
    require_folder,
    require_records,
    require_tables,
)

# A source with at least this many documents is cut between two of them, one with fewer at any character.
_MIN_DOCUMENTS_TO_CUT_BETWEEN = 20
_MIN_PART_CHARACTERS = 2  # one token to read and one to predict


@dataclass(frozen=True)
class _Span:
    """The characters start..stop (None: to the end) of a source, separators not counted."""

    source: Source
    start: int
    stop: int | None

    def stream(self) -> Iterator[str | Separator]:
        return self.source.slice(self.start, self.stop)


class Corpus:
    """The text that a config names, in the parts `train`, `val` and, with config.test, `test`.

    The last config.val_fraction of each source is `val`, from character int(characters * (1 - val_fraction))
    on, separators not counted; a source of many documents is cut at the nearest document boundary. With
    config.val, all sources are `train` and that file is `val`. With split=False there is one part, `text`.

    stdin: the file that standard input was copied to; None when it was not. Files are looked up by the
    constructor and read when a part is first used; both raise CorpusError.
    """

    def __init__(self, config: DataConfig, stdin: Path | None = None, *, split: bool = True) -> None:
        if config.corpus.count("-") > 1:
            raise CorpusError("-: standard input can be read only once; give `-` once")
        if split and "-" in (config.val, config.test):
            raise CorpusError("--val and --test take files; only CORPUS can be standard input")
        if not config.corpus:
            raise CorpusError("no text: name a file, a folder or `-` for standard input")
        if split and config.val is None and config.val_fraction == 0:
            raise CorpusError("validation needs text: set --val-fraction above 0, or name a file with --val")
        self._config = config
        self._cut = split and config.val is None
        arguments = {"train" if split else "text": config.corpus}
        if split and config.val is not None:
            arguments["val"] = (config.val,)
        if split and config.test is not None:
            arguments["test"] = (config.test,)
        self._sources = {
            part: [_source(config, name, stdin) for name in arguments[part]] for part in arguments
        }
        refuse_repeated_files(self._all_sources)
        if split and config.field is not None:
            require_records(config.field, self._formats)
        if split and config.delimiter is not None:
            require_tables(config.delimiter, self._formats)
        if split and config.include is not None:
            require_folder(config.include, self._all_sources)
        if split:
            self._refuse_unused_documents_option()
        self._sizes: dict[str, TextSize] = {}
        self._record_count = RecordCount()

    @classmethod
    def whole(
        cls,
        config: DataConfig,
        path: str,
        stdin: Path | None = None,
        *,
        field: str | None = None,
        encoding: str | None = None,
    ) -> Corpus:
        """Another text as a corpus of one part, `text`, read with the settings of a config.

        field, encoding: used instead of the config's; None keeps the config's.

        Raises CorpusError.
        """
        corpus = cls(config.for_text(path, field=field, encoding=encoding), stdin, split=False)
        if field is not None:
            require_records(field, corpus._formats)
        return corpus

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts, in the order train, val, test."""
        given = tuple(self._sources)
        return ("train", "val", *given[1:]) if self._cut else given

    @property
    def notes(self) -> list[str]:
        """What the user should know about files that are not read, a line each."""
        return notes_on_folders(self._all_sources)

    def stream(self, part: str) -> Iterator[str | Separator]:
        """The text of a part as a stream: strings, and a Separator between documents, never first or last.

        Raises CorpusError, immediately or while reading.
        """
        return between_documents(span.stream() for span in self._spans[part])

    def size(self, part: str) -> TextSize:
        """How much text a part has. The first call reads the part to count it."""
        if part not in self._sizes:
            self._sizes[part] = measure(self.stream(part))
        return self._sizes[part]

    @property
    def record_count(self) -> RecordCount:
        """How many records all parts have, and how many were skipped. The first call reads all files."""
        _ = self._spans
        return self._record_count

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content of all files and of every setting that affects documents and parts.

        Paths and times are not included: a file that is moved or touched is the same text.
        """
        return self._hash()

    def require_unchanged(self) -> None:
        """Raise CorpusError when the files have changed since the fingerprint was computed."""
        if self._hash() != self.fingerprint:
            names = ", ".join(source.name for source in self._all_sources)
            raise CorpusError(f"{names}: changed while it was read; start again, or use a copy of it")

    def _hash(self) -> str:
        config = self._config
        field = None if self._formats == {"text"} else config.field
        val_fraction = config.val_fraction if self._cut else None
        settings = [config.documents, field, codecs.lookup(config.encoding).name, val_fraction]
        if config.delimiter is not None and self._formats & {"csv", "tsv"}:
            settings.append(config.delimiter_character)
        if config.normalize is not None:
            settings.append(config.normalize)
        digest = hashlib.sha256(json.dumps(settings).encode())
        for part, sources in self._sources.items():
            for source in sources:
                formats = [
                    "text cr" if source.ends_lines_with_cr(file) else file.format for file in source.files
                ]
                digest.update(json.dumps([part, formats]).encode())
                for file in source.files:
                    content = hashlib.sha256()
                    for block in raw_blocks(file):
                        content.update(block)
                    digest.update(content.digest())
        return digest.hexdigest()

    def validates_on_training_text_of(self, other: Corpus) -> bool:
        """Whether text that is `val` here is `train` in another corpus, judging by file paths alone."""
        trained = {path for source in other._sources["train"] for path in source.paths}
        if not self._cut:
            return any(path in trained for source in self._sources["val"] for path in source.paths)
        held_out = other._cut and self._config.val_fraction <= other._config.val_fraction
        same_sources = {source.paths for source in other._sources["train"] if held_out}
        return any(
            source.paths not in same_sources and not trained.isdisjoint(source.paths)
            for source in self._sources["train"]
        )

    @property
    def _all_sources(self) -> list[Source]:
        return [source for sources in self._sources.values() for source in sources]

    @property
    def _formats(self) -> set[str]:
        return {file.format for source in self._all_sources for file in source.files}

    @cached_property
    def _spans(self) -> dict[str, list[_Span]]:
        """The spans of the sources that make up each part. Reads, and so validates, every source."""
        spans: dict[str, list[_Span]] = {part: [] for part in self.parts}
        characters = dict.fromkeys(self.parts, 0)
        for part, sources in self._sources.items():
            for source in sources:
                total, num_documents = _count(source, self._record_count)
                cut = total
                if part == "train" and self._cut:
                    cut = int(total * (1 - self._config.val_fraction))
                    if num_documents >= _MIN_DOCUMENTS_TO_CUT_BETWEEN:
                        cut = source.boundary_near(cut)
                    spans["val"].append(_Span(source, cut, None))
                    characters["val"] += total - cut
                spans[part].append(_Span(source, 0, cut))
                characters[part] += cut
        self._refuse_too_little(characters)
        return spans

    def _refuse_unused_documents_option(self) -> None:
        if "text" not in self._formats and self._config.documents != "file":
            raise CorpusError(
                f"documents={self._config.documents!r} does not apply: "
                "each record of a .jsonl, .json, .csv, .tsv or .parquet file is a document"
            )

    def _refuse_too_little(self, characters: dict[str, int]) -> None:
        names = ", ".join(source.name for source in self._all_sources)
        if sum(characters.values()) == 0:
            raise CorpusError(f"{names}: there is no text in it; name another file")
        for part, count in characters.items():
            if count < _MIN_PART_CHARACTERS:
                kind = "" if part == "text" else f"{part} "
                raise CorpusError(
                    f"{names}: too little {kind}text, {count} character{'s' * (count != 1)}; "
                    f"at least {_MIN_PART_CHARACTERS} are needed"
                )


def _source(config: DataConfig, argument: str, stdin: Path | None) -> Source:
    folder = FolderCount() if Path(argument).is_dir() else None
    return Source(
        argument,
        find_files(argument, stdin, config.include, folder),
        config.documents,
        config.field,
        config.encoding,
        config.delimiter_character,
        config.normalize,
        folder,
    )


def _count(source: Source, records: RecordCount) -> tuple[int, int]:
    """How many characters, not counting separators, and documents a source has; its records are added up."""
    characters = separators = 0
    for item in source.stream(records):
        if isinstance(item, Separator):
            separators += 1
        else:
            characters += len(item)
    return characters, separators + (characters > 0)
