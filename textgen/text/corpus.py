"""The corpus: sources of text, in the parts `train`, `val` and `test`.

    CORPUS ...    ─divide (split.py)→    train, val
    --val FILE    ─────────────────────→ val
    --test FILE   ─────────────────────→ test

Everything is streamed: memory does not grow with the corpus.
"""

from __future__ import annotations

import codecs
import copy
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from textgen.errors import CorpusError
from textgen.settings.config import DataConfig
from textgen.text.documents import Separator, TextSize, between_documents, measure
from textgen.text.folders import FolderCount
from textgen.text.formats import raw_blocks
from textgen.text.portions import Interleaved, Portion, Ranges
from textgen.text.records import RecordCount
from textgen.text.sources import (
    Source,
    find_files,
    notes_on_folders,
    refuse_repeated_files,
    require_folder,
    require_labelled,
    require_reading,
    require_records,
    require_tables,
)
from textgen.text.split import (
    Division,
    choose_by_hash,
    divide_by_end,
    divide_by_hash,
    measure_extent,
    spread,
)

_MIN_PART_CHARACTERS = 2  # one token to read and one to predict


class Corpus:
    """The text that a config names, in the parts `train`, `val` and, with config.test, `test`.

    config.val_fraction of the sources is held out by config.val_order (split.py), and is `val`; with 0 there
    is no `val`. With config.val, all sources are `train` and that file is `val`. `val` has at most about
    config.val_characters (None: any number). With split=False there is one part, `text`.

    stdin: the file that standard input was copied to; None when it was not. fetched: the local file of each
    URL in the config. Files are looked up by the constructor and read when a part is first used; both raise
    CorpusError.
    """

    def __init__(
        self,
        config: DataConfig,
        stdin: Path | None = None,
        *,
        split: bool = True,
        fetched: Mapping[str, Path] | None = None,
    ) -> None:
        if config.corpus.count("-") > 1:
            raise CorpusError("-: standard input can be read only once; give `-` once")
        if split and "-" in (config.val, config.test):
            raise CorpusError("--val and --test take files; only CORPUS can be standard input")
        if not config.corpus:
            raise CorpusError("no text: name a file, a folder or `-` for standard input")
        self._config = config
        self._cut = split and config.holds_out
        arguments = {"train" if split else "text": config.corpus}
        if split and config.val is not None:
            arguments["val"] = (config.val,)
        if split and config.test is not None:
            arguments["test"] = (config.test,)
        self._sources = {
            part: [_source(config, name, stdin, fetched) for name in arguments[part]] for part in arguments
        }
        refuse_repeated_files(self._all_sources)
        if split and config.field is not None:
            require_records(config.field, self._formats)
        if split and config.label_field is not None:
            require_labelled(config.label_field, self._formats)
        if split and config.delimiter is not None:
            require_tables(config.delimiter, self._formats)
        if split and config.include is not None:
            require_folder(config.include, self._all_sources)
        if split:
            self._refuse_unused_documents_option()
        self._sizes: dict[str, TextSize] = {}
        self._record_count = RecordCount()
        self._held_out_characters = 0
        self._characters: dict[str, int] = {}
        self._stamps = b""
        self._interleaved: Interleaved | None = None

    def with_val_order(self, val_order: str) -> Corpus:
        """The same files, divided in another order; of this corpus nothing may have been read yet."""
        assert "_portions" not in vars(self)
        assert "fingerprint" not in vars(self)
        divided = copy.copy(self)
        divided._config = dataclasses.replace(self._config, val_order=val_order)
        divided._sizes, divided._record_count = {}, RecordCount()
        return divided

    @classmethod
    def whole(
        cls,
        config: DataConfig,
        path: str,
        stdin: Path | None = None,
        *,
        fetched: Mapping[str, Path] | None = None,
        **reading: str | None,
    ) -> Corpus:
        """Another text as a corpus of one part, `text`, read with the settings of a config.

        reading: as in DataConfig.for_text, to which it is passed.

        Raises CorpusError.
        """
        corpus = cls(config.for_text(path, **reading), stdin, split=False, fetched=fetched)
        require_reading(corpus._formats, reading)
        return corpus

    @property
    def has_exchangeable_documents(self) -> bool:
        """Whether the text is a collection, in no order: of lines, of blocks, or of records."""
        return self._config.documents != "file" or self._formats != {"text"}

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
        return between_documents(portion.stream() for portion in self._portions[part])

    def portions(self, part: str) -> Sequence[Portion]:
        """What a part is made of, in order. Raises CorpusError."""
        return self._portions[part]

    def labels(self, part: str) -> Iterator[str | None]:
        """The label of each document of a part; None: it has none. Raises CorpusError."""
        return (label for portion in self._portions[part] for label in portion.labels())

    def size(self, part: str) -> TextSize:
        """How much text a part has. The first call reads the part to count it."""
        if part not in self._sizes:
            self._sizes[part] = measure(self.stream(part))
        return self._sizes[part]

    def characters(self, part: str) -> int:
        """About how many characters a part has, without separators; exact but for a `val` of limited size."""
        _ = self._portions
        return self._characters[part]

    @property
    def interleaved(self) -> Interleaved | None:
        """`train` and `val` for reading them together; None where they must be read one after the other."""
        _ = self._portions
        return self._interleaved

    @property
    def record_count(self) -> RecordCount:
        """How many records all parts have, and how many were skipped. The first call reads all files."""
        _ = self._portions
        return self._record_count

    @property
    def held_out_characters(self) -> int:
        """Characters that training does not read, separators not counted; `val` may have fewer of them."""
        _ = self._portions
        return self._held_out_characters

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content of all files and of every setting that affects documents and parts.

        Paths and times are not included: a file that is moved or touched is the same text.
        """
        self._stamps = self._all_stamps()
        return self._hash()

    def _all_stamps(self) -> bytes:
        """A digest of when each file was last changed, and of its size. Raises CorpusError."""
        digest = hashlib.sha256()
        for source in self._all_sources:
            for file in source.files:
                digest.update(file.stamp)
        return digest.digest()

    def require_unchanged(self) -> None:
        """Raise CorpusError when the files have changed since the fingerprint was computed."""
        before = self.fingerprint, self._stamps
        # Hashed again only where a file was written, or touched: reading all once more would take time.
        if self._all_stamps() != before[1] and self._hash() != before[0]:
            names = ", ".join(source.name for source in self._all_sources)
            raise CorpusError(f"{names}: changed while it was read; start again, or use a copy of it")

    def _hash(self) -> str:
        config = self._config
        field = None if self._formats == {"text"} else config.field
        val_fraction = config.val_fraction if self._cut else None
        settings: list[Any] = [config.documents, field, codecs.lookup(config.encoding).name, val_fraction]
        if self._cut and config.val_order != "end":
            settings.append(config.val_order)
        if "val" in self.parts and config.val_characters is not None:
            settings.append(config.val_characters)
        if config.label_field is not None:
            settings.append({"label_field": config.label_field})
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
        if "val" not in self.parts:
            return False
        trained = {path for source in other._sources["train"] for path in source.paths}
        if not self._cut:
            return _share_files(self._sources["val"], trained)
        mine, theirs = self._config, other._config
        held_out = (
            other._cut and mine.val_order == theirs.val_order and mine.val_fraction <= theirs.val_fraction
        )
        if mine.val_order == "hash":
            # The same documents are held out, whatever sources they are in.
            return not (held_out and _reads_alike(mine, theirs)) and _share_files(
                self._sources["train"], trained
            )
        same_sources = {source.paths for source in other._sources["train"] if held_out}
        others = [source for source in self._sources["train"] if source.paths not in same_sources]
        return _share_files(others, trained)

    @property
    def _all_sources(self) -> list[Source]:
        return [source for sources in self._sources.values() for source in sources]

    @property
    def _formats(self) -> set[str]:
        return {file.format for source in self._all_sources for file in source.files}

    @cached_property
    def _portions(self) -> dict[str, Sequence[Portion]]:
        """The text of each part. Reads, and so validates, every source."""
        portions: dict[str, Sequence[Portion]] = {}
        characters: dict[str, int] = {}
        for part, sources in self._sources.items():
            if part == "train" and self._cut:
                division = self._divided(sources)
                portions |= {"train": division.train, "val": division.val}
                self._held_out_characters = division.held_out_characters
                self._interleaved = division.interleaved
                characters |= {"train": division.train_characters, "val": division.val_characters}
            else:
                portions[part], characters[part] = self._whole(part, sources)
        self._refuse_too_little(characters)
        self._characters = characters
        return portions

    def _divided(self, sources: Sequence[Source]) -> Division:
        config, count = self._config, self._record_count
        if config.val_order == "hash":
            division = divide_by_hash(sources, config.val_fraction, config.val_characters, count)
            if division is not None:
                return division
            count = RecordCount()  # the records were counted
        return divide_by_end(sources, config.val_fraction, config.val_characters, count)

    def _whole(self, part: str, sources: Sequence[Source]) -> tuple[Sequence[Portion], int]:
        """A part of whole sources, and its characters; of a large `val` only part is read."""
        extents = [measure_extent(source, self._record_count).characters for source in sources]
        total, limit = sum(extents), self._config.val_characters
        if part == "val":
            self._held_out_characters = total
        if part != "val" or limit is None or total <= limit:
            return [Ranges(source, ((0, None),)) for source in sources], total
        if self.has_exchangeable_documents:
            return choose_by_hash(sources, limit), limit
        return [Ranges(sources[0], spread(0, total, limit))], limit  # --val names one source

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


def _source(
    config: DataConfig, argument: str, stdin: Path | None, fetched: Mapping[str, Path] | None
) -> Source:
    folder = FolderCount() if Path(argument).is_dir() else None
    return Source(
        argument,
        find_files(argument, stdin, config.include, folder, fetched),
        config.documents,
        config.field,
        config.encoding,
        config.delimiter_character,
        config.label_field,
        config.normalize,
        folder,
    )


def _share_files(sources: Sequence[Source], paths: set[str]) -> bool:
    """Whether a file of the sources has one of these paths."""
    return any(not paths.isdisjoint(source.paths) for source in sources)


def _reads_alike(first: DataConfig, second: DataConfig) -> bool:
    """Whether the same file has the same documents by both configs."""
    names = ("documents", "field", "encoding", "delimiter")
    return all(getattr(first, name) == getattr(second, name) for name in names)
