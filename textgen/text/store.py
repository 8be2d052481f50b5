"""The encoded tokens of a corpus, cached on disk and memory-mapped.

    <cache folder>/<key>/
        train.bin  val.bin      token ids, in the smallest unsigned integer type that can hold them
        train-labels.npy  ...   for each document 0, or 1 + the index of its label; only with labels
        counts.npy              how often each token id occurs in the first part, int64
        meta.json               sizes of the parts, and digests of all files

The key is a hash of the content of corpus and tokenizer, not of paths or times: an edited file gets a new
store, a moved or touched file keeps its store.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import ConfigError
from textgen.system.digests import block_digests, file_digest, require_files, sealed, unsealed
from textgen.text.cache import read_or_build
from textgen.text.corpus import Corpus
from textgen.text.document_labels import DocumentLabels
from textgen.text.documents import TextSize
from textgen.text.encoding import Progress, encode_corpus
from textgen.text.records import RecordCount
from textgen.text.stored_tokens import StoredTokens, TokenArray
from textgen.text.tokenizer import Tokenizer

_FORMAT = 2


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

    counts: how often each token id occurs in the first part, (vocab_size,) int64. records: how many records
    the text has and how many of them were skipped.
    """

    def __init__(self, path: Path) -> None:
        """Open a store. Raises an error that read_or_build understands when it is missing or damaged."""
        self.path = path
        meta = unsealed(json.loads((path / "meta.json").read_text()))
        self._dtype = np.dtype(meta["dtype"])
        self._sizes = {part: TextSize(**size) for part, size in meta["sizes"].items()}
        self.records = RecordCount(**meta.get("records", {}))  # a store of an earlier version skipped none
        require_files(path, meta["files"])
        self._tokens = {part: self._map(part, digests) for part, digests in meta["blocks"].items()}
        self.counts: np.ndarray = np.load(path / "counts.npy")
        self._labels: dict[str, np.ndarray] = {
            part: np.load(_labels_path(path, part), mmap_mode="r")
            for part in self._tokens
            if meta.get("labels")
        }

    def _map(self, part: str, digests: Sequence[str]) -> TokenArray:
        tokens = StoredTokens(self.path / f"{part}.bin", self._dtype, digests)
        return np.asarray(tokens) if tokens.are_checked else tokens

    @property
    def key(self) -> str:
        """SHA-256 of the corpus, the tokenizer and the format of the store."""
        return self.path.name

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return tuple(self._sizes)

    def tokens(self, part: str) -> TokenArray:
        """Token ids of a part, (N,), read-only, in an unsigned integer type."""
        return self._tokens[part]

    def labels(self, part: str) -> np.ndarray | None:
        """For each document of a part 0, or 1 + the index of its label, (D,) uint16; None without labels."""
        return self._labels.get(part)

    def document_labels(self, part: str, end_of_text: int) -> DocumentLabels | None:
        """The labels of a part by position; None without labels."""
        labels = self.labels(part)
        return None if labels is None else DocumentLabels(self.tokens(part), end_of_text, labels)

    def size(self, part: str) -> TextSize:
        """How much text a part has."""
        return self._sizes[part]

    @classmethod
    def open_or_build(
        cls,
        corpus: Corpus,
        tokenizer: Tokenizer,
        cache_dir: Path,
        progress: Progress | None = None,
        *,
        labels: Sequence[str] = (),
    ) -> TokenStore:
        """The store of a corpus, from the cache or built now. Several processes may build it at once.

        labels: those whose index is stored; a document with another one counts as having none.

        Raises CorpusError for text that cannot be read or changes while it is read, and for a cache folder
        that cannot be written.
        """
        identity = f"{_FORMAT} {corpus.fingerprint} {tokenizer.fingerprint}"
        if labels:
            identity += f" {json.dumps(labels)}"
        path = cache_dir / hashlib.sha256(identity.encode()).hexdigest()

        def build(folder: Path) -> None:
            _build(folder, corpus, tokenizer, labels, progress)
            corpus.require_unchanged()  # else the tokens of another text would be cached under this key

        return read_or_build(path, cls, build)


def _labels_path(folder: Path, part: str) -> Path:
    return folder / f"{part}-labels.npy"


def _build(
    folder: Path, corpus: Corpus, tokenizer: Tokenizer, labels: Sequence[str], progress: Progress | None
) -> None:
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    parts = encode_corpus(folder, corpus, tokenizer, counts, progress)
    meta: dict[str, Any] = {
        "dtype": parts[corpus.parts[0]].dtype.name,
        "blocks": {name: block_digests(folder / f"{name}.bin") for name in parts},
        "sizes": {name: asdict(part.meter.size) for name, part in parts.items()},
    }
    if labels:
        number = {label: index for index, label in enumerate(labels, start=1)}
        for part in parts:
            numbers = (0 if label is None else number.get(label, 0) for label in corpus.labels(part))
            np.save(_labels_path(folder, part), np.fromiter(numbers, np.uint16))
    records = corpus.record_count
    meta["records"] = {"read": records.read, "absent": records.absent, "null": records.null}
    meta["labels"] = len(labels)
    np.save(folder / "counts.npy", counts)
    meta["files"] = {path.name: file_digest(path) for path in folder.glob("*.npy")}
    (folder / "meta.json").write_text(json.dumps(sealed(meta), indent=2))
