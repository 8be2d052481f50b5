"""The first stage: the user's data section becomes a corpus, its tokenizer, encoded text and a vocabulary.

data section -> config -> corpus -> tokenizer -> store -> model vocabulary
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textgen.errors import ConfigError, CorpusError
from textgen.run import Progress, Run, vocab_of
from textgen.settings.config import TOKENIZER_KINDS, DataConfig
from textgen.settings.given import Section
from textgen.settings.option import unknown_name
from textgen.text.corpus import Corpus
from textgen.text.model_vocab import ModelVocab
from textgen.text.normalize import form_of_stream
from textgen.text.round_trip import measure_round_trip
from textgen.text.store import TokenStore
from textgen.text.tokenizer import Tokenizer
from textgen.text.vocabulary import DEFAULT_MIN_FREQUENCY, DEFAULT_VOCAB_SIZE, bpe_vocab_size
from textgen.training.planning.fine_tune import TOKENIZER_OPTIONS


@dataclass(frozen=True)
class PreparedText:
    """A text that is ready for training.

    config: complete, its paths absolute. vocab: one model id per token that training saw; where training
    starts from another run, that run's ids first. notes: what the user should know, a line each.
    """

    config: DataConfig
    corpus: Corpus
    tokenizer: Tokenizer
    store: TokenStore
    vocab: ModelVocab
    notes: tuple[str, ...] = ()

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
        """Tokens in the validation part."""
        return len(self.store.tokens("val"))


def prepare_text(
    data: Section[DataConfig],
    *,
    cache_dir: Path,
    source: Run | None = None,
    stdin: Path | None = None,
    progress: Progress | None = None,
) -> PreparedText:
    """Read, split, tokenize and encode the text.

    source: the run to start from, whose tokenizer and vocabulary are kept. stdin: standard input as a file,
    where a corpus is `-`. Raises ConfigError, CorpusError, TokenizerError, RunError.
    """
    config = data_config(data, None if source is None else source.data)
    corpus = Corpus(config, stdin)
    notes = corpus.notes
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
    store = TokenStore.open_or_build(corpus, tokenizer, cache_dir, progress)
    if store.records.skipped:
        notes.append(store.records.note(config.field))
    if source is None:
        vocab = ModelVocab.from_counts(store.counts)
    else:
        vocab = vocab_of(source.load_weights()).extended(store.counts)
    return PreparedText(_absolute(config), corpus, tokenizer, store, vocab, tuple(notes))


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
            "normalize": source.normalize,
        }
        return data.without(TOKENIZER_OPTIONS).complete(**kept)
    kind = data.value("tokenizer")
    chosen: dict[str, Any] = {}
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
    with suppress(CorpusError):
        return corpus.validates_on_training_text_of(Corpus(source.data))
    return False


def _absolute(config: DataConfig) -> DataConfig:
    """The config with absolute paths, to resume the run from anywhere; - and tokenizer kinds stay."""

    def absolute(path: str) -> str:
        return path if path == "-" else str(Path(path).absolute())

    return dataclasses.replace(
        config,
        corpus=tuple(map(absolute, config.corpus)),
        val=config.val and absolute(config.val),
        test=config.test and absolute(config.test),
        tokenizer=absolute(config.tokenizer) if config.uses_tokenizer_file else config.tokenizer,
    )
