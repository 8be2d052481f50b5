"""Encoding one shard of a plan, and putting the shards together.

<folder>/
    plan.json                 which text each shard holds
    train-000007.bin  ...     the token ids of shard 7
    counts-000007.npy         the token ids that occur in its first part, and how often, (2, K) int64
    shard-000007.json         says that shard 7 is complete: written after its other files
    manifest.json             written when all shards are there
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from textgen.errors import CorpusError
from textgen.system.atomic import move_file, write_file
from textgen.system.bounded_files import RUN_FILE_LIMIT, parse_json, read_bounded
from textgen.system.digests import DamagedError, file_digest, require_files, sealed, unsealed
from textgen.system.locks import locked_temporary, remove_unless_locked
from textgen.text.documents import Separator
from textgen.text.encoded import TOKENIZER
from textgen.text.manifest import LABELS, Manifest, Shard, StoredPart, require_shard, shard_of
from textgen.text.portions import HashRule
from textgen.text.shard_plan import Piece, Plan, ShardText
from textgen.text.shard_planner import SEPARATOR
from textgen.text.shuffle import document_blocks
from textgen.text.split import hashed_documents
from textgen.text.store import COUNTS, block_file, label_numbers
from textgen.text.stored_tokens import StoredTokens

# Smaller than those of the cache: at the start, training reads a little of each of many shards.
BLOCK_BYTES = 4 * 2**20
_TEMPORARY = ".shard-"


class ShardReader:
    """The text of a shard, read from the files that it is in.

    numbers: for each document of it, the number of the part; None where all are of one part.
    """

    def __init__(self, plan: Plan, text: ShardText) -> None:
        self._plan, self._text = plan, text
        self._rule = plan.rules.get(text.parts[-1])
        # For each piece, the part of each of its documents, one more for none; None: all are of part 0.
        self._parts: list[np.ndarray | None] = [
            None if self._rule is None else self._parts_of(piece, self._rule) for piece in text.pieces
        ]

    @property
    def numbers(self) -> np.ndarray | None:
        """For each document that is in a part, its number, (D,) uint8; None: all are in part 0."""
        parts = [numbers for numbers in self._parts if numbers is not None]
        if not parts:
            return None
        joined = np.concatenate(parts)
        chosen: np.ndarray = joined[joined < len(self._text.parts)]
        return chosen

    def _parts_of(self, piece: Piece, rule: HashRule) -> np.ndarray:
        in_val, in_none = len(self._text.parts) - 1, len(self._text.parts)
        numbers = bytearray()
        for value, _ in hashed_documents(self._slice(piece)):
            other = in_none if rule.is_held_out(value) or not in_val else 0
            numbers.append(in_val if rule.is_read(value) else other)
        # Of a document that goes on in another shard, only part has been hashed.
        if numbers:
            numbers[0], numbers[-1] = piece.ends
        return np.frombuffer(bytes(numbers), np.uint8)

    def _slice(self, piece: Piece) -> Iterator[str | Separator]:
        return self._plan.reading.source(piece).slice(piece.start, piece.start + piece.length)

    def stream(self) -> Iterator[str | Separator]:
        """The text, with a separator between documents, never first or last. Raises CorpusError."""
        boundary = Separator(0, 0, line_ends=0)
        started = False
        for piece, parts in zip(self._text.pieces, self._parts, strict=True):
            flags = (
                itertools.repeat(True) if parts is None else iter((parts < len(self._text.parts)).tolist())
            )
            pending = boundary if piece.begins else None
            is_chosen = next(flags, False)
            for item in self._slice(piece):
                if isinstance(item, Separator):
                    pending, is_chosen = item, next(flags, False)
                elif is_chosen:
                    if pending is not None and started:
                        yield pending
                    pending, started = None, True
                    yield item

    def labels(self) -> Iterator[tuple[int, str | None]]:
        """The part and the label of each document that begins in the shard. Raises CorpusError."""
        for piece, parts in zip(self._text.pieces, self._parts, strict=True):
            numbers = itertools.repeat(0) if parts is None else iter(parts.tolist())
            stop, position = piece.start + piece.length, 0
            for characters, label in self._plan.reading.source(piece).labels():
                before, position = position, position + characters
                if before >= stop:
                    break
                if position <= piece.start:
                    continue
                number = next(numbers, len(self._text.parts))
                begins = before > piece.start or piece.begins
                if begins and number < len(self._text.parts):
                    yield number, label


def encode_shard(plan: Plan, index: int, folder: Path) -> None:
    """Make one shard in a folder; it is there completely, or not at all. May be called anywhere, at any time.

    Raises CorpusError where the text is not that of the plan, TokenizerError, OSError.
    """
    text = plan.shards[index]
    reader = ShardReader(plan, text)
    folder.mkdir(parents=True, exist_ok=True)
    with _files_for(folder, f"{index:06}") as building:
        record = _write_shard(building, plan, index, reader)
    write_file(folder / _record_name(index), json.dumps(sealed(record)))


@contextmanager
def _files_for(folder: Path, name: str) -> Iterator[Path]:
    """Yield a new folder, whose files are moved into another one, each completely, when the block ends."""
    prefix = f"{_TEMPORARY}{name}."
    with locked_temporary(lambda: Path(tempfile.mkdtemp(prefix=prefix, dir=folder))) as building:
        try:
            yield building
            for path in sorted(building.iterdir()):
                move_file(path, folder / path.name)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what processes left behind that were killed while they made a shard."""
    for left in folder.glob(f"{_TEMPORARY}*"):
        remove_unless_locked(left)


def _record_name(index: int) -> str:
    return f"shard-{index:06}.json"


def _counts_name(index: int) -> str:
    return f"counts-{index:06}.npy"


def token_file(part: str, index: int) -> str:
    """The name of the file with the token ids of a shard."""
    return f"{part}-{index:06}.bin"


def label_file(part: str, index: int) -> str:
    """The name of the file with the labels of a shard."""
    return f"{part}-{index:06}-labels.bin"


def token_dtype(plan: Plan) -> np.dtype[Any]:
    """The smallest unsigned integer type that can hold all token ids."""
    return np.min_scalar_type(plan.tokenizer.vocab_size - 1).newbyteorder("<")


def _write_shard(building: Path, plan: Plan, index: int, reader: ShardReader) -> dict[str, Any]:
    """Write the files of a shard into a folder; returns what is recorded of it."""
    text, dtype = plan.shards[index], token_dtype(plan)
    counts = np.zeros(plan.tokenizer.vocab_size, np.int64)
    first = next(iter(plan.sizes))
    files = [(building / token_file(part, index)).open("wb") for part in text.parts]
    try:
        for number, ids in _encoded(plan, text, reader):
            files[number].write(ids.astype(dtype).data)
            if text.parts[number] == first:
                counts += np.bincount(ids, minlength=len(counts))
    finally:
        for file in files:
            file.close()
    recorded: dict[str, Any] = {}
    labels = _write_labels(building, plan, index, reader) if plan.labels else {}
    for part in text.parts:
        path = building / token_file(part, index)
        shard = shard_of(path, dtype, BLOCK_BYTES)
        if shard.length == 0:
            path.unlink()
        recorded[part] = {"tokens": asdict(shard), "labels": labels.get(part)}
    present = np.flatnonzero(counts)
    np.save(building / _counts_name(index), np.stack([present, counts[present]]))
    digest = file_digest(building / _counts_name(index))
    return {"plan": plan.identity, "parts": recorded, "counts": digest}


def _encoded(plan: Plan, text: ShardText, reader: ShardReader) -> Iterator[tuple[int, np.ndarray]]:
    """Token ids (N,) and the number of their part, in order."""
    digest = hashlib.sha256()
    leads = text.pieces[0].begins and any(text.begun)
    stream = _digested(reader.stream(), digest)
    if leads:  # with the end-of-text before its first document
        stream = itertools.chain([Separator(0, 0, line_ends=0)], stream)
    batches = plan.tokenizer.encode_stream(stream)
    numbers = reader.numbers
    if numbers is None or len(text.parts) == 1:
        yield from ((0, ids) for ids in batches)
    else:
        yield from _by_part(batches, numbers, plan.tokenizer.end_of_text_id, text.begun, -1 if leads else 0)
    if digest.hexdigest() != text.digest:
        names = ", ".join(dict.fromkeys(name for piece in text.pieces for _, name, _ in piece.files))
        raise CorpusError(
            f"{names[:200]}: has changed since the shards were planned; restore it, or name another --output"
        )


def _digested(stream: Iterable[str | Separator], digest: Any) -> Iterator[str | Separator]:
    for item in stream:
        digest.update(SEPARATOR if isinstance(item, Separator) else item.encode())
        yield item


def _by_part(
    batches: Iterable[np.ndarray], numbers: np.ndarray, end_of_text: int, begun: Sequence[bool], document: int
) -> Iterator[tuple[int, np.ndarray]]:
    """The tokens of each document for its part, after an end-of-text token where it is not the first there.

    numbers: of the parts of all documents. document: that of the first token; -1: an end-of-text is first.
    """
    has_begun = list(begun)
    for ids in batches:
        documents = document + np.cumsum(
            ids == end_of_text
        )  # an end-of-text belongs to the document after it
        if not len(documents):
            continue
        document = int(documents[-1])
        parts = numbers[documents]
        for part in range(len(has_begun)):
            chosen = ids[parts == part]
            if not len(chosen):
                continue
            skip = not has_begun[part] and chosen[0] == end_of_text
            has_begun[part] = True
            yield part, chosen[int(skip) :]


def _write_labels(building: Path, plan: Plan, index: int, reader: ShardReader) -> dict[str, dict[str, Any]]:
    text = plan.shards[index]
    found: list[list[str | None]] = [[] for _ in text.parts]
    for number, label in reader.labels():
        found[number].append(label)
    written = {}
    for part, labels in zip(text.parts, found, strict=True):
        if labels:
            path = building / label_file(part, index)
            np.fromiter(label_numbers(labels, plan.labels), LABELS).tofile(path)
            written[part] = asdict(shard_of(path, LABELS, BLOCK_BYTES))
    return written


def is_complete(plan: Plan, index: int, folder: Path) -> bool:
    """Whether a shard is in a folder. Raises CorpusError for one of another text, or encoded otherwise."""
    try:
        record = _read_record(plan, index, folder)
        for _, shard, dtype in _recorded_shards(plan, record):
            require_shard(folder / shard.name, shard, dtype)
        return (folder / _counts_name(index)).is_file()
    except (FileNotFoundError, DamagedError):
        return False


def _read_record(plan: Plan, index: int, folder: Path) -> Mapping[str, Any]:
    """What is recorded of a shard. Raises FileNotFoundError, DamagedError, CorpusError."""
    path = folder / _record_name(index)
    try:
        record = unsealed(parse_json(read_bounded(path, RUN_FILE_LIMIT, "the record of a shard")))
    except (ValueError, AttributeError) as error:
        raise DamagedError(f"{path.name}: {error}") from None
    if record.get("plan") != plan.identity:
        raise CorpusError(
            f"{path}: a shard of another text, or encoded with other settings; choose an empty --output"
        )
    return record


def _recorded_shards(
    plan: Plan, record: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, str], Shard, np.dtype[Any]]]:
    """The part and kind, the entry and the type of each file of a shard that is not empty."""
    for part, entries in record["parts"].items():
        for kind, dtype in (("tokens", token_dtype(plan)), ("labels", LABELS)):
            if (entry := entries[kind]) is not None and entry["length"]:
                yield (part, kind), Shard(entry["name"], entry["length"], tuple(entry["blocks"])), dtype


def assemble(plan: Plan, folder: Path) -> Manifest | None:
    """Write the manifest if all shards are there; None where one is missing. Raises CorpusError, OSError."""
    if not all(is_complete(plan, index, folder) for index in range(len(plan.shards))):
        return None
    tokenizer = plan.tokenizer
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    files: dict[tuple[str, str], list[Shard]] = {}
    for index in range(len(plan.shards)):
        record = _read_record(plan, index, folder)
        require_files(folder, {_counts_name(index): record["counts"]})
        present, found = np.load(folder / _counts_name(index))
        counts[present] += found
        for key, shard, _ in _recorded_shards(plan, record):
            files.setdefault(key, []).append(shard)
    for part in plan.sizes:
        if (part, "tokens") not in files:
            raise CorpusError(
                f"the tokenizer produces no tokens for the {part} text; use another tokenizer, or more text"
            )
    parts = {
        part: StoredPart(
            size,
            tuple(files[part, "tokens"]),
            tuple(files.get((part, "labels"), ())) if plan.labels else None,
        )
        for part, size in plan.sizes.items()
    }
    names = [COUNTS, TOKENIZER]
    with _files_for(folder, "counts") as building:
        np.save(building / COUNTS, counts)
        if (blocks := _blocks(plan, folder, parts["train"])) is not None:
            names.append(block_file("train"))
            np.save(building / names[-1], blocks)
    write_file(folder / TOKENIZER, plan.tokenizer_json)
    manifest = Manifest(
        tokenizer=tokenizer.fingerprint,
        corpus=plan.corpus,
        dtype=token_dtype(plan),
        parts=parts,
        files={name: file_digest(folder / name) for name in names},
        records=plan.records,
        labels=plan.labels,
        block_bytes=BLOCK_BYTES,
        held_out_characters=plan.held_out_characters,
        is_collection=plan.is_collection,
        data=plan.data,
    )
    manifest.write(folder)
    return manifest


def _blocks(plan: Plan, folder: Path, part: StoredPart) -> np.ndarray | None:
    """The blocks in which documents are shuffled, so that training need not look for them everywhere."""
    if part.size.documents < 2:
        return None
    # Not checked, which would take long: whoever reads the tokens checks them.
    tokens = StoredTokens(
        folder.joinpath,
        part.tokens,
        token_dtype(plan),
        BLOCK_BYTES,
        damaged=lambda path, error: CorpusError(f"{path}: {error}; encode the text again"),
        is_checked=True,
    )
    return document_blocks(tokens, plan.tokenizer.end_of_text_id, counted=bool(plan.labels))
