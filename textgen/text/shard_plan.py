"""The plan of a sharded store: which text each shard holds, so that anyone can make any of them.

    corpus   ████████████████████████████████████████████████████
    shards   ├────── 0 ──────┼────── 1 ──────┼────── 2 ──────┼──┤
    pieces   ├─ a.txt ─┼─ b.txt, from byte 0 ┼─ b.txt, from byte 93,410,304, 512 characters later ...

Shards are cut where the tokenizer may cut a text, so that their tokens one after another are those of the
whole text. Training and validation documents that a hash tells apart are read once: such a shard has files of
both parts. Making the plan reads the text once from beginning to end; making a shard reads only its pieces.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from textgen.errors import CorpusError
from textgen.system.atomic import write_file
from textgen.system.bounded_files import MEGABYTE, parse_json, read_bounded
from textgen.system.digests import sealed, unsealed
from textgen.text.documents import TextSize
from textgen.text.external import build_library
from textgen.text.formats import Place, TextFile
from textgen.text.manifest import KIND
from textgen.text.portions import HashRule
from textgen.text.records import RecordCount
from textgen.text.sources import Source
from textgen.text.tokenizer import Tokenizer

PLAN = "plan.json"
_FORMAT = 1
_LIMIT = 10_000 * MEGABYTE


@dataclass(frozen=True)
class Piece:
    """A range of the text of a source.

    files: from the one that it begins in to the one that it ends in, each (path, name, whether it is text
    whatever its name). place: where to begin in the first one; None: at its beginning. start: characters to
    skip from there. length: characters, separators not counted. begins: whether a document begins with it.
    ends: the numbers of the parts that its first and its last document belong to.
    """

    files: tuple[tuple[str, str, bool], ...]
    place: Place | None
    start: int
    length: int
    begins: bool
    ends: tuple[int, int]


@dataclass(frozen=True)
class ShardText:
    """The text of one shard.

    parts: the names of the parts that it has text of; their numbers are the indices. begun: for each, whether
    there was text of it before. digest: SHA-256 of the text, as shard_encoding.py computes it.
    """

    parts: tuple[str, ...]
    begun: tuple[bool, ...]
    pieces: tuple[Piece, ...]
    characters: int
    digest: str


@dataclass(frozen=True)
class Reading:
    """How the files of a source are read; as the fields of Source."""

    documents: str
    field: str | None
    encoding: str
    delimiter: str | None
    label_field: str | None
    normalize: str | None

    def source(self, piece: Piece) -> Source:
        """The files of a piece, from its place on."""
        files = [TextFile(path, name, is_text) for path, name, is_text in piece.files]
        files[0] = dataclasses.replace(files[0], place=piece.place)
        return Source(piece.files[0][1], tuple(files), **vars(self))


@dataclass(frozen=True)
class Plan:
    """All shards of an encoded text, and what is needed to make them.

    corpus, tokenizer_json: the fingerprint of the text, and the tokenizer. rules: by which documents are
    chosen for a part, where they are. labels: those that are stored. sizes: of each part. records,
    held_out_characters, is_collection: as of the corpus. request: a digest of what the user asked for. data:
    the settings of the text, without paths.
    """

    corpus: str
    tokenizer_json: str
    reading: Reading
    rules: Mapping[str, HashRule]
    labels: tuple[str, ...]
    sizes: Mapping[str, TextSize]
    records: RecordCount
    held_out_characters: int
    is_collection: bool
    request: str
    shard_characters: int
    data: Mapping[str, Any]
    shards: tuple[ShardText, ...]

    @cached_property
    def identity(self) -> str:
        """A digest of what determines the content of all shards; not of paths."""
        fixed = [self.corpus, self.tokenizer_json, list(self.labels), self.shard_characters, len(self.shards)]
        texts = [[shard.parts, shard.begun, shard.characters, shard.digest] for shard in self.shards]
        return hashlib.sha256(json.dumps([_FORMAT, fixed, texts]).encode()).hexdigest()

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, made once in a process."""
        return _tokenizer(self.tokenizer_json)

    def write(self, folder: Path) -> None:
        """Write plan.json, atomically. Raises OSError."""
        content = json.loads(json.dumps({"kind": KIND, "format": _FORMAT} | asdict(self), default=bytes.hex))
        content["records"].pop("names")
        write_file(folder / PLAN, json.dumps(sealed(content), indent=1))


@lru_cache(maxsize=2)
def _tokenizer(content: str) -> Tokenizer:
    return Tokenizer(build_library(json.loads(content)))


def read_plan(folder: Path) -> Plan | None:
    """The plan in a folder; None where there is none. Raises CorpusError for one that is damaged, OSError."""
    path = folder / PLAN
    try:
        found = unsealed(parse_json(read_bounded(path, _LIMIT, "a plan")))
        if found.pop("format") != _FORMAT:
            raise ValueError("of another version of textgen")
        return Plan(
            corpus=found["corpus"],
            tokenizer_json=found["tokenizer_json"],
            reading=Reading(**found["reading"]),
            rules={part: HashRule(**rule) for part, rule in found["rules"].items()},
            labels=tuple(found["labels"]),
            sizes={part: TextSize(**size) for part, size in found["sizes"].items()},
            records=RecordCount(**found["records"]),
            held_out_characters=found["held_out_characters"],
            is_collection=found["is_collection"],
            request=found["request"],
            shard_characters=found["shard_characters"],
            data=found["data"],
            shards=tuple(_shard_text(shard) for shard in found["shards"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(f"{path}: {error}; remove it, and the folder is planned again") from None


def _shard_text(found: Mapping[str, Any]) -> ShardText:
    pieces = tuple(_piece(piece) for piece in found["pieces"])
    begun = tuple(found["begun"])
    return ShardText(tuple(found["parts"]), begun, pieces, found["characters"], found["digest"])


def _piece(found: Mapping[str, Any]) -> Piece:
    place = found["place"]
    if place is not None:
        place = Place(**place | {"held": bytes.fromhex(place["held"])})
    files: Sequence[tuple[str, str, bool]] = [tuple(file) for file in found["files"]]
    first, last = found["ends"]
    return Piece(tuple(files), place, found["start"], found["length"], found["begins"], (first, last))
