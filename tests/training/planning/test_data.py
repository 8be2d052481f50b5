"""The text stage: what is chosen of how a text is tokenized, and what it gives to the next stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from textgen.errors import ConfigError
from textgen.settings.config import DataConfig
from textgen.settings.given import Section
from textgen.text.remote.texts import RemoteTexts
from textgen.training.planning.data import data_config, prepare_text


def test_no_corpus_is_refused() -> None:
    with pytest.raises(ConfigError, match="no corpus"):
        data_config(Section(DataConfig))


def test_sizes_of_a_vocabulary_that_were_not_given_are_written_down() -> None:
    word = data_config(Section(DataConfig, {"corpus": ("a.txt",), "tokenizer": "word"}))
    assert word.min_frequency is not None
    assert word.vocab_size is not None
    byte = data_config(Section(DataConfig, {"corpus": ("a.txt",), "tokenizer": "byte"}))
    assert (byte.min_frequency, byte.vocab_size) == (None, None)


def test_a_prepared_text_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("one two three four\n" * 400)
    given = Section(DataConfig, {"corpus": ("a.txt",), "tokenizer": "bpe"})
    text = prepare_text(given, remote=RemoteTexts(tmp_path / "cache"))
    assert text.config.corpus == (str(tmp_path / "a.txt"),)
    assert text.config.vocab_size is not None
    assert text.vocab.total == text.train_tokens
    assert np.array_equal(text.vocab.token_ids, np.flatnonzero(text.store.counts))
    assert text.tokenizer.encode("one two").max() < text.tokenizer.vocab_size
    assert text.val_tokens > 0
    assert text.notes == ()


def test_a_note_counts_skipped_records_also_when_the_text_is_cached(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "some words"}\n{"text": null}\n' * 50)
    for _ in range(2):
        text = prepare_text(
            Section(DataConfig, {"corpus": (str(path),), "field": "text"}), remote=RemoteTexts(tmp_path)
        )
        assert text.notes == ("Skipped 50 of 100 records: the field 'text' is null.",)
