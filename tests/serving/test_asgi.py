"""The application: what is loaded, its routes and middleware, and errors as JSON."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import textgen.serving
from textgen.api import load
from textgen.errors import ConfigError, RunError
from textgen.serving.asgi import app

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving.conftest import Serve, Served
    from textgen.run import Run


def test_it_loads_no_torch_and_nothing_of_the_extra_before_it_is_used() -> None:
    code = "import sys, textgen; textgen.serving; sys.exit(bool({'starlette', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_application_on_a_cpu_loads_no_torch(run: Run) -> None:
    code = (
        "import sys, textgen.serving; textgen.serving.app({'fox': sys.argv[1]}); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(run.path)]).returncode == 0


def test_the_application_is_reached_from_the_package() -> None:
    assert textgen.serving.app is app
    with pytest.raises(AttributeError, match="no attribute 'application'"):
        textgen.serving.application  # noqa: B018  reading it is what fails


def test_runs_are_loaded_before_serving_starts(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run directory"):
        app({"none": tmp_path / "none"})
    with pytest.raises(ConfigError, match="no run to serve"):
        app({})


def test_a_loaded_model_is_served_as_it_is(serve: Serve, run: Run) -> None:
    served = serve({"fox": load(run.path)})
    assert served.post(prompt="The ", seed=1)["model"] == "fox"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("GET", "/v1/completions", 405), ("POST", "/v1/models", 405)],
)
def test_a_path_or_method_that_there_is_not_is_an_error_as_any_other(
    served: Served, method: str, path: str, status: int
) -> None:
    answer = served.http.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert path in answer.json()["error"]["message"]


class Marking:
    """A middleware that notes what a request cost."""

    seen: list[Any] = []  # noqa: RUF012  of all instances

    def __init__(self, application: ASGIApp) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.application(scope, receive, send)
        if scope["type"] == "http":
            self.seen.append(scope.get("state", {}).get("account"))


async def greeting(request: Request) -> PlainTextResponse:
    return PlainTextResponse(", ".join(request.app.state.service.models))


def test_middleware_sees_what_a_request_cost_and_routes_what_is_served(serve: Serve, run: Run) -> None:
    served = serve({"fox": run}, middleware=[Middleware(Marking)], routes=[Route("/hello", greeting)])
    assert served.http.get("/hello").text == "fox"
    served.post(prompt="The ", max_tokens=7, ignore_eos=True)
    served.http.post("/v1/completions", json={"prompt": "The ", "max_tokens": 8, "stream": True})
    hello, whole, stream = Marking.seen
    assert hello is None
    assert (whole.prompt_tokens, whole.completion_tokens, whole.first_token_at) == (4, 7, None)
    assert stream.completion_tokens > 0
    assert stream.first_token_at is not None


def test_a_bug_is_told_to_the_log_and_not_to_the_client(
    serve: Serve, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(request: Request) -> PlainTextResponse:
        raise ZeroDivisionError("secret")

    # The server of `textgen serve` silences this logger for its whole process.
    caplog.set_level(logging.ERROR, logger="uvicorn.error")
    served = serve({"fox": run}, routes=[Route("/broken", broken)])
    answer = served.http.get("/broken")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "secret" not in answer.text
    deadline = time.monotonic() + 5
    while "ZeroDivisionError: secret" not in caplog.text:  # logged after the answer is sent
        assert time.monotonic() < deadline, "no traceback in the log"
        time.sleep(0.01)
