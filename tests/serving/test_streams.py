"""Streams on the wire, and clients that go away."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import openai
import pytest

from textgen.errors import damaged_weights

if TYPE_CHECKING:
    from tests.serving.conftest import Serve, Served
    from textgen.run import Run

LONG = {"prompt": "The ", "max_tokens": 60_000, "ignore_eos": True}


def blocks_of(served: Served, **body: Any) -> list[str]:
    answer = served.http.post("/v1/completions", json={**body, "stream": True})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.text.endswith("\n\n")
    return answer.text.removesuffix("\n\n").split("\n\n")


def test_a_stream_is_blocks_of_data_and_ends_with_done(served: Served) -> None:
    *blocks, last = blocks_of(served, prompt="The ", max_tokens=400, ignore_eos=True)
    assert last == "data: [DONE]"
    assert all(block.startswith("data: {") and "\n" not in block for block in blocks)
    chunks = [json.loads(block[6:]) for block in blocks]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + [
        "length"
    ]
    assert all("usage" not in chunk for chunk in chunks)


def test_usage_is_null_until_the_last_chunk(served: Served) -> None:
    blocks = blocks_of(
        served, prompt="The ", max_tokens=400, ignore_eos=True, stream_options={"include_usage": True}
    )
    *chunks, last = [json.loads(block[6:]) for block in blocks[:-1]]
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 4, "completion_tokens": 400, "total_tokens": 404}


def test_an_idle_stream_sends_pings(serve: Serve, run: Run) -> None:
    served = serve({"fox": run}, ping_seconds=0.05, max_streams=1)
    with served.http.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as first:
        kept_open = first.iter_bytes()  # the client closes the connection with it
        next(kept_open)
        with served.http.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as second:
            lines = second.iter_lines()
            assert next(lines) == ": ping"


def open_request(served: Served, **body: Any) -> socket.socket:
    """A connection that has sent a request and reads nothing."""
    host, port = served.url.removeprefix("http://").split(":")
    content = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)))
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_a_client_that_goes_away_frees_its_place(served: Served, stream: bool, n: int) -> None:
    seconds = []
    for _ in range(5):  # another process may keep the processor for longer than this takes
        connection = open_request(served, **LONG, stream=stream, n=n)
        while served.service.engine.running < n:
            time.sleep(0.001)
        connection.close()
        seconds.append(served.wait_until_idle())
    assert min(seconds) < 0.1


def test_a_client_that_waits_for_a_place_and_goes_away_leaves_the_queue(serve: Serve, run: Run) -> None:
    served = serve({"fox": run}, max_streams=1)
    first, second = open_request(served, **LONG, stream=True), open_request(served, **LONG)
    while served.service.engine.running + served.service.engine.waiting < 2:
        time.sleep(0.001)
    second.close()
    while served.service.engine.waiting:
        time.sleep(0.001)
    assert served.service.engine.running == 1
    first.close()
    served.wait_until_idle()


def test_too_many_texts_are_refused_until_there_is_room(serve: Serve, run: Run) -> None:
    served = serve({"fox": run}, max_streams=1, max_waiting=1)
    connection = open_request(served, **LONG, n=2)
    while served.service.engine.running + served.service.engine.waiting < 2:
        time.sleep(0.001)
    with pytest.raises(openai.RateLimitError) as caught:
        served.openai.completions.create(model="fox", prompt="The ")
    assert int(caught.value.response.headers["Retry-After"]) >= 1
    connection.close()
    served.wait_until_idle()
    assert served.post(prompt="The ", seed=1)["choices"][0]["text"]


def test_an_error_in_mid_stream_is_an_event(
    serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve({"fox": run})
    loop = served.service.engine._loops["fox"]
    step, taken = loop.step, []

    def failing() -> Any:
        taken.append(1)
        if len(taken) > 500:
            raise damaged_weights()
        return step()

    monkeypatch.setattr(loop, "step", failing)
    *_, error, last = blocks_of(served, **LONG)
    assert last == "data: [DONE]"
    assert json.loads(error[6:])["error"]["type"] == "server_error"
    assert "weights" not in error
    assert "damaged" in caplog.text
    # The client's own exception; and the next text is written by a new loop.
    assert served.post(prompt="The ", max_tokens=5, ignore_eos=True)["usage"]["completion_tokens"] == 5


def test_an_error_of_a_whole_answer_has_its_status(
    serve: Serve, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve({"fox": run})

    def failing() -> Any:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(served.service.engine._loops["fox"], "step", failing)
    status, error = served.error(**LONG)
    assert status == 500
    assert "secret" not in json.dumps(error)
