"""What is reported of the tokens of a choice: log-probabilities, alternatives, places, ids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.evaluation.score import Scorer
from textgen.generation.generator import Generator
from textgen.generation.request import Request, several_of
from textgen.settings.config import SampleConfig

if TYPE_CHECKING:
    from tests.conftest import MakeRun
    from tests.serving.conftest import Serve, Served
    from textgen.run import Run

PROMPT = "The quick "


def test_the_best_of_several_texts_are_those_of_the_highest_mean_log_probability(
    served: Served, generator: Generator
) -> None:
    found = served.post(prompt=PROMPT, seed=2, max_tokens=12, n=2, best_of=6, logprobs=0)
    means = [np.mean(choice["logprobs"]["token_logprobs"]) for choice in found["choices"]]
    request = Request(
        prompt=PROMPT, config=SampleConfig(max_new_tokens=12, temperature=1.0), seed=2, log_probabilities=True
    )
    samples = generator.complete(several_of(request, 6))
    samples.sort(key=lambda sample: -np.mean(sample.log_probabilities))
    assert [choice["text"] for choice in found["choices"]] == [sample.text for sample in samples[:2]]
    assert means == pytest.approx([np.mean(sample.log_probabilities) for sample in samples[:2]], abs=1e-5)
    assert found["usage"]["completion_tokens"] == sum(len(sample.token_ids) for sample in samples)


def test_log_probabilities_are_the_models_own_and_hold_the_token_drawn(
    served: Served, generator: Generator
) -> None:
    found = served.openai.completions.create(
        model="fox", prompt=PROMPT, seed=3, max_tokens=24, logprobs=3, temperature=2
    )
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert "".join(logprobs.tokens) == found.choices[0].text
    assert logprobs.text_offset == list(range(len(PROMPT), len(PROMPT) + 24))
    for token, value, likely in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert likely[token] == value
        assert 3 <= len(likely) <= 4
        assert list(likely.values()) == sorted(likely.values(), reverse=True)
        assert value < 0


def test_a_stream_has_the_same_log_probabilities(served: Served) -> None:
    asked = {"prompt": PROMPT, "seed": 3, "max_tokens": 40, "logprobs": 2, "echo": True}
    whole = served.post(**asked)["choices"][0]
    stream = served.openai.completions.create(model="fox", stream=True, **asked)  # type: ignore[call-overload]
    parts = [chunk.choices[0] for chunk in stream]
    assert "".join(part.text for part in parts) == whole["text"]
    for name, wanted in whole["logprobs"].items():
        found = [each for part in parts for each in getattr(part.logprobs, name)]
        if name == "token_logprobs":  # alone or after another text, products round differently
            assert found[1:] == pytest.approx(wanted[1:], abs=1e-5)
        elif name != "top_logprobs":
            assert found == wanted


def test_echo_with_log_probabilities_gives_the_prompt_the_figures_of_score(served: Served, run: Run) -> None:
    scorer = Scorer.from_run(run)
    prompt = "Why? The Ω dog.\n"  # with a character that training never saw
    (piece,) = scorer.read([prompt])
    found = served.post(prompt=prompt, max_tokens=0, echo=True, logprobs=1)
    (choice,) = found["choices"]
    assert choice["text"] == prompt
    assert choice["finish_reason"] == "length"
    assert found["usage"] == {"prompt_tokens": 17, "completion_tokens": 0, "total_tokens": 17}
    logprobs = choice["logprobs"]
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    assert logprobs["token_logprobs"][1:] == pytest.approx((-piece.nats[1:]).tolist(), abs=1e-5)
    assert logprobs["text_offset"] == piece.starts.tolist()
    assert logprobs["tokens"][9:11] == ["bytes:\\xce", "bytes:\\xa9"]


def test_the_requests_of_an_evaluation_harness_get_what_it_computes_with(served: Served, run: Run) -> None:
    """Log-likelihoods as lm-evaluation-harness asks for them: lists of ids, echo, one token and logprobs."""
    scorer = Scorer.from_run(run)
    pairs = [("The quick ", "brown"), ("Why? It is ", "Not known"), ("The dog", " was 42")]
    encoded = [[scorer.tokenizer.encode(part).tolist() for part in pair] for pair in pairs]
    found = served.post(
        model="fox", prompt=[context + rest for context, rest in encoded], temperature=0, max_tokens=1,
        logprobs=1, seed=1234, echo=True,
    )  # fmt: skip
    choices = sorted(found["choices"], key=lambda choice: choice["index"])
    for (context, rest), choice, pair in zip(encoded, choices, pairs, strict=True):
        (piece,) = scorer.read(["".join(pair)])
        logprobs = choice["logprobs"]
        assert len(logprobs["token_logprobs"]) == len(context) + len(rest) + 1
        scores = logprobs["token_logprobs"][len(context) : -1]
        assert sum(scores) == pytest.approx(-piece.nats[len(context) :].sum(), abs=1e-4)
        likely = logprobs["top_logprobs"][len(context) : -1]
        assert all(value <= max(each.values()) for value, each in zip(scores, likely, strict=True))
    # Greedily drawn tokens are their own most likely ones, to the last bit.
    assert choices[0]["logprobs"]["token_logprobs"][-1] == max(
        choices[0]["logprobs"]["top_logprobs"][-1].values()
    )


def test_a_token_that_is_drawn_greedily_counts_as_greedy_in_the_prompt(served: Served) -> None:
    """The harness compares a token's log-probability with the largest for equality."""
    greedy = served.post(prompt=PROMPT, temperature=0, max_tokens=8, return_token_ids=True)["choices"][0]
    ids = greedy["prompt_token_ids"] + greedy["token_ids"]
    logprobs = served.post(prompt=[ids], temperature=0, max_tokens=1, logprobs=1, echo=True)
    logprobs = logprobs["choices"][0]["logprobs"]
    for value, likely in list(zip(logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True))[-9:]:
        assert value == max(likely.values())


def test_token_ids_are_those_of_prompt_and_text(served: Served, generator: Generator) -> None:
    asked = {"prompt": PROMPT, "seed": 3, "max_tokens": 24, "return_token_ids": True}
    choice = served.post(**asked)["choices"][0]
    assert choice["prompt_token_ids"] == generator.tokenizer.encode(PROMPT).tolist()
    assert generator.tokenizer.decode(choice["token_ids"]) == choice["text"]
    answer = served.http.post("/v1/completions", json={**asked, "stream": True}).text
    chunks = [json.loads(line[6:]) for line in answer.splitlines() if line.startswith("data: {")]
    parts = [chunk["choices"][0] for chunk in chunks]
    assert parts[0]["prompt_token_ids"] == choice["prompt_token_ids"]
    assert all("prompt_token_ids" not in part for part in parts[1:])
    assert [token for part in parts for token in part["token_ids"]] == choice["token_ids"]


def test_subwords_are_healed_as_in_sample(serve: Serve, module_run: MakeRun) -> None:
    run = module_run("subwords", kind="bpe", text="once upon a time there was a timid tiger " * 20)
    served, generator = serve({"subwords": run}), Generator.from_run(run)
    prompt = "once upon a ti"
    found = served.post(prompt=prompt, seed=1, max_tokens=8, logprobs=1, return_token_ids=True)
    (choice,) = found["choices"]
    config = SampleConfig(max_new_tokens=8, temperature=1.0)
    assert choice["text"] == generator.generate(prompt, seed=1, config=config)[0].text
    assert found["usage"]["completion_tokens"] == 8
    assert generator.tokenizer.decode(choice["prompt_token_ids"]) == prompt
    # The first token drawn begins within the prompt, whose end it writes again.
    assert choice["logprobs"]["text_offset"][0] < len(prompt)
    whole = prompt + choice["text"]
    for token, offset in zip(choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"], strict=True):
        assert whole.startswith(token, offset)
    # A prompt that is scored is read as it is.
    echoed = served.post(prompt=prompt, seed=1, max_tokens=2, logprobs=0, echo=True)["choices"][0]
    assert "".join(echoed["logprobs"]["tokens"]) == echoed["text"]
