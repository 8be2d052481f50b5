"""The first stage: the user's data section becomes a corpus, its tokenizer, encoded text and a vocabulary.

data section -> config -> corpus -> tokenizer -> store -> model vocabulary
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textgen.errors import ConfigError, CorpusError, RunError
from textgen.run import Run, vocab_of
from textgen.settings.config import MAX_LABELS, TOKENIZER_KINDS, DataConfig
from textgen.settings.given import Section
from textgen.settings.option import unknown_name
from textgen.system.locks import lock_while_alive
from textgen.text.corpus import Corpus
from textgen.text.encoded import AnyCorpus, EncodedCorpus, encoded_config
from textgen.text.encoding import Progress
from textgen.text.model_vocab import ModelVocab
from textgen.text.normalize import form_of_stream
from textgen.text.opening import open_encoded
from textgen.text.remote.texts import NamedText, RemoteRecord, RemoteTexts
from textgen.text.remote.urls import is_url
from textgen.text.round_trip import measure_round_trip
from textgen.text.store import TokenStore
from textgen.text.tokenizer import Tokenizer
from textgen.text.vocabulary import DEFAULT_MIN_FREQUENCY, DEFAULT_VOCAB_SIZE, bpe_vocab_size
from textgen.training.planning.fine_tune import TOKENIZER_OPTIONS, inherited, inherited_note

# Enough for the third digit of the loss, and read in seconds.
DEFAULT_VAL_CHARACTERS = 2_000_000


class OpenedCorpus(NamedTuple):
    """A corpus with its config, in which only the number of bpe tokens may be open.

    remote: what was fetched from URLs. notes: what the user should know, a line each.
    """

    config: DataConfig
    corpus: AnyCorpus
    remote: tuple[RemoteRecord, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PreparedText:
    """A text that is ready for training.

    config: complete, its paths absolute. vocab: one model id per token that training saw; where training
    starts from another run, that run's ids first. labels: of documents, those of that run first. remote: what
    was fetched from URLs. notes: what the user should know, a line each.
    """

    config: DataConfig
    corpus: AnyCorpus
    tokenizer: Tokenizer
    store: TokenStore
    vocab: ModelVocab
    labels: tuple[str, ...] = ()
    remote: tuple[RemoteRecord, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def start_id(self) -> int | None:
        """The model id of the start token, to which labels are added; None without labels."""
        if not self.labels:
            return None
        return int(self.vocab.to_model_ids(np.array([self.tokenizer.end_of_text_id]))[0])

    @property
    def train_tokens(self) -> int:
        """Tokens in the training part."""
        return len(self.store.tokens("train"))

    @property
    def unicode_form(self) -> str | None:
        """The Unicode form of the training text, `nfc` or `nfd`, by its beginning; None: either, or mixed."""
        return form_of_stream(self.corpus.stream("train"))

    @property
    def val_tokens(self) -> int:
        """Tokens in the validation part, 0 where there is none."""
        return len(self.store.tokens("val")) if "val" in self.store.parts else 0


def prepare_text(
    data: Section[DataConfig],
    *,
    remote: RemoteTexts,
    named: Mapping[str, NamedText] | None = None,
    source: Run | None = None,
    stdin: Path | None = None,
    progress: Progress | None = None,
) -> PreparedText:
    """Read, split, tokenize and encode the text; the cache is that of `remote`.

    named: the URLs in `data` that a run names and the user did not give. source: the run to start from,
    whose tokenizer and vocabulary are kept. stdin: standard input as a file, where a corpus is `-`.

    Raises ConfigError, CorpusError, TokenizerError, RunError.
    """
    named_text = prepare_tokenizer(data, remote=remote, named=named, source=source, stdin=stdin)
    config, corpus, tokenizer, labels, opened, notes = named_text
    store = TokenStore.open_or_build(corpus, tokenizer, remote.cache_dir, progress, labels=labels)
    if store.records.skipped:
        notes.append(store.records.note(config.field))
    if source is None:
        vocab = ModelVocab.from_counts(store.counts)
    else:
        vocab = vocab_of(source.load_weights()).extended(store.counts)
    text = PreparedText(
        _absolute(config), corpus, tokenizer, store, vocab, labels, opened.remote, tuple(notes)
    )
    if labels and text.start_id == vocab.size:
        raise CorpusError("labels need at least two documents to train on; add more records")
    return text


class TokenizedText(NamedTuple):
    """A corpus with all that determines its token ids, which nothing has been encoded of.

    config: complete, with paths as they were given. opened: the corpus before its tokenizer was known.
    """

    config: DataConfig
    corpus: AnyCorpus
    tokenizer: Tokenizer
    labels: tuple[str, ...]
    opened: OpenedCorpus
    notes: list[str]


def prepare_tokenizer(
    data: Section[DataConfig],
    *,
    remote: RemoteTexts,
    named: Mapping[str, NamedText] | None = None,
    source: Run | None = None,
    stdin: Path | None = None,
) -> TokenizedText:
    """Read and split the text, and learn or load its tokenizer; arguments are those of prepare_text.

    Raises ConfigError, CorpusError, TokenizerError, RunError.
    """
    opened = open_corpus(data, remote, named=named, source=source, stdin=stdin)
    config, corpus, notes = opened.config, opened.corpus, [*opened.notes, *opened.corpus.notes]
    known = () if source is None else source.config.model.labels
    if isinstance(corpus, EncodedCorpus):
        if source is not None:
            corpus.store_of(source.tokenizer)
        return TokenizedText(
            config, corpus, corpus.tokenizer, _labels_of_encoded(corpus, known), opened, notes
        )
    if source is None:
        config = _with_vocab_size(config, corpus)
        tokenizer = _build_tokenizer(config, corpus, notes)
    else:
        if _was_trained_on(corpus, source):
            notes.append(
                f"Validation reads text that {source.path} was trained on, so it says little about new text: "
                "split the text as that run did, or name another text with --val."
            )
        tokenizer = source.tokenizer
    return TokenizedText(config, corpus, tokenizer, _labels(corpus, config, known), opened, notes)


def _labels_of_encoded(corpus: EncodedCorpus, known: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of encoded text, after those that another run knows. Raises CorpusError."""
    labels = corpus.store.manifest.labels
    if labels[: len(known)] != known:
        raise CorpusError(
            f"{corpus.store.name}: was encoded with other labels than those of the run; encode the text "
            "again, with textgen encode --run-config RUN"
        )
    return labels


def _labels(corpus: Corpus, config: DataConfig, known: tuple[str, ...]) -> tuple[str, ...]:
    """The labels of the training text, after those that another run knows. Raises CorpusError."""
    if config.label_field is None:
        return known
    found = {label for label in corpus.labels("train") if label is not None}
    if not found:
        raise CorpusError(f"--label-field {config.label_field}: no record of the training text has a label")
    labels = (*known, *sorted(found - set(known)))
    if len(labels) > MAX_LABELS:
        raise CorpusError(
            f"--label-field {config.label_field}: {len(labels):,} labels, but at most {MAX_LABELS:,} are "
            "possible; name a field with fewer"
        )
    return labels


def open_corpus(
    data: Section[DataConfig],
    remote: RemoteTexts,
    *,
    named: Mapping[str, NamedText] | None = None,
    source: Run | None = None,
    stdin: Path | None = None,
) -> OpenedCorpus:
    """The corpus that the user gave, fetched where it is a URL; arguments are those of prepare_text.

    Raises ConfigError, CorpusError.
    """
    if (encoded := open_encoded(data.get("corpus"), remote, named)) is not None:
        stored = encoded.corpus.store
        config = encoded_config(stored.manifest, stored.path, data, encoded.name)
        return OpenedCorpus(config, encoded.corpus, encoded.remote, encoded.notes)
    config = data_config(data, None if source is None else source.data)
    texts = remote.localize(config, named or {})
    config, notes = texts.config, list(texts.notes)
    if source is not None and (values := inherited(config, data.keys(), source.data, texts.files)):
        config = dataclasses.replace(config, **values)
        notes.append(inherited_note(values, source.data, str(source.path)))
    corpus = Corpus(config, stdin, fetched=texts.files)
    if "val_order" not in data and corpus.has_exchangeable_documents and config.holds_out:
        config = dataclasses.replace(config, val_order="hash")
        corpus = corpus.with_val_order("hash")
    for path in texts.files.values():
        lock_while_alive(corpus, path)
    return OpenedCorpus(config, corpus, texts.records, tuple(notes))


def data_config(data: Section[DataConfig], source: DataConfig | None = None) -> DataConfig:
    """The corpus and how it is tokenized; the tokenizer is that of the run to start from, if there is one.

    The number of bpe tokens to learn stays open until the text is known. Raises ConfigError.
    """
    if not data.get("corpus"):
        raise ConfigError("no corpus: name a text file, a folder, or - for standard input")
    if source is not None:
        kept = {
            "tokenizer": source.tokenizer,
            "end_of_text": source.end_of_text,
            "val_characters": DEFAULT_VAL_CHARACTERS,
            "normalize": source.normalize,
        }
        return data.without(TOKENIZER_OPTIONS).complete(**kept)
    kind = data.value("tokenizer")
    chosen: dict[str, Any] = {"val_characters": DEFAULT_VAL_CHARACTERS}
    if kind in DEFAULT_MIN_FREQUENCY:
        # Written to config.json, so that the run can be repeated by a version with other defaults.
        chosen["min_frequency"] = DEFAULT_MIN_FREQUENCY[kind]
        if kind != "bpe":
            chosen["vocab_size"] = DEFAULT_VOCAB_SIZE[kind]
    return data.complete(**chosen)


def _with_vocab_size(config: DataConfig, corpus: Corpus) -> DataConfig:
    """The config with the number of bpe tokens to learn from this corpus, if it was left open."""
    if config.vocab_size is not None or config.tokenizer != "bpe":
        return config
    return dataclasses.replace(config, vocab_size=bpe_vocab_size(corpus.size("train").characters))


def _build_tokenizer(config: DataConfig, corpus: Corpus, notes: list[str]) -> Tokenizer:
    if not config.uses_tokenizer_file:

        def note_sampled(taken: int, total: int) -> None:
            notes.append(
                f"The {config.tokenizer} vocabulary is learnt from {taken:,} of {total:,} characters, "
                "spread evenly over the text."
            )

        return Tokenizer.train(
            config.tokenizer, corpus.stream("train"), config.vocab_size, config.min_frequency, note_sampled
        )
    path = Path(config.tokenizer)
    if not path.exists() and path.suffix != ".json":
        raise ConfigError(
            f"{unknown_name('tokenizer', config.tokenizer, TOKENIZER_KINDS)}: "
            f"one of {', '.join(TOKENIZER_KINDS)}, or the path of a tokenizer.json"
        )
    tokenizer = Tokenizer.from_file(path, config.end_of_text)
    if lost := measure_round_trip(tokenizer, corpus.stream("train")).note:
        notes.append(f"{config.tokenizer} {lost}")
    return tokenizer


def _was_trained_on(corpus: Corpus, source: Run) -> bool:
    """Whether validation text is part of another run's training text, as far as that still exists."""
    source.announce_texts()
    with suppress(CorpusError, RunError):
        return corpus.validates_on_training_text_of(Corpus(source.data, fetched=source.fetched_files()))
    return False


def _absolute(config: DataConfig) -> DataConfig:
    """The config with absolute paths, to resume the run from anywhere; -, URLs and tokenizer kinds stay."""

    def absolute(path: str) -> str:
        return path if path == "-" or is_url(path) else str(Path(path).absolute())

    return dataclasses.replace(
        config,
        corpus=tuple(map(absolute, config.corpus)),
        val=config.val and absolute(config.val),
        test=config.test and absolute(config.test),
        tokenizer=absolute(config.tokenizer) if config.uses_tokenizer_file else config.tokenizer,
    )
