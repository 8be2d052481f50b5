"""The manifest of encoded text: which files hold the tokens of each part, in what order, and their digests.

    <folder>/
        manifest.json               this, written last: without it the folder is not complete
        train-000000.bin  ...       shards: token ids, little-endian, in the order of the text
        train-000000-labels.bin     for each document of a shard 0, or 1 + the index of its label, uint16
        counts.npy                  how often each token id occurs in the first part, int64
        tokenizer.json              where the tokenizer belongs to the folder (`textgen encode`)

It may come from a stranger, so that every value is checked before it is used: a name is that of a file in the
folder itself, and sizes and digests are possible ones.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from textgen.system.atomic import write_file
from textgen.system.bounded_files import MEGABYTE, parse_json, read_bounded
from textgen.system.digests import BLOCK_BYTES, SEAL, DamagedError, block_digests, sealed, unsealed
from textgen.text.documents import TextSize
from textgen.text.records import RecordCount
from textgen.text.remote.urls import MANIFEST as MANIFEST

KIND = "textgen encoded text"  # the beginning of the file says so
FORMAT = 1
LABELS = np.dtype("<u2")

LIMIT = 1000 * MEGABYTE  # digests of a store of tens of terabytes
_LARGEST = 2**53  # of any number: exact in JSON
_MOST_SHARDS = 10**6
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTS = (("train",), ("train", "val"), ("train", "test"), ("train", "val", "test"), ("text",))
_RECORDS = "read", "absent", "null"
_DTYPES = "uint8", "uint16", "uint32"


@dataclass(frozen=True)
class Shard:
    """A file of `length` numbers of one type. name: in the folder. blocks: the digest of each block of it."""

    name: str
    length: int
    blocks: tuple[str, ...]


@dataclass(frozen=True)
class StoredPart:
    """The files of a part, each in order. size: of its text. labels: of documents; None without labels."""

    size: TextSize
    tokens: tuple[Shard, ...]
    labels: tuple[Shard, ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """What is in a folder of encoded text.

    tokenizer, corpus: their fingerprints. dtype: of the token ids. files: the digests of all files that are
    not shards. labels: the labels of documents. block_bytes: the size of the blocks that have a digest each.
    held_out_characters: as of the corpus. is_collection: whether the documents are in no order. data: the
    settings that the text was read with, where the folder was made to be trained on.
    """

    tokenizer: str
    corpus: str
    dtype: np.dtype[Any]
    parts: Mapping[str, StoredPart]
    files: Mapping[str, str]
    records: RecordCount = field(default_factory=RecordCount)
    labels: tuple[str, ...] = ()
    block_bytes: int = BLOCK_BYTES
    held_out_characters: int = 0
    is_collection: bool = False
    data: Mapping[str, Any] | None = None

    @property
    def shards(self) -> Iterator[tuple[Shard, np.dtype[Any]]]:
        """Every shard, and the type of its numbers."""
        for part in self.parts.values():
            yield from ((shard, self.dtype) for shard in part.tokens)
            yield from ((shard, LABELS) for shard in part.labels or ())

    def to_json(self) -> str:
        """The content of manifest.json."""
        content = {
            "kind": KIND,
            "format": FORMAT,
            "tokenizer": self.tokenizer,
            "corpus": self.corpus,
            "dtype": self.dtype.name,
            "block_bytes": self.block_bytes,
            "parts": {name: asdict(part) for name, part in self.parts.items()},
            "records": {name: getattr(self.records, name) for name in _RECORDS},
            "labels": list(self.labels),
            "files": dict(self.files),
            "held_out_characters": self.held_out_characters,
            "is_collection": self.is_collection,
            "data": None if self.data is None else dict(self.data),
        }
        return json.dumps(sealed(json.loads(json.dumps(content))), indent=1)

    @property
    def digest(self) -> str:
        """A digest of everything in it, and so of all files that it names."""
        return str(json.loads(self.to_json())[SEAL])

    def num_bytes(self, part: str, count: int) -> int:
        """The bytes of the largest so many shards of a part, with as many of labels."""
        found = self.parts[part]
        total = 0
        for shards, dtype in ((found.tokens, self.dtype), (found.labels or (), LABELS)):
            total += sum(sorted((shard.length for shard in shards), reverse=True)[:count]) * dtype.itemsize
        return total

    def write(self, folder: Path) -> None:
        """Write manifest.json, atomically. Raises OSError."""
        write_file(folder / MANIFEST, self.to_json())


def shard_of(path: Path, dtype: np.dtype[Any], block_bytes: int = BLOCK_BYTES) -> Shard:
    """The entry of a file that was just written. Raises OSError."""
    return Shard(path.name, path.stat().st_size // dtype.itemsize, tuple(block_digests(path, block_bytes)))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. Raises OSError, and DamagedError for anything but one that textgen writes."""
    return parse_manifest(read_bounded(folder / MANIFEST, LIMIT, "a manifest"))


def parse_manifest(content: bytes | str) -> Manifest:
    """The manifest in a JSON text. Raises DamagedError, whose message follows the name of the file."""
    try:
        found = parse_json(content)
        if not isinstance(found, dict) or found.get("kind") != KIND:
            raise DamagedError("not a manifest of encoded text")
        found = unsealed(found)
        if found["format"] != FORMAT:
            raise DamagedError("of another version of textgen; encode the text again")
        return _manifest(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"not a manifest of encoded text ({error!r})") from None


def require_shards(folder: Path, manifest: Manifest) -> None:
    """Raise DamagedError unless every shard is a file of its size in the folder; OSError where one is not."""
    for shard, dtype in manifest.shards:
        require_shard(folder / shard.name, shard, dtype)


def require_shard(path: Path, shard: Shard, dtype: np.dtype[Any]) -> None:
    """Raise DamagedError unless a path is a regular file, and no link, of the size of its shard."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError(f"{shard.name} is not a regular file")
    if found.st_size != shard.length * dtype.itemsize:
        raise DamagedError(f"{shard.name} has {found.st_size:,} bytes, not {shard.length * dtype.itemsize:,}")


def _manifest(found: Mapping[str, Any]) -> Manifest:
    parts = found["parts"]
    if tuple(parts) not in _PARTS:
        raise DamagedError(f"no parts of a text: {list(parts)}"[:200])
    if found["dtype"] not in _DTYPES:
        raise DamagedError(f"dtype: {found['dtype']!r:.40}")
    dtype, block_bytes = (
        np.dtype(found["dtype"]).newbyteorder("<"),
        _number(found["block_bytes"], "block_bytes"),
    )
    if not 2**10 <= block_bytes <= 2**32 or block_bytes % 4:
        raise DamagedError(f"block_bytes: {block_bytes}")
    labels = tuple(found["labels"])
    read, absent, null = (_number(found["records"][name], name) for name in _RECORDS)
    manifest = Manifest(
        tokenizer=_digest(found["tokenizer"]),
        corpus=_digest(found["corpus"]),
        dtype=dtype,
        parts={name: _part(part, name, dtype, block_bytes) for name, part in parts.items()},
        files={_name(name): _digest(digest) for name, digest in found["files"].items()},
        records=RecordCount(read, absent, null),
        labels=labels,
        block_bytes=block_bytes,
        held_out_characters=_number(found["held_out_characters"], "held_out_characters"),
        is_collection=found["is_collection"] is True,
        data=found["data"],
    )
    if not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        raise DamagedError("labels must be different texts")
    if manifest.data is not None and not isinstance(manifest.data, dict):
        raise DamagedError("data: not an object")
    names = [*manifest.files, *(shard.name for shard, _ in manifest.shards)]
    if len(set(names)) < len(names) or MANIFEST in names:
        raise DamagedError("a file is named twice")
    return manifest


def _part(found: Mapping[str, Any], name: str, dtype: np.dtype[Any], block_bytes: int) -> StoredPart:
    size = TextSize(**{key: _number(value, key) for key, value in found["size"].items()})
    tokens = _shards(found["tokens"], dtype, block_bytes)
    if not tokens:
        raise DamagedError(f"{name} has no tokens")
    labels = None if found["labels"] is None else _shards(found["labels"], LABELS, block_bytes)
    if labels is not None and sum(shard.length for shard in labels) != size.documents:
        raise DamagedError(f"{name}: as many labels as documents are needed")
    return StoredPart(size, tokens, labels)


def _shards(found: Sequence[Mapping[str, Any]], dtype: np.dtype[Any], block_bytes: int) -> tuple[Shard, ...]:
    if not isinstance(found, list) or len(found) > _MOST_SHARDS:
        raise DamagedError("no list of shards, or too many")
    shards = []
    for entry in found:
        shard = Shard(_name(entry["name"]), _number(entry["length"], "length"), tuple(entry["blocks"]))
        blocks = -(-shard.length * dtype.itemsize // block_bytes)
        if shard.length == 0 or len(shard.blocks) != blocks:
            raise DamagedError(f"{shard.name}: {len(shard.blocks)} digests for {shard.length} numbers")
        for digest in shard.blocks:
            _digest(digest)
        shards.append(shard)
    if sum(shard.length for shard in shards) > _LARGEST:
        raise DamagedError("too many tokens")
    return tuple(shards)


def _number(value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise DamagedError(f"{name}: {value!r:.40} is not a number of things")
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise DamagedError(f"{value!r:.80} is not a digest")
    return value


def _name(value: Any) -> str:
    """A plain file name, without folders; neither hidden, nor in the way of what is written here."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise DamagedError(f"{value!r:.80} is not the plain name of a file")
    return value
