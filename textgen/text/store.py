"""The encoded tokens of a corpus, memory-mapped: an entry of the cache, or what `textgen encode` made.

Both have a manifest and shards (manifest.py); those of the second kind may be fetched while they are read. An
entry of the cache has one shard for each part. Its name is a hash of the content of corpus and tokenizer, not
of paths or times: an edited file gets a new store, a moved or touched file keeps its store.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from textgen.errors import ConfigError, CorpusError
from textgen.settings.sizes import size_argument
from textgen.system.digests import DamagedError, file_digest, require_files
from textgen.text.cache import DAMAGED, read_or_build
from textgen.text.corpus import Corpus
from textgen.text.document_labels import DocumentLabels
from textgen.text.documents import TextSize
from textgen.text.encoded import TOKENIZER, AnyCorpus, EncodedCorpus, damaged
from textgen.text.encoding import Progress, encode_corpus
from textgen.text.manifest import (
    LABELS,
    MANIFEST,
    Manifest,
    Shard,
    StoredPart,
    read_manifest,
    require_shards,
    shard_of,
)
from textgen.text.records import RecordCount
from textgen.text.remote.encoded import RemoteFolder
from textgen.text.shuffle import require_blocks
from textgen.text.stored_tokens import StoredTokens, TokenArray
from textgen.text.tokenizer import Tokenizer

_FORMAT = 3
COUNTS = "counts.npy"


def block_file(part: str) -> str:
    """The name of the file with the blocks of documents of a part."""
    return f"{part}-blocks.npy"


def default_cache_dir() -> Path:
    """The user's cache folder for textgen, as is usual on this operating system.

    Raises ConfigError when the user has no home directory.
    """
    variable = {"win32": "LOCALAPPDATA", "darwin": ""}.get(sys.platform, "XDG_CACHE_HOME")
    if base := os.environ.get(variable):
        return Path(base) / "textgen"
    usual = {"win32": "AppData/Local", "darwin": "Library/Caches"}.get(sys.platform, ".cache")
    try:
        return Path.home() / usual / "textgen"
    except RuntimeError:
        raise ConfigError("no home directory to cache encoded text in; set --cache-dir") from None


class TokenStore:
    """The token ids of each part of a corpus, as read-only memory-mapped arrays.

    counts: how often each token id occurs in the first part, (vocab_size,) int64.
    """

    def __init__(self, path: Path, *, is_cached: bool = True, remote: RemoteFolder | None = None) -> None:
        """Open a store. Raises an error that read_or_build understands when it is missing or damaged.

        is_cached: whether it is built again by itself, once it is found damaged. remote: where its shards are
        fetched from; None: they are there.
        """
        self.path = path
        self._is_cached = is_cached
        self.remote = remote
        self.manifest = read_manifest(path)
        require_files(path, self.manifest.files)
        if remote is None:
            require_shards(path, self.manifest)
        parts = self.manifest.parts
        self._tokens = {name: self._open(part.tokens, self.manifest.dtype) for name, part in parts.items()}
        self.counts: np.ndarray = np.load(path / COUNTS)
        self._labels = {
            name: self._open(part.labels, LABELS) for name, part in parts.items() if part.labels is not None
        }

    def _open(self, shards: Sequence[Shard], dtype: np.dtype[np.unsignedinteger]) -> TokenArray:
        stored = StoredTokens(
            self.path.joinpath,
            shards,
            dtype,
            self.manifest.block_bytes,
            damaged=self._damaged,
            source=None if self.remote is None else self.remote.shards,
        )
        return np.asarray(stored) if stored.are_checked and stored.num_shards == 1 else stored

    def _damaged(self, path: Path, error: Exception) -> CorpusError:
        if self.remote is not None:
            path.unlink(missing_ok=True)
            return CorpusError(f"{path}: {error}; it was removed, and is fetched again when it is read")
        if not self._is_cached:
            return CorpusError(f"{path}: {error}; remove it, and make it again with textgen encode")
        # Without this file the folder counts as missing, and is built again.
        (self.path / MANIFEST).unlink(missing_ok=True)
        return CorpusError(f"{path}: {error}; start the command again, and the text is encoded again")

    @classmethod
    def open_encoded(cls, folder: Path) -> EncodedCorpus:
        """The text in a folder of `textgen encode`. Raises CorpusError, TokenizerError."""
        try:
            store = cls(folder, is_cached=False)
        except (*DAMAGED, DamagedError) as error:
            raise damaged(folder, error) from error
        if store.manifest.data is None or TOKENIZER not in store.manifest.files:
            raise CorpusError(f"{folder}: was not made by textgen encode")
        return EncodedCorpus(store, Tokenizer.load(folder / TOKENIZER))

    @classmethod
    def open_remote(cls, remote: RemoteFolder) -> EncodedCorpus:
        """The encoded text behind a URL. Raises CorpusError, TokenizerError."""
        try:
            store = cls(remote.path, is_cached=False, remote=remote)
            if store.manifest.data is None or TOKENIZER not in store.manifest.files:
                raise DamagedError("was not made by textgen encode")
        except (*DAMAGED, DamagedError) as error:
            raise CorpusError(f"{remote.record.url}: {error}; encode the text again") from error
        return EncodedCorpus(store, Tokenizer.load(remote.path / TOKENIZER))

    @property
    def name(self) -> str:
        """What messages call it: its URL, or else its folder."""
        return str(self.path) if self.remote is None else self.remote.record.url

    def is_here(self, part: str) -> bool:
        """Whether all tokens of a part are on this machine."""
        shards = self.manifest.parts[part].tokens
        return self.remote is None or self.remote.shards.are_here(shard.name for shard in shards)

    def read_at(self, places: Mapping[str, int], reader: str) -> None:
        """Prepare for reading parts at so many places at the same time; the parts, in order, are fetched.

        reader: who reads, in words. Does nothing where the shards are on this machine. Raises ConfigError
        where those that are read at the same time do not fit in the cache.
        """
        if self.remote is None:
            return
        # A piece may end in the shard after the one that it begins in.
        counts = {part: number + 1 for part, number in places.items() if part in self.parts}
        num_bytes = sum(self.manifest.num_bytes(part, count) for part, count in counts.items())
        self.remote.shards.require_room(
            num_bytes, f"{reader} and the shards there have {size_argument(num_bytes)}"
        )
        for part, count in counts.items():
            for stored in (self.tokens(part), self.labels(part)):
                if isinstance(stored, StoredTokens):
                    stored.read_at(count)

    def expect(self, part: str) -> None:
        """Fetch the shards of a part in the background, as far as there is room."""
        if self.remote is not None:
            found = self.manifest.parts[part]
            self.remote.shards.expect(shard.name for shard in (*found.tokens, *(found.labels or ())))

    def blocks(self, part: str) -> np.ndarray | None:
        """The blocks of documents of a part, as document_blocks finds them; None: nobody has looked.

        Raises CorpusError for what cannot be blocks.
        """
        name = block_file(part)
        if name not in self.manifest.files:
            return None
        try:
            found: np.ndarray = np.load(self.path / name)
            require_blocks(found, len(self.tokens(part)))
        except (*DAMAGED, DamagedError) as error:
            raise CorpusError(f"{self.name}: {name}: {error}; encode the text again") from error
        return found

    @property
    def records(self) -> RecordCount:
        """How many records the text has, and how many of them were skipped."""
        return self.manifest.records

    @property
    def key(self) -> str:
        """SHA-256 of the corpus, the tokenizer and the format of the store."""
        return self.path.name

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(self.manifest.parts)

    def tokens(self, part: str) -> TokenArray:
        """Token ids of a part, (N,), read-only, in an unsigned integer type."""
        return self._tokens[part]

    def labels(self, part: str) -> TokenArray | None:
        """For each document of a part 0, or 1 + the index of its label, (D,) uint16; None without labels."""
        return self._labels.get(part)

    def document_labels(self, part: str, end_of_text: int) -> DocumentLabels | None:
        """The labels of a part by position; None without labels."""
        labels = self.labels(part)
        return None if labels is None else DocumentLabels(self.tokens(part), end_of_text, labels)

    def size(self, part: str) -> TextSize:
        """How much text a part has."""
        return self.manifest.parts[part].size

    @classmethod
    def open_or_build(
        cls,
        corpus: AnyCorpus,
        tokenizer: Tokenizer,
        cache_dir: Path,
        progress: Progress | None = None,
        *,
        labels: Sequence[str] = (),
    ) -> TokenStore:
        """The store of a corpus, from the cache or built now. Several processes may build it at once.

        That of encoded text is where it is; it must be of this tokenizer, and of these labels if any.

        labels: those whose index is stored; a document with another one counts as having none.

        Raises CorpusError for text that cannot be read or changes while it is read, and for a cache folder
        that cannot be written.
        """
        if isinstance(corpus, EncodedCorpus):
            return cast(TokenStore, corpus.store_of(tokenizer, labels))
        identity = f"{_FORMAT} {corpus.fingerprint} {tokenizer.fingerprint}"
        if labels:
            identity += f" {json.dumps(labels)}"
        path = cache_dir / hashlib.sha256(identity.encode()).hexdigest()

        def build(folder: Path) -> None:
            _build(folder, corpus, tokenizer, labels, progress)
            corpus.require_unchanged()  # else the tokens of another text would be cached under this key

        return read_or_build(path, cls, build)


def _build(
    folder: Path, corpus: Corpus, tokenizer: Tokenizer, labels: Sequence[str], progress: Progress | None
) -> None:
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    encoded = encode_corpus(folder, corpus, tokenizer, counts, progress)
    parts = dict[str, StoredPart]()
    for name, part in encoded.items():
        shards = None
        if labels:
            path = folder / f"{name}-labels.bin"
            np.fromiter(label_numbers(corpus.labels(name), labels), LABELS).tofile(path)
            shards = (shard_of(path, LABELS),)
        parts[name] = StoredPart(part.meter.size, (shard_of(folder / f"{name}.bin", part.dtype),), shards)
    records = corpus.record_count
    np.save(folder / COUNTS, counts)
    Manifest(
        tokenizer=tokenizer.fingerprint,
        corpus=corpus.fingerprint,
        dtype=encoded[corpus.parts[0]].dtype,
        parts=parts,
        files={COUNTS: file_digest(folder / COUNTS)},
        records=RecordCount(records.read, records.absent, records.null),
        labels=tuple(labels),
    ).write(folder)


def label_numbers(labels: Iterable[str | None], known: Sequence[str]) -> Iterator[int]:
    """For each label 1 + its index among those that are known; 0 for none, and for another one."""
    number = {label: index for index, label in enumerate(known, start=1)}
    return (0 if label is None else number.get(label, 0) for label in labels)
