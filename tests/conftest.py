"""What tests of several packages start from: commands in this process, and a tiny run without training."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from click.testing import CliRunner

from textgen.cli import group, main
from textgen.run import CONFIG, FORMAT, TOKENIZER, WEIGHTS, Run, config_json, save_weights
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from textgen.system.atomic import write_file
from textgen.system.threads import limit_spinning
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer

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
        assert len(self.stderr.splitlines()) == 1, self.stderr
        return self.stderr


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


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """make_run(name, text=, kind=, end_of_text=, seed=, **model): an untrained run that can encode `text`."""

    def make(
        name: str = "tiny",
        *,
        text: str = TEXT,
        kind: str = "char",
        end_of_text: bool = False,
        seed: int = 0,
        **model: object,
    ) -> Run:
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
            data=DataConfig(corpus=("a.txt",), tokenizer=kind),
            model=network.config,
            training=TrainingConfig(steps=1),
        )
        directory = tmp_path / "runs" / name
        directory.mkdir(parents=True)
        write_file(directory / CONFIG, config_json(config))
        tokenizer.save(directory / TOKENIZER)
        save_weights(directory / WEIGHTS, network.weights())
        return Run(directory)

    return make
