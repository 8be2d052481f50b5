"""The model card: front matter that the hub can read, and text that no run can break out of."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import yaml

from textgen.generation.sample import Sample
from textgen.hub.card import code, fenced, front_matter, model_card
from textgen.hub.repository import Repository
from textgen.run import FORMAT
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig

CONFIG = RunConfig(
    format=FORMAT, textgen_version="1.2", data=DataConfig(corpus=("tales.txt",)),
    model=ModelConfig(model_vocab_size=3, cell="gru"), training=TrainingConfig(steps=1),
)  # fmt: skip
BEST = {
    "nats_per_token": 1.25, "bits_per_character": 1.803, "bits_per_byte": 1.802, "perplexity_per_token": 3.49,
    "characters": 1234,
}  # fmt: skip
FACTS = {
    "best": BEST, "parameters": 4321, "train_characters": 98765, "vocab_size": 3, "steps": 1, "seconds": 2.0,
    "weights": "float32", "with_ngrams": None,
}  # fmt: skip
HOSTILE = "`````\n---\n# no\n</pre><script>alert(1)</script>\n```\n~~~\n[x](javascript:1) \x1b[2J\u202e"


def card_of(text: str = "Once.", config: RunConfig = CONFIG, facts: Any = FACTS, **about: Any) -> str:
    sample = Sample.__new__(Sample)
    object.__setattr__(sample, "text", text)
    settings: dict[str, Any] = {"license": "mit", "has_ngrams": False, "has_picture": True} | about
    command = "textgen sample hf:ada/tales --seed 1"
    return model_card(Repository("ada/tales"), config, facts, sample=sample, command=command, **settings)


def split(card: str) -> tuple[Any, str]:
    """Front matter and text, as the hub divides them."""
    _, front, text = re.split("^---$", card, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), text


def test_the_front_matter_says_what_the_hub_wants_to_know() -> None:
    front, _ = split(card_of())
    assert front["license"] == "mit"
    assert front["library_name"] == "textgen"
    assert front["pipeline_tag"] == "text-generation"
    assert {"textgen", "gru"} <= set(front["tags"])
    (entry,) = front["model-index"]
    assert entry["name"] == "tales"
    (result,) = entry["results"]
    assert result["task"]["type"] == "text-generation"
    assert result["dataset"]["name"] == "tales.txt (validation text)"
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {
        "bits_per_character": 1.803, "nats_per_token": 1.25,
    }  # fmt: skip


def test_huggingface_hub_reads_the_same_results() -> None:
    from huggingface_hub import ModelCard

    data = ModelCard(card_of()).data
    assert data.model_name == "tales"
    assert [result.metric_value for result in data.eval_results] == [1.803, 1.25]


def test_the_text_says_on_what_and_how_well_it_was_trained() -> None:
    _, text = split(card_of(has_ngrams=True))
    for part in (
        "GRU", "4,321 parameters", "textgen 1.2", "`tales.txt`; 98,765 characters",
        "1.8030 bits per character", "1,234 characters", "ngram.safetensors", "loss.png",
        "```text\nOnce.\n```", "textgen sample hf:ada/tales", 'textgen.load("hf:ada/tales")',
    ):  # fmt: skip
        assert part in text
    assert "ngram.safetensors" not in card_of()
    assert "loss.png" not in card_of(has_picture=False)


@pytest.mark.parametrize("best", [BEST, {"nats_per_token": 1.25}])
def test_rounded_weights_are_named_and_the_figures_are_those_before(best: Any) -> None:
    rounded = card_of(facts=FACTS | {"best": best, "weights": "int8"})
    assert "weights rounded to int8)" in rounded
    assert "Measured before the weights were rounded to int8." in rounded
    assert all(
        metric["name"].endswith(", before rounding to int8")
        for metric in split(rounded)[0]["model-index"][0]["results"][0]["metrics"]
    )
    assert "rounded" not in card_of(facts=FACTS | {"best": best})


def test_the_figures_with_ngrams_stand_beside_those_of_the_network() -> None:
    figures = {"nats_per_token": 1.2, "bits_per_character": 1.731}
    front, text = split(card_of(facts=FACTS | {"with_ngrams": figures}, has_ngrams=True))
    assert "alone reaches **1.8030 bits per character**" in text
    assert "with the n-grams below, which is the default, it reaches **1.7310 bits per character**" in text
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert {metric["name"]: metric["value"] for metric in metrics} == {
        "Bits per character, network alone": 1.803, "Nats per token, network alone": 1.25,
        "Bits per character, with n-grams": 1.731, "Nats per token, with n-grams": 1.2,
    }  # fmt: skip
    assert "with the n-grams below was not measured" in card_of(has_ngrams=True)
    assert "n-grams" not in card_of()


@pytest.mark.parametrize("best", [None, {"nats_per_token": 1.25}])
def test_a_run_that_was_not_evaluated_claims_nothing(best: Any) -> None:
    front, text = split(card_of(facts=FACTS | {"best": best}))
    assert "bits per character" not in text
    assert "bits_per_character" not in str(front)


def test_no_text_of_a_model_ends_its_fence() -> None:
    block = fenced(HOSTILE, "text")
    fence = re.match("`+", block)
    assert fence is not None
    lines = block.splitlines()
    closing = [line for line in lines[1:] if re.fullmatch(rf" {{0,3}}`{{{len(fence[0])},}}\s*", line)]
    assert closing == lines[-1:]
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", block)


@pytest.mark.parametrize("text", ["a", "`", "a``b`", "``a", HOSTILE, "", " a ", "a\n\n# b"])
def test_no_name_ends_its_code_span(text: str) -> None:
    span = code(text)
    ticks = re.match("`+", span)
    assert ticks is not None
    inside = span.removeprefix(ticks[0])
    ends = [found for found in re.findall("`+", inside) if len(found) == len(ticks[0])]
    assert ends == [ticks[0]]
    assert inside.endswith(ticks[0])
    assert "\n" not in span


def test_names_that_look_like_yaml_or_markdown_stay_names() -> None:
    data = DataConfig(corpus=(f"a: b\n---\nlicense: gpl # {HOSTILE}", "'\"", "-"))
    front, text = split(card_of(HOSTILE, dataclasses.replace(CONFIG, data=data)))
    assert front["license"] == "mit"
    assert "standard input" in front["model-index"][0]["results"][0]["dataset"]["name"]
    assert "standard input" in text
    assert not re.search("^license: gpl", text, flags=re.MULTILINE)


def test_front_matter_of_many_files_is_short() -> None:
    config = dataclasses.replace(CONFIG, data=DataConfig(corpus=tuple(f"{n}.txt" for n in range(5000))))
    assert "and 4,997 more" in front_matter(Repository("ada/tales"), config, FACTS, "mit").replace(
        "\n  ", " "
    )
