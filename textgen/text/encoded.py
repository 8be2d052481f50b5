"""A folder that `textgen encode` made, in place of the corpus that it was made from.

Its text is what the tokens stand for, so that the files of the text need not be there. Of a tokenizer that is
not byte-level the text is only about the same.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from textgen.errors import ConfigError, CorpusError
from textgen.settings.config import DataConfig
from textgen.settings.option import flag
from textgen.system.digests import DamagedError
from textgen.text.corpus import Corpus
from textgen.text.documents import Separator, TextSize
from textgen.text.manifest import KIND, MANIFEST, Manifest
from textgen.text.records import RecordCount
from textgen.text.shard_plan import PLAN
from textgen.text.stored_tokens import TokenArray
from textgen.text.tokenizer import Tokenizer

TOKENIZER = "tokenizer.json"
# Of a run, and not of how its text was encoded.
FREE_OPTIONS = frozenset({"corpus", "chat_template", "chat_stop"})
_PATHS = frozenset({"corpus", "val", "test", "include"})
_DECODED = 2**16  # tokens at a time


class StoredText(Protocol):
    """What TokenStore has."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def parts(self) -> tuple[str, ...]: ...  # noqa: D102
    def tokens(self, part: str) -> TokenArray: ...  # noqa: D102
    def labels(self, part: str) -> TokenArray | None: ...  # noqa: D102
    def size(self, part: str) -> TextSize: ...  # noqa: D102


class EncodedCorpus:
    """The text in a store, with what a Corpus has that is asked of a text once it has been read."""

    def __init__(self, store: StoredText, tokenizer: Tokenizer) -> None:
        """Raises CorpusError when the tokenizer is not the one that encoded the text."""
        self.store, self.tokenizer = store, tokenizer
        if tokenizer.fingerprint != store.manifest.tokenizer:
            raise CorpusError(f"{store.name}: was encoded with another tokenizer; encode the text again")

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts."""
        return self.store.parts

    @property
    def notes(self) -> list[str]:
        """None: they were given when the text was encoded."""
        return []

    @property
    def fingerprint(self) -> str:
        """A digest of the manifest, and so of all tokens."""
        return self.store.manifest.digest

    @property
    def has_exchangeable_documents(self) -> bool:
        """Whether the text is a collection, in no order; as Corpus decides it."""
        return self.store.manifest.is_collection

    @property
    def record_count(self) -> RecordCount:
        """How many records the text has, and how many were skipped."""
        return self.store.manifest.records

    @property
    def held_out_characters(self) -> int:
        """Characters that training does not read; `val` may have fewer of them."""
        return self.store.manifest.held_out_characters

    def size(self, part: str) -> TextSize:
        """How much text a part has."""
        return self.store.size(part)

    def characters(self, part: str) -> int:
        """About how many characters a part has."""
        return self.size(part).characters

    def store_of(self, tokenizer: Tokenizer, labels: Sequence[str] = ()) -> StoredText:
        """The store, for a tokenizer and labels. Raises CorpusError when it was encoded with others."""
        known = self.store.manifest.labels
        if tokenizer.fingerprint != self.store.manifest.tokenizer or (labels and known != tuple(labels)):
            raise CorpusError(
                f"{self.store.name}: was encoded with another tokenizer, or other labels; encode the text "
                "with textgen encode --run-config RUN"
            )
        return self.store

    def require_unchanged(self) -> None:
        """Nothing: a shard that has changed is refused when it is read."""

    def labels(self, part: str) -> Iterator[str | None]:
        """The label of each document of a part; None: it has none."""
        names = (None, *self.store.manifest.labels)
        numbers = self.store.labels(part)
        if numbers is None:
            return iter([None] * self.size(part).documents)
        return (names[int(number)] for number in numbers)

    def stream(self, part: str) -> Iterator[str | Separator]:
        """The text of a part as a stream; every separator counts as one character. Raises CorpusError."""
        tokens, end_of_text = self.store.tokens(part), self.tokenizer.end_of_text_id
        decoder = self._decoder()
        for start in range(0, len(tokens), _DECODED):
            ids = np.asarray(tokens[start : start + _DECODED])
            for number, document in enumerate(np.split(ids, np.flatnonzero(ids == end_of_text))):
                if number:
                    yield Separator(1, 1)
                if text := decoder(document[1 if number else 0 :].tolist()):
                    yield text

    def _decoder(self) -> Any:
        """A function from some token ids to their text; the beginning of a character waits for its end."""
        token_bytes = self.tokenizer.token_bytes
        if token_bytes is None:
            return self.tokenizer.decode
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        return lambda ids: decode(b"".join(map(token_bytes.__getitem__, ids)))


AnyCorpus = Corpus | EncodedCorpus


def encoded_folder(corpus: Sequence[str] | None) -> Path | None:
    """The folder of encoded text that a corpus is; None where it is text.

    Raises CorpusError for one that is not complete, beside other texts, and for its manifest.
    """
    paths = [Path(name) for name in corpus or () if name != "-"]
    for path in paths:
        if path.name == MANIFEST and is_encoded(path.parent):  # would be read as the text of a .json file
            raise CorpusError(f"{path}: the manifest of encoded text; name its folder: {path.parent}")
    folders = [path for path in paths if is_encoded(path)]
    if not folders:
        return None
    folder = folders[0]
    if len(corpus or ()) > 1:
        raise CorpusError(f"{folder}: encoded text cannot be read together with other texts; encode them too")
    if not (folder / MANIFEST).exists():
        raise CorpusError(f"{folder}: some shards are missing; run the same textgen encode again")
    return folder


def is_encoded(path: Path) -> bool:
    """Whether a path is a folder of `textgen encode`, complete or not."""
    try:
        for name in (MANIFEST, PLAN):
            if (path / name).is_file():
                with (path / name).open("rb") as file:
                    return KIND.encode() in file.read(200)
    except (OSError, ValueError):
        return False
    return False


def encoded_config(
    manifest: Manifest, folder: Path, given: Mapping[str, Any], name: str | None = None
) -> DataConfig:
    """The settings of encoded text, with those that the user gave and that do not change its tokens.

    name: as a config has it; None: its folder.

    Raises ConfigError for others that are not as they were, and CorpusError for settings that do not exist.
    """
    name = str(folder) if name is None else name
    known = dict(manifest.data or {})
    changed = [
        option
        for option in given.keys() - FREE_OPTIONS
        if option not in known or given[option] != known[option]
    ]
    if refused := sorted(changed):
        raise ConfigError(
            f"{name}: its text is encoded already: leave out {', '.join(map(flag, refused))}, or encode "
            f"it again with {'it' if len(refused) == 1 else 'them'}"
        )
    data = dict(manifest.data or {})
    if data.keys() & _PATHS:
        raise CorpusError(f"{name}: its {MANIFEST} names files; encode the text again")
    if data.get("tokenizer") == TOKENIZER:
        data["tokenizer"] = str(folder / TOKENIZER)
    try:
        free = {option: value for option, value in given.items() if option in FREE_OPTIONS}
        return DataConfig(**data | free | {"corpus": (name,)})
    except (ConfigError, TypeError) as error:
        raise CorpusError(f"{name}: data of its {MANIFEST}: {error}; encode the text again") from error


def settings_of(config: DataConfig) -> dict[str, Any]:
    """The settings of a text that are kept with its tokens: no paths, and nothing that is of a run."""
    kept = {name: value for name, value in vars(config).items() if name not in FREE_OPTIONS | _PATHS}
    if config.uses_tokenizer_file:
        kept |= {"tokenizer": TOKENIZER, "end_of_text": None}
    return kept


def damaged(folder: Path, error: Exception) -> CorpusError:
    """The error for a folder that cannot be opened."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    named = f"{Path(str(error.filename)).name}: " if isinstance(error, OSError) and error.filename else ""
    kind = "" if isinstance(error, (OSError, DamagedError)) else "damaged: "
    return CorpusError(f"{folder}: {kind}{named}{reason}; repeat the textgen encode that made it")
