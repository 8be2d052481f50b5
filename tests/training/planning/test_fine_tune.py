"""What a run that starts from another one takes from it, and what the user may still choose."""

from __future__ import annotations

import pytest

from textgen.errors import ConfigError
from textgen.settings.config import DataConfig, ModelConfig
from textgen.settings.given import Section
from textgen.training.planning.fine_tune import (
    fine_tuning_model,
    require_same_network,
    require_same_tokenizer,
    source_text,
)

SOURCE = ModelConfig(model_vocab_size=65, hidden_size=40, dropout=0.1)
TEXT = DataConfig(corpus=("/a.txt",), documents="line", val_fraction=0.2, tokenizer="bpe", vocab_size=300)


def test_fine_tuning_keeps_the_network_and_may_change_its_dropout() -> None:
    assert fine_tuning_model(Section(ModelConfig, {"dropout": 0.4}), SOURCE, 70) == ModelConfig(
        model_vocab_size=70, hidden_size=40, dropout=0.4
    )
    dropouts = {"input_dropout": 0.1, "embedding_dropout": 0.2, "weight_drop": 0.3}
    given = Section(ModelConfig, dropouts)
    require_same_network(given, SOURCE, "old")
    expected = ModelConfig(model_vocab_size=65, hidden_size=40, dropout=0.1, **dropouts)
    assert fine_tuning_model(given, SOURCE, 65) == expected


@pytest.mark.parametrize("name", ["residual", "layer_norm", "tie_weights"])
def test_an_option_that_contradicts_the_network_is_refused(name: str) -> None:
    require_same_network(Section(ModelConfig, {"hidden_size": 40}), SOURCE, "old")
    with pytest.raises(ConfigError, match=name):
        require_same_network(Section(ModelConfig, {name: True}), SOURCE, "old")
    with pytest.raises(ConfigError, match="--hidden-size 41 does not fit --from old"):
        require_same_network(Section(ModelConfig, {"hidden_size": 41}), SOURCE, "old")


def test_an_option_that_contradicts_the_tokenizer_is_refused() -> None:
    require_same_tokenizer(Section(DataConfig, {"tokenizer": "bpe", "vocab_size": 300}), TEXT, "old")
    with pytest.raises(ConfigError, match="--vocab-size does not go with --from"):
        require_same_tokenizer(Section(DataConfig, {"vocab_size": 301}), TEXT, "old")


def test_without_a_corpus_it_is_the_other_runs_text_divided_as_it_was() -> None:
    text = source_text(Section(DataConfig), TEXT, "old")
    assert dict(text) == {
        "corpus": ("/a.txt",), "documents": "line", "encoding": "utf-8", "val_fraction": 0.2,
        "val_order": "end",
    }  # fmt: skip
    assert source_text(Section(DataConfig, {"val": "b.txt"}), TEXT, "old").get("val_fraction") is None
    other = Section(DataConfig, {"corpus": ("c.txt",)})
    assert source_text(other, TEXT, "old") is other
    with pytest.raises(ConfigError, match="standard input"):
        source_text(Section(DataConfig), DataConfig(corpus=("-",)), "old")
