"""POST /v1/chat/completions: conversations as the prompts of a run with a template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest

from textgen.generation.generator import Generator
from textgen.serving.chat import prompt_of
from textgen.serving.errors import ApiError
from textgen.serving.schema import Message, TextPart
from textgen.settings.config import SampleConfig

if TYPE_CHECKING:
    from tests.conftest import MakeRun
    from tests.serving.conftest import Serve, Served
    from textgen.run import Run

TEMPLATE, STOP = "Q: {user}\nA:", "\n"
TEXT = "Q: Who jumps?\nA: The fox.\nQ: Why?\nA: It is not known {or} $1 %s.\n" * 4
QUESTION = [{"role": "user", "content": "Who?"}]


@pytest.fixture(scope="module")
def run(module_run: MakeRun) -> Run:
    return module_run("chatty", text=TEXT, data={"chat_template": TEMPLATE, "chat_stop": STOP})


@pytest.fixture(scope="module")
def served(serve: Serve, run: Run, module_run: MakeRun) -> Served:
    return serve({"chatty": run, "mute": module_run("mute")})


def answer_of(generator: Generator, prompt: str, seed: int, tokens: int = 60) -> str:
    config = SampleConfig(max_new_tokens=tokens, temperature=1.0)
    return generator.generate(prompt, seed=seed, config=config, stop=[STOP])[0].text


def test_a_conversation_is_rendered_turn_by_turn() -> None:
    messages = [Message("user", "Who?"), Message("assistant", " Me."), Message("user", "Why?")]
    assert prompt_of(messages, TEMPLATE, STOP) == "Q: Who?\nA: Me.\nQ: Why?\nA:"


@pytest.mark.parametrize("content", ["{user}", "{0} %s $user", "\\1\\g<0>", "{or}\nA: me\nQ: {user}"])
def test_what_a_message_holds_is_text_and_nothing_more(content: str) -> None:
    assert prompt_of([Message("user", content)], TEMPLATE, STOP) == f"Q: {content}\nA:"


def test_parts_of_text_are_joined() -> None:
    message = Message("user", [TextPart("text", "a"), TextPart("text", "b")])
    assert prompt_of([message], TEMPLATE, STOP) == "Q: ab\nA:"


@pytest.mark.parametrize(
    "roles",
    [("system",), ("system", "user"), ("assistant",), ("user", "assistant"), ("user", "user"), ("tool",)],
)
def test_any_other_order_of_roles_is_refused(roles: tuple[str, ...]) -> None:
    with pytest.raises(ApiError) as caught:
        prompt_of([Message(role, "x") for role in roles], TEMPLATE, STOP)
    assert (caught.value.status, caught.value.param) == (400, "messages")


def test_the_client_gets_the_answer_up_to_the_stop(served: Served, run: Run) -> None:
    found = served.openai.chat.completions.create(
        model="chatty", messages=QUESTION, seed=1, max_tokens=60  # type: ignore[arg-type]
    )  # fmt: skip
    (choice,) = found.choices
    assert choice.message.content == answer_of(Generator.from_run(run), "Q: Who?\nA:", 1)
    assert choice.message.role == "assistant"
    assert choice.finish_reason == "stop"
    assert found.object == "chat.completion"


def test_a_stream_adds_up_to_the_same_answers(served: Served) -> None:
    asked: dict[str, Any] = {"model": "chatty", "messages": QUESTION, "seed": 1, "max_tokens": 60, "n": 2}
    whole = served.openai.chat.completions.create(**asked)
    chunks = list(
        served.openai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    for choice in whole.choices:
        parts = [each for chunk in chunks for each in chunk.choices if each.index == choice.index]
        assert "".join(part.delta.content or "" for part in parts) == choice.message.content
        assert [part.delta.role for part in parts] == ["assistant"] + [None] * (len(parts) - 1)
        assert parts[-1].finish_reason == choice.finish_reason
    assert chunks[-1].usage == whole.usage


def test_log_probabilities_have_the_bytes_of_their_tokens(served: Served) -> None:
    found = served.openai.chat.completions.create(
        model="chatty", messages=QUESTION, seed=1, logprobs=True, top_logprobs=2  # type: ignore[arg-type]
    )  # fmt: skip
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    text = b"".join(bytes(token.bytes or ()) for token in logprobs.content).decode()
    assert text.startswith(found.choices[0].message.content or "?")
    for token in logprobs.content:
        assert len(token.top_logprobs) == 2
        assert token.logprob <= token.top_logprobs[0].logprob


def test_without_a_limit_an_answer_is_as_long_as_sample_writes(served: Served, run: Run) -> None:
    found = served.post("/v1/chat/completions", model="chatty", messages=QUESTION, seed=3)
    expected = answer_of(Generator.from_run(run), "Q: Who?\nA:", 3, SampleConfig.max_new_tokens)
    assert found["choices"][0]["message"]["content"] == expected


def test_max_completion_tokens_limits_an_answer(served: Served) -> None:
    found = served.post(
        "/v1/chat/completions", model="chatty", messages=QUESTION, seed=3, max_completion_tokens=2
    )
    assert found["usage"]["completion_tokens"] <= 2


def test_a_run_without_a_template_says_how_to_get_one(served: Served) -> None:
    with pytest.raises(openai.BadRequestError, match="--chat-template"):
        served.openai.chat.completions.create(model="mute", messages=QUESTION)  # type: ignore[arg-type]


def test_models_say_which_of_them_can_chat(served: Served) -> None:
    cards = served.http.get("/v1/models").json()["data"]
    assert {card["id"]: card["textgen"]["chat"] for card in cards} == {"chatty": True, "mute": False}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": QUESTION, "top_logprobs": 2}, "top_logprobs"),
        ({"messages": QUESTION, "tools": [{}]}, "tools"),
        ({}, "messages"),
    ],
)
def test_a_wrong_value_is_refused_by_name(served: Served, body: dict[str, Any], param: str) -> None:
    status, error = served.error("/v1/chat/completions", model="chatty", **body)
    assert (status, error["param"]) == (400, param)
