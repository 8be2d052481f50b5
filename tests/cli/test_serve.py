"""`textgen serve`: a server that a person starts, and what it refuses."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.process import ServerProcess, serving
from textgen.generation.generator import Generator
from textgen.settings.config import SampleConfig

if TYPE_CHECKING:
    from tests.conftest import Cli, MakeRun
    from textgen.run import Run


@pytest.fixture(scope="module")
def runs(module_run: MakeRun) -> list[Run]:
    return [module_run("fox"), module_run("dog", seed=1)]


@pytest.fixture(scope="module")
def server(runs: list[Run]) -> Iterator[ServerProcess]:
    with serving(*(run.path for run in runs)) as running:
        yield running


def test_it_says_what_it_serves_and_where(server: ServerProcess) -> None:
    assert server.line == f"Serving fox, dog at http://127.0.0.1:{server.port}\n"
    assert server.ask("GET", "/health") == (200, b'{"status":"ok"}')


def test_runs_go_by_the_names_of_their_folders(server: ServerProcess, runs: list[Run]) -> None:
    _, body = server.ask("GET", "/v1/models")
    assert [each["id"] for each in json.loads(body)["data"]] == ["fox", "dog"]
    config = SampleConfig(max_new_tokens=20, temperature=1.0)
    for run in runs:
        (expected,) = Generator.from_run(run).generate("The ", seed=5, config=config)
        written = server.write(model=run.path.name, prompt="The ", seed=5, max_tokens=20)
        assert written == expected.text


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_cpu_serves_without_torch(server: ServerProcess) -> None:
    server.write(model="fox", prompt="The ")
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "numpy" in loaded
    assert "torch" not in loaded


def test_metrics_count_requests_and_tokens(runs: list[Run]) -> None:
    with serving(runs[0].path) as server:
        server.write(prompt="The ", max_tokens=7)
        assert (
            server.ask("POST", "/v1/completions", {"prompt": "The ", "max_tokens": 7, "stream": True})[0]
            == 200
        )
        server.ask("POST", "/v1/completions", {"prompt": 1.5})
        _, text = server.ask("GET", "/metrics")
        exit_code, log = server.stop()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
    assert found["textgen_requests_total", "/v1/completions", "200"] == 2
    assert found["textgen_requests_total", "/v1/completions", "400"] == 1
    assert found["textgen_prompt_tokens_total",] == 8
    assert found["textgen_generated_tokens_total",] == 14
    assert found["textgen_first_token_seconds_count",] == 1  # of the stream
    assert found["textgen_texts_running",] == found["textgen_texts_waiting",] == 0
    assert exit_code == 0
    lines = log.splitlines()
    assert sum("POST /v1/completions 200, 4 tokens in, 7 out, " in line for line in lines) == 2
    assert "The " not in log


def test_keys_are_asked_for_everywhere_but_on_the_page_and_for_health(
    runs: list[Run], tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("first\nsecond\n")
    with serving(runs[0].path, "--api-key-file", tmp_path / "keys", "--host", "0.0.0.0") as server:
        assert server.ask("GET", "/health")[0] == 200
        assert server.ask("GET", "/")[0] != 401
        for path in ("/v1/models", "/metrics"):
            assert server.ask("GET", path)[0] == 401
            assert server.ask("GET", path, Authorization="Bearer second")[0] == 200
        _, log = server.stop()
    assert "second" not in log


def test_two_runs_of_one_name_are_refused(cli: Cli, make_run: MakeRun) -> None:
    make_run("a/tales")
    make_run("b/tales")
    error = cli("serve", "runs/a/tales", "runs/b/tales/").only_error
    assert error == (
        "textgen: runs/a/tales and runs/b/tales/ are both called 'tales'; rename one of the folders\n"
    )


def test_another_address_without_keys_is_refused(cli: Cli, make_run: MakeRun) -> None:
    result = cli("serve", make_run().path, "--host", "0.0.0.0")
    assert "--api-key-file FILE, or --insecure" in result.only_error
    assert result.exit_code == 2


def test_a_port_in_use_is_refused(cli: Cli, make_run: MakeRun) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        error = cli("serve", make_run().path, "--port", other.getsockname()[1]).only_error
    assert "name another --port" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/such/run"], "no/such/run"),
        (["runs/tiny", "--port", "65536"], "at most 65,535"),
        (["runs/tiny", "--cors", "example.org"], "--cors 'example.org'"),
        (["runs/tiny", "--api-key-file", "none"], "name a file of API keys"),
        (["runs/tiny", "--max-streams", "0"], "at least 1"),
        (["runs/tiny", "--host", "no.such.host.invalid", "--insecure"], "name an address of this machine"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    arguments: list[str], message: str, cli: Cli, make_run: MakeRun
) -> None:
    make_run()
    assert message in cli("serve", *arguments).only_error


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "msgspec"])
def test_a_package_that_is_missing_is_named_with_what_to_install(
    package: str, cli: Cli, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("textgen.serving", package))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    error = cli("serve", make_run().path).only_error
    assert error == f"textgen: serving needs {package}: pip install 'textgen[serve]'\n"
