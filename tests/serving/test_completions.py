"""POST /v1/completions, asked by OpenAI's own client and by raw requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from textgen.generation.generator import Generator
from textgen.generation.request import Request, several_of
from textgen.settings.config import SampleConfig

if TYPE_CHECKING:
    from tests.conftest import MakeRun
    from tests.serving.conftest import Expected, Serve, Served

PROMPT = "The quick "


def test_the_client_gets_the_text_that_sample_writes_with_the_seed(
    served: Served, generator: Generator, expected: Expected
) -> None:
    found = served.openai.completions.create(model="fox", prompt=PROMPT, seed=3, max_tokens=24)
    assert found.object == "text_completion"
    assert found.model == "fox"
    assert [choice.text for choice in found.choices] == expected(PROMPT, 3)
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (10, 24)
    assert found.usage.total_tokens == 34


def test_a_stream_adds_up_to_the_same_text(served: Served, generator: Generator, expected: Expected) -> None:
    chunks = list(
        served.openai.completions.create(
            model="fox", prompt=PROMPT, seed=3, max_tokens=24, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    *parts, last = chunks
    assert "".join(chunk.choices[0].text for chunk in parts) == expected(PROMPT, 3)[0]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    reasons = [chunk.choices[0].finish_reason for chunk in parts]
    assert reasons == [None] * (len(parts) - 1) + ["length"]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 24


def test_n_texts_of_several_prompts_are_those_of_sample_in_their_order(
    served: Served, generator: Generator, expected: Expected
) -> None:
    found = served.openai.completions.create(
        model="fox", prompt=[PROMPT, "Why? "], seed=5, max_tokens=12, n=3
    )
    assert [choice.index for choice in found.choices] == list(range(6))
    wanted = [expected(prompt, 5 + i, 3, 12) for i, prompt in enumerate((PROMPT, "Why? "))]
    assert [choice.text for choice in found.choices] == [*wanted[0], *wanted[1]]


def test_an_error_names_the_field(served: Served) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        served.openai.completions.create(model="fox", prompt=PROMPT, logprobs=21)
    assert caught.value.param == "logprobs"
    assert caught.value.type == "invalid_request_error"


def test_ids_give_the_text_of_their_tokens(served: Served, generator: Generator) -> None:
    ids = generator.tokenizer.encode(PROMPT).tolist()
    text = served.post(prompt=PROMPT, seed=1)["choices"][0]["text"]
    assert served.post(prompt=ids, seed=1)["choices"][0]["text"] == text
    assert served.post(prompt=[ids, ids], seed=1)["choices"][0]["text"] == text


@pytest.mark.parametrize("prompt", [None, "", [], ["", ""]])
def test_a_text_without_a_prompt_begins_as_those_of_training(
    served: Served, generator: Generator, prompt: str | list[str] | None, expected: Expected
) -> None:
    if prompt == []:
        assert served.error(prompt=prompt)[0] == 400
        return
    text = served.post(prompt=prompt, seed=4, max_tokens=9)["choices"][0]["text"]
    assert [text] == expected("", 4, tokens=9)


def test_stop_strings_and_stop_tokens_end_a_text(
    served: Served, generator: Generator, expected: Expected
) -> None:
    (text,) = expected(PROMPT, 3, tokens=60)
    stop = text[20:22]
    before = text[: text.index(stop)]
    asked = {"prompt": PROMPT, "seed": 3, "max_tokens": 60}
    found = served.post(**asked, stop=[stop])["choices"][0]
    assert (found["text"], found["finish_reason"]) == (before, "stop")
    assert served.post(**asked, stop=stop, include_stop_str_in_output=True)["choices"][0]["text"] == (
        before + stop
    )
    (token,) = generator.tokenizer.encode(text[20]).tolist()
    found = served.post(**asked, stop_token_ids=[token])["choices"][0]
    assert (found["text"], found["finish_reason"]) == (text[: text.index(text[20])], "stop")
    found = served.post(**asked, stop_token_ids=[token], min_tokens=60)["choices"][0]
    assert len(found["text"]) == 60


def test_biases_and_penalties_change_the_text(
    served: Served, generator: Generator, expected: Expected
) -> None:
    (letter,) = generator.tokenizer.encode("q").tolist()
    asked = {"prompt": PROMPT, "seed": 3, "max_tokens": 30, "min_tokens": 30}
    assert served.post(**asked, logit_bias={letter: 100})["choices"][0]["text"] == "q" * 30
    assert "q" not in served.post(**asked, logit_bias={letter: -100}, n=20)["choices"][0]["text"]
    penalised = served.post(**asked, temperature=0, presence_penalty=2)["choices"][0]["text"]
    assert len(set(penalised)) > len(set(served.post(**asked, temperature=0)["choices"][0]["text"]))
    for name, value in {"frequency_penalty": 2, "repetition_penalty": 5, "top_k": 1, "min_p": 1}.items():
        changed = served.post(**asked, **{name: value})["choices"][0]["text"]
        assert changed != expected(PROMPT, 3, tokens=30)[0], name


def test_end_of_text_ends_a_text_unless_it_is_ignored(served: Served, generator: Generator) -> None:
    end = generator.tokenizer.end_of_text_id
    found = served.post(prompt=PROMPT, logit_bias={end: 100})["choices"][0]
    assert (found["text"], found["finish_reason"]) == ("", "stop")
    found = served.post(prompt=PROMPT, logit_bias={end: 100}, ignore_eos=True, max_tokens=7)["choices"][0]
    assert (len(found["text"]), found["finish_reason"]) == (7, "length")


def test_labels_condition_the_text(serve: Serve, module_run: MakeRun) -> None:
    run = module_run("labelled", end_of_text=True, labels=("calm", "wild"), start_id=0)
    served, generator = serve({"labelled": run}), Generator.from_run(run)
    config = SampleConfig(max_new_tokens=20, temperature=1.0)
    for label in ("calm", "wild"):
        (sample,) = generator.complete(several_of(Request(config=config, seed=1, label=label), 1))
        assert served.post(seed=1, max_tokens=20, label=label)["choices"][0]["text"] == sample.text
    status, error = served.error(label="mild")
    assert (status, error["param"]) == (400, "label")
    assert "did you mean 'wild'" in error["message"]
