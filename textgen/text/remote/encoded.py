"""Encoded text behind a URL: its manifest and small files are fetched at once, its shards when they are read.

given by the user   URL         -> the manifest as the server has it now
named by a run      NamedText   -> the manifest with this digest, from the cache; else fetched, with --fetch
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import CorpusError
from textgen.system.bounded_files import MEGABYTE, read_bounded
from textgen.system.digests import DamagedError, file_digest
from textgen.system.locks import lock_while_alive
from textgen.text.cache import note_texts
from textgen.text.manifest import LIMIT, MANIFEST, Manifest, Shard, parse_manifest, read_manifest
from textgen.text.remote.copies import RemoteCache
from textgen.text.remote.shard_cache import SHARD_ENDING, ShardCache
from textgen.text.remote.shards import RemoteShards
from textgen.text.remote.texts import NamedText, RemoteRecord, RemoteTexts
from textgen.text.remote.transfer import Unreachable
from textgen.text.remote.urls import file_url, is_shortened, public_url
from textgen.text.remote.verified import WantedFile, fetch_verified

_MOST_SMALL = 10_000 * MEGABYTE  # of a file that is no shard
_USE = "use.json"  # which cache.py writes


@dataclass(frozen=True)
class RemoteFolder:
    """Encoded text behind a URL, as far as it is in the cache.

    path: the folder in the cache, whose shards come and go. record: for config.json; its digest is that of
    the manifest. notes: what the user should know, a line each.
    """

    path: Path
    record: RemoteRecord
    shards: RemoteShards
    notes: tuple[str, ...] = ()


def open_remote_folder(url: str, texts: RemoteTexts, named: NamedText | None = None) -> RemoteFolder:
    """The encoded text behind a URL, whose shards are fetched when they are read.

    named: where a run names the URL, and not the user; then only with texts.may_fetch. Raises CorpusError.
    """
    cache = ShardCache(texts.cache_dir, texts.cache_size)
    try:
        return _open(url, texts, named, cache)
    except OSError as error:
        raise CorpusError(
            f"{cache.folder}: {error.strerror or error}; choose another folder with --cache-dir"
        ) from error


def _open(url: str, texts: RemoteTexts, named: NamedText | None, cache: ShardCache) -> RemoteFolder:
    notes: tuple[str, ...] = ()
    refusal = None if named is None else _refusal(named, texts)
    manifest = None if named is None else _cached_manifest(cache.folder / named.record.sha256)
    if manifest is None or (named is not None and manifest.digest != named.record.sha256):
        if refusal is not None:
            raise CorpusError(f"{file_url(url, MANIFEST)}: {refusal}")
        manifest, notes = _fetched_manifest(url, texts)
        if named is not None and manifest.digest != named.record.sha256:
            raise CorpusError(
                f"{url}: has changed since {named.run} was trained on it (its digest begins with "
                f"{manifest.digest[:12]}, not {named.record.sha256[:12]}); restore the old text, or train "
                "a new run"
            )
    folder = cache.folder / manifest.digest
    record = RemoteRecord(file_url(public_url(url), ""), manifest.digest, is_shortened(url))
    if named is not None:
        record = named.record
    _fill(folder, manifest, url, record.url, refusal, texts)
    cache.remove_unused()
    wanted = {shard.name: _wanted(folder, url, shard, dtype, manifest) for shard, dtype in manifest.shards}
    shards = RemoteShards(wanted, cache, refusal=refusal, progress=texts.progress)
    lock_while_alive(shards, folder)
    return RemoteFolder(folder, record, shards, notes)


def _refusal(named: NamedText, texts: RemoteTexts) -> str | None:
    """Why nothing may be fetched that a run names; None: it may."""
    gone = f"the training text of {named.run} is not in the cache"
    if named.record.shortened:
        return (
            f"{gone}, and its URL was saved without its query or password; fetch it with the whole URL, as "
            f"`textgen eval {named.run} URL --part train` does, then repeat this command"
        )
    return None if texts.may_fetch else f"{gone}; --fetch fetches it from there"


def _cached_manifest(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except (OSError, DamagedError):
        return None


def _fetched_manifest(url: str, texts: RemoteTexts) -> tuple[Manifest, tuple[str, ...]]:
    """The manifest of a URL that may be fetched, and notes. Raises CorpusError."""
    source = file_url(url, MANIFEST)
    try:
        copy = RemoteCache(texts.cache_dir, texts.progress).fetch(source)
    except Unreachable:
        raise
    except CorpusError as error:
        raise CorpusError(
            f"{error}. A URL that ends with / is that of encoded text; name other files by their own URLs"
        ) from error
    try:
        manifest = parse_manifest(read_bounded(copy.path, LIMIT, "a manifest"))
        _require_names(manifest)
    except (DamagedError, ValueError) as error:
        raise CorpusError(f"{copy.url}: {error}; encode the text again with textgen encode") from error
    return manifest, () if copy.note is None else (copy.note,)


def _require_names(manifest: Manifest) -> None:
    """Raise DamagedError for shards that are not told from other files by their endings."""
    for shard, _ in manifest.shards:
        if not shard.name.endswith(SHARD_ENDING):
            raise DamagedError(f"{shard.name}: a shard that does not end with {SHARD_ENDING}")
    for name in manifest.files:
        if name.endswith(SHARD_ENDING) or name == _USE:
            raise DamagedError(f"{name}: not a name that textgen gives a file")


def _fill(
    folder: Path, manifest: Manifest, url: str, name: str, refusal: str | None, texts: RemoteTexts
) -> None:
    """Put into a folder of the cache all that is no shard. Raises CorpusError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for wanted in _small_files(folder, manifest, url):
        if wanted.path.exists() and file_digest(wanted.path) != wanted.blocks[0]:
            wanted.path.unlink()
        if not wanted.path.exists():
            if refusal is not None:
                raise CorpusError(f"{wanted.name}: {refusal}")
            fetch_verified(wanted, lambda done, total: None)
    if _cached_manifest(folder) is None:
        manifest.write(folder)
    note_texts(folder, (name,))


def _small_files(folder: Path, manifest: Manifest, url: str) -> Iterator[WantedFile]:
    for name, digest in manifest.files.items():
        # In one block, so that the digest of the block is that of the file.
        yield WantedFile(file_url(url, name), folder / name, None, (digest,), _MOST_SMALL, _MOST_SMALL)


def _wanted(folder: Path, url: str, shard: Shard, dtype: np.dtype[Any], manifest: Manifest) -> WantedFile:
    size = shard.length * dtype.itemsize
    return WantedFile(
        file_url(url, shard.name), folder / shard.name, size, shard.blocks, manifest.block_bytes
    )
