"""Bodies that are refused, with the field that is wrong, and fields that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from textgen.generation.generator import Generator

if TYPE_CHECKING:
    from tests.serving.conftest import Expected, Served

PROMPT = "The quick "


WRONG = [
    ({"logprobs": 21}, "logprobs"),
    ({"logprobs": -1}, "logprobs"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 2**40}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"temperature": -0.1}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"min_p": -1}, "min_p"),
    ({"top_k": -2}, "top_k"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"n": 3, "best_of": 2}, "best_of"),
    ({"n": 1, "best_of": 2, "stream": True}, "best_of"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"stop": [""]}, "stop"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**70}, "seed"),
    ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": -2.1}, "frequency_penalty"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"65": 101}}, "logit_bias"),
    ({"min_tokens": 17}, "min_tokens"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"suffix": "end"}, "suffix"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"avoid_copy": 20}, "avoid_copy"),
    ({"grammar": "root ::= x"}, "grammar"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"prompt": [1, "a"]}, "prompt"),
    ({"prompt": [10**6]}, "prompt"),
    ({"prompt": [10**30]}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [True]}, "prompt"),
    ({"prompt": {"text": "a"}}, "prompt"),
    ({"prompt": "a" * 200_000}, "prompt"),
    ({"prompt": ["a"] * 129}, "n"),
    ({"label": "none"}, "label"),
]


@pytest.mark.parametrize(("body", "param"), WRONG)
def test_a_wrong_value_is_refused_by_name(served: Served, body: dict[str, Any], param: str) -> None:
    status, error = served.error(**body)
    assert status == 400
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(f"{param}: ")
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"user": "ann", "metadata": {}, "store": False},
        {"suffix": "", "tools": [], "response_format": {"type": "text"}},
        {"temperature": None, "stop": None, "seed": 3, "logit_bias": None, "stream_options": None},
        {"top_k": -1, "min_p": 0, "best_of": 1, "presence_penalty": 0},
        {"mirostat": 2, "\x1b[2J": 1},
        {"model": "anything"},
    ],
)
def test_what_changes_nothing_is_accepted(
    served: Served, generator: Generator, body: dict[str, Any], expected: Expected
) -> None:
    found = served.post(**{"prompt": PROMPT, "seed": 3, "max_tokens": 24, **body})
    assert [choice["text"] for choice in found["choices"]] == expected(PROMPT, 3)
    assert found["model"] == "fox"


def test_unknown_fields_are_named_in_the_log_without_what_a_terminal_obeys(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.post(prompt=PROMPT, max_tokens=1, **{"\x1b[2J" + "x" * 100: 1}, **{f"f{n}": 1 for n in range(30)})
    (line,) = [record.getMessage() for record in caplog.records if "unknown" in record.getMessage()]
    assert "\x1b" not in line
    assert "'f8'" in line
    assert "'f9'" not in line
    assert len(line) < 300


BODIES = {
    "": "not valid JSON",
    "{": "not valid JSON",
    "[]": "must be a JSON object",
    "3": "must be a JSON object",
    '{"prompt": NaN}': "not valid JSON",
    '{"prompt": "\\ud800"}': "not valid JSON",
    "[" * 100_000: "nested too deeply",
    '{"prompt": ' + "[" * 100_000: "nested too deeply",
    '{"temperature": 1e999}': "not valid JSON",
}


@pytest.mark.parametrize(("body", "message"), BODIES.items(), ids=range(len(BODIES)))
def test_what_is_no_json_object_is_refused(served: Served, body: str, message: str) -> None:
    answer = served.http.post("/v1/completions", content=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert message in error["message"]
    assert error["code"] == "invalid_json"


def test_a_body_that_is_no_utf_8_is_refused(served: Served) -> None:
    answer = served.http.post("/v1/completions", content=b'{"prompt": "\xff"}')
    assert answer.status_code == 400
    assert "not valid JSON" in answer.json()["error"]["message"]


def test_a_field_that_is_missing_is_named(served: Served) -> None:
    status, error = served.error("/v1/score", model="fox")
    assert (status, error["param"]) == (400, "text")
