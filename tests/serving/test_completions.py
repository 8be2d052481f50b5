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
    from tests.serving.conftest import Serve, Served
    from textgen.run import Run

PROMPT = "The quick "


@pytest.fixture(scope="module")
def run(module_run: MakeRun) -> Run:
    return module_run("fox", end_of_text=True)


@pytest.fixture(scope="module")
def served(serve: Serve, run: Run) -> Served:
    return serve({"fox": run})


@pytest.fixture(scope="module")
def generator(run: Run) -> Generator:
    return Generator.from_run(run)


def expected(generator: Generator, prompt: str, seed: int, num_texts: int = 1, tokens: int = 24) -> list[str]:
    """What `textgen sample` writes at temperature 1."""
    config = SampleConfig(max_new_tokens=tokens, temperature=1.0)
    request = Request(prompt=prompt, config=config, seed=seed)
    return [sample.text for sample in generator.complete(several_of(request, num_texts))]


def test_the_client_gets_the_text_that_sample_writes_with_the_seed(
    served: Served, generator: Generator
) -> None:
    found = served.openai.completions.create(model="fox", prompt=PROMPT, seed=3, max_tokens=24)
    assert found.object == "text_completion"
    assert found.model == "fox"
    assert [choice.text for choice in found.choices] == expected(generator, PROMPT, 3)
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (10, 24)
    assert found.usage.total_tokens == 34


def test_a_stream_adds_up_to_the_same_text(served: Served, generator: Generator) -> None:
    chunks = list(
        served.openai.completions.create(
            model="fox", prompt=PROMPT, seed=3, max_tokens=24, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    *parts, last = chunks
    assert "".join(chunk.choices[0].text for chunk in parts) == expected(generator, PROMPT, 3)[0]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    reasons = [chunk.choices[0].finish_reason for chunk in parts]
    assert reasons == [None] * (len(parts) - 1) + ["length"]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 24


def test_n_texts_of_several_prompts_are_those_of_sample_in_their_order(
    served: Served, generator: Generator
) -> None:
    found = served.openai.completions.create(
        model="fox", prompt=[PROMPT, "Why? "], seed=5, max_tokens=12, n=3
    )
    assert [choice.index for choice in found.choices] == list(range(6))
    wanted = [expected(generator, prompt, 5 + i, 3, 12) for i, prompt in enumerate((PROMPT, "Why? "))]
    assert [choice.text for choice in found.choices] == [*wanted[0], *wanted[1]]


def test_an_error_names_the_field(served: Served) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        served.openai.completions.create(model="fox", prompt=PROMPT, logprobs=21)
    assert caught.value.param == "logprobs"
    assert caught.value.type == "invalid_request_error"
