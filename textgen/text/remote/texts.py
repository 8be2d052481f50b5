"""The remote texts of a config: where a run's text came from, and the local files that stand for the URLs.

given by the user   URL         -> fetched, or unchanged in the cache  -> RemoteRecord, for config.json
named by a run      NamedText   -> in the cache, by its SHA-256; else fetched only with --fetch
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from textgen.errors import ConfigError, CorpusError
from textgen.settings.config import DataConfig
from textgen.text.remote.copies import RemoteCache, RemoteCopy
from textgen.text.remote.partial import Progress
from textgen.text.remote.urls import is_url


@dataclass(frozen=True)
class RemoteRecord:
    """A text that a run fetched, as config.json has it.

    url: without secrets. shortened: whether it had a query or credentials.
    """

    url: str
    sha256: str
    shortened: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):  # it becomes a file name
            raise ConfigError(f"sha256={self.sha256!r}: must be 64 hexadecimal digits")


@dataclass(frozen=True)
class NamedText:
    """A text that was named by the config of a run, not by the user. run: the run's directory."""

    record: RemoteRecord
    run: str


@dataclass(frozen=True)
class LocalTexts:
    """A config whose URLs have local files.

    config: its URLs without secrets. files: the local file of each URL. records: of each URL, for
    config.json. notes: what the user should know, a line each.
    """

    config: DataConfig
    files: Mapping[str, Path]
    records: tuple[RemoteRecord, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemoteTexts:
    """How URLs become local files.

    cache_dir: where copies are kept. may_fetch: whether also what a run names is fetched; without it a run
    from a stranger cannot make this machine call a server. progress: called while a text is fetched.
    cache_size: the most bytes that shards of encoded texts may have in the cache; None: as ShardCache says.
    """

    cache_dir: Path
    may_fetch: bool = False
    progress: Progress | None = None
    cache_size: int | None = None

    @property
    def _cache(self) -> RemoteCache:
        return RemoteCache(self.cache_dir, self.progress)

    def given(self, url: str) -> RemoteCopy:
        """The text of a URL that the user gave. Raises CorpusError."""
        return self._cache.fetch(url)

    def named(self, text: NamedText) -> Path:
        """The local file of a text that a run names. Raises CorpusError."""
        record, run = text.record, text.run
        found = self._cache.find(record.url, record.sha256)
        if found is not None:
            return found
        gone = f"{record.url}: the training text of {run} is not in the cache"
        if record.shortened:
            raise CorpusError(
                f"{gone}, and its URL was saved without its query or password; give the whole URL again with "
                f"`textgen score {run} URL`, then repeat this command"
            )
        if not self.may_fetch:
            raise CorpusError(f"{gone}; --fetch fetches it from there")
        copy = self._cache.fetch(record.url)
        if copy.sha256 != record.sha256:
            raise CorpusError(
                f"{record.url}: has changed since {run} was trained on it (its SHA-256 begins with "
                f"{copy.sha256[:12]}, not {record.sha256[:12]}); restore the old text, or train a new run"
            )
        return copy.path

    def localize(self, config: DataConfig, named: Mapping[str, NamedText] | None = None) -> LocalTexts:
        """A config with a local file for each of its URLs.

        named: those URLs that a run names; others were given by the user. None: all were.

        Raises CorpusError.
        """
        known = named or {}
        files: dict[str, Path] = {}
        kept: list[RemoteRecord] = []
        notes: list[str] = []

        def local(argument: str) -> str:
            if not is_url(argument):
                return argument
            if argument in known:
                files[argument] = self.named(known[argument])
                kept.append(known[argument].record)
                return argument
            copy = self.given(argument)
            if files.setdefault(copy.url, copy.path) != copy.path:
                raise CorpusError(
                    f"{copy.url}: two URLs that differ only in their query or password, which are not saved; "
                    "download one of the files and name that"
                )
            kept.append(RemoteRecord(copy.url, copy.sha256, copy.shortened))
            notes.extend([] if copy.note is None else [copy.note])
            return copy.url

        config = dataclasses.replace(
            config,
            corpus=tuple(map(local, config.corpus)),
            val=config.val and local(config.val),
            test=config.test and local(config.test),
        )
        return LocalTexts(config, files, tuple(kept), tuple(notes))
