"""What tests of several packages start from: commands in this process, an untrained run, a browser."""

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from click.testing import CliRunner

from textgen.cli import group, main
from textgen.run import (
    CONFIG,
    FILES,
    FORMAT,
    TOKENIZER,
    WEIGHTS,
    Run,
    config_json,
    files_json,
    save_weights,
)
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from textgen.system.atomic import write_file
from textgen.system.digests import sealed
from textgen.system.threads import limit_spinning
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from distributed import LocalCluster
    from playwright.sync_api import Browser

# Before any test imports torch: on a busy machine its threads would wait for each other otherwise.
limit_spinning()

# A process that a script starts in the background ignores Ctrl-C, and so do its children; those that tests
# start must not.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, so that a test fails because of a change and not by chance; and no time limit
# per example, because the machine may be busy. For other examples: pytest --hypothesis-profile=default
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

TEXT = "The quick brown fox jumps over the lazy dog.\nWhy? It is not known; the dog was 42 years old!\n" * 3
MakeRun = Callable[..., Run]

ANNOUNCED = "Reading what "  # a run names: run.announce_named


@dataclass(frozen=True)
class Result:
    """What a command left behind, its output as it was written."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def only_error(self) -> str:
        """The one line on standard error of a command that was refused."""
        assert self.exit_code != 0
        assert self.stdout == ""
        (line,) = self.notes
        return line

    @property
    def notes(self) -> list[str]:
        """The lines on standard error without those that announce which files are read."""
        return [line for line in self.stderr.splitlines(keepends=True) if not line.startswith(ANNOUNCED)]


Cli = Callable[..., Result]
Invoke = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """cli("train", "corpus.txt", ...): run textgen in this process as its users do, errors as one line.

    It works in `tmp_path`, with a cache of its own.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["textgen", *map(str, arguments)])
        exit_code = 0
        try:
            main()
        except SystemExit as error:
            exit_code = int(error.code or 0)
        return Result(exit_code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def invoke() -> Invoke:
    """invoke("train", "corpus.txt", ..., input=, env=): run a command in this process; its errors are raised.

    `input` is what it reads from standard input; a variable of `env` that is None is unset.
    """

    def run(
        *arguments: object, input: str | bytes | None = None, env: dict[str, str | None] | None = None
    ) -> Result:
        done = CliRunner(env=env).invoke(group, [*map(str, arguments)], input=input, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        # Not done.stdout, which turns \r\n into \n.
        return Result(done.exit_code, done.stdout_bytes.decode(), done.stderr_bytes.decode())

    return run


def write_untrained_run(
    directory: Path,
    *,
    text: str = TEXT,
    kind: str = "char",
    end_of_text: bool = False,
    seed: int = 0,
    data: Mapping[str, Any] = MappingProxyType({}),
    **model: object,
) -> Run:
    """An untrained run that can encode `text`; data: further fields of its DataConfig."""
    import torch

    from textgen.models.language_model import LanguageModel

    tokenizer = Tokenizer.train(kind, [text])
    ids = np.append(tokenizer.encode(text), [tokenizer.end_of_text_id] * end_of_text).astype(np.int64)
    vocab = ModelVocab.from_counts(np.bincount(ids, minlength=tokenizer.vocab_size))
    torch.manual_seed(seed)
    sizes = {"cell": "lstm", "embedding_dim": 8, "hidden_size": 16}
    network = LanguageModel(ModelConfig(model_vocab_size=vocab.size, **(sizes | model)), vocab)
    config = RunConfig(
        format=FORMAT,
        textgen_version="0",
        data=DataConfig(corpus=("a.txt",), tokenizer=kind, **data),
        model=network.config,
        training=TrainingConfig(steps=1),
    )
    directory.mkdir(parents=True)
    write_file(directory / CONFIG, config_json(config))
    tokenizer.save(directory / TOKENIZER)
    save_weights(directory / WEIGHTS, network.weights())
    return Run(directory)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make_run(name, **settings): write_untrained_run in tmp_path."""
    return lambda name="tiny", **settings: write_untrained_run(tmp_path / "runs" / name, **settings)


@pytest.fixture(scope="module")
def module_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """make_run for a server or another thing that all tests of a file share."""
    folder = tmp_path_factory.mktemp("runs")
    return lambda name="tiny", **settings: write_untrained_run(folder / name, **settings)


@pytest.fixture
def full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's float32 layers without TF32, which rounds the factors of each product to eleven bits."""
    import torch

    if hasattr(torch.backends.cudnn.rnn, "fp32_precision"):
        monkeypatch.setattr(torch.backends.cudnn.rnn, "fp32_precision", "ieee")
    else:  # torch before 2.9; later versions warn of this one
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def each_device(request: pytest.FixtureRequest, full_float32: None) -> str:
    """The CPU, and a GPU with full_float32 where there is one."""
    import torch

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU")
    return str(request.param)


BLOCK_BYTES = 4096


@dataclass
class Page:
    """What the server has at a path.

    cut_after: it closes the connection after so many bytes of each answer. sent_etag: instead of the one
    that conditions are compared with. pause: seconds after each block. announced: the length that it claims,
    if not the right one. authorization: the header that it wants. failures: the status of the next answers.
    """

    content: bytes
    etag: str | None = None
    sent_etag: str | None = None
    modified: str | None = None
    says_length: bool = True
    announced: int | None = None
    cut_after: int | None = None
    pause: float = 0.0
    status: int = 200
    location: str | None = None
    ranges: bool = True
    authorization: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Asked:
    """A request, and how many bytes of content were sent for it."""

    path: str
    headers: dict[str, str]
    status: int
    sent: list[int]


class TextServer:
    """A real HTTP server: serves `pages` by their path, and keeps what was asked for in `log`."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.log: list[Asked] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(ConnectionError):
                    server._answer(self)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def add(self, path: str, content: bytes | str, **about: Any) -> str:
        """Put a page at a path; returns its URL."""
        self.pages[path] = Page(content.encode() if isinstance(content, str) else content, **about)
        return self.url(path)

    @property
    def sent(self) -> int:
        """Bytes of content sent since the last look."""
        total = sum(asked.sent[0] for asked in self.log)
        self.log.clear()
        return total

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path, wanted = handler.path, handler.headers
        page = self.pages.get(path) or self.pages.get(path.partition("?")[0], Page(b"", status=404))
        status, start = page.failures.pop(0) if page.failures else page.status, 0
        if page.authorization is not None and wanted["Authorization"] != page.authorization:
            status = 401
        if status == 200:
            status, start = _condition(page, wanted)
        content = page.content[start:] if status in (200, 206) else b""
        asked = Asked(handler.path, dict(wanted), status, [0])
        self.log.append(asked)
        handler.send_response(status)
        for name, value in _headers(page, status, start, content):
            handler.send_header(name, value)
        handler.end_headers()
        for block in _blocks(page, content):
            handler.wfile.write(block)
            handler.wfile.flush()
            asked.sent[0] += len(block)
            time.sleep(page.pause)
        if page.cut_after is not None or not page.says_length or page.announced is not None:
            handler.close_connection = True


def _condition(page: Page, wanted: Any) -> tuple[int, int]:
    """Status and first byte of an answer."""
    if page.etag is not None and wanted["If-None-Match"] == page.etag:
        return 304, 0
    if page.modified is not None and wanted["If-Modified-Since"] == page.modified:
        return 304, 0
    if not page.ranges or wanted["Range"] is None or wanted["If-Range"] not in (page.etag, page.modified):
        return 200, 0
    start = int(wanted["Range"].removeprefix("bytes=").removesuffix("-"))
    return (206, start) if start < len(page.content) else (416, 0)


def _headers(page: Page, status: int, start: int, content: bytes) -> Iterator[tuple[str, str]]:
    yield from page.headers.items()
    if page.etag is not None:
        yield "ETag", page.etag if page.sent_etag is None else page.sent_etag
    if page.modified is not None:
        yield "Last-Modified", page.modified
    if page.location is not None:
        yield "Location", page.location
    if status == 206:
        yield "Content-Range", f"bytes {start}-{len(page.content) - 1}/{len(page.content)}"
    if page.says_length:
        yield "Content-Length", str(len(content) if page.announced is None else page.announced)
    else:
        yield "Connection", "close"


def _blocks(page: Page, content: bytes) -> Iterator[bytes]:
    content = content if page.cut_after is None else content[: page.cut_after]
    for start in range(0, len(content), BLOCK_BYTES):
        yield content[start : start + BLOCK_BYTES]


@pytest.fixture
def server() -> Iterator[TextServer]:
    """An HTTP server on this machine."""
    server = TextServer()
    yield server
    server.close()


Rewrite = Callable[[Path, Any], None]


@pytest.fixture
def rewrite() -> Rewrite:
    """Changes a JSON file of a run and the digests too, as a stranger who made the run could."""

    def change(path: Path, content: Any) -> None:
        if path.name == "progress.json":
            content = sealed({name: value for name, value in content.items() if name != "sha256"})
        path.write_text(json.dumps(content), encoding="utf-8")
        if (path.parent / FILES).exists():
            (path.parent / FILES).write_text(files_json(path.parent), encoding="utf-8")

    return change


@pytest.fixture(scope="session")
def browser() -> "Iterator[Browser]":
    """The system's Chromium, headless.

    Without it the test is skipped, or fails if TEXTGEN_NEEDS_BROWSER is set.
    """
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        path = None
    if path is None:
        # .ci/run sets it so that these tests cannot be skipped silently there.
        refuse = pytest.fail if os.environ.get("TEXTGEN_NEEDS_BROWSER") else pytest.skip
        refuse("needs playwright and Chromium: apt-get install chromium")
    flags = ["no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update"]
    flags += ["disable-sync", "no-first-run"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=[f"--{flag}" for flag in flags])
        yield found
        found.close()


@pytest.fixture(scope="session")
def dask_cluster() -> "Iterator[LocalCluster]":
    """A dask cluster of two worker processes with a thread each, which are started again when they die."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0") as cluster:
        yield cluster
