"""Characters per second that untrained networks generate on a CPU, with a vocabulary of 65 characters.

One text at a time, except in the last line. The bare engine is engine.step and the draw by temperature.
All run in one process: textgen on one thread or two as it chooses, which is what `textgen sample` does, torch
on as many as it chooses. The torch loops draw with softmax and multinomial: "nn.LSTM loop" is what people
write, one step per call, each character read back at once; "LSTMCell loop" is torch's own cells as fast as
they go, in inference mode, without oneDNN, all characters read back at the end; "folded loop" is our engine's
method in torch operations, the first input product looked up in a table, the equations by hand. "matmul only"
is NumPy multiplying the same matrices, read from memory in each step, and nothing else: an upper bound.

`sample` is the command's own path, Generator.stream printed to a file, compared with the bare engine; and the
whole command as a process.
"""

from __future__ import annotations

import contextlib
import os
import string
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import Comparison, Goal, alternate, seconds
from textgen.cli.sample import show
from textgen.generation.engine import Engine
from textgen.generation.generator import Generator
from textgen.generation.numpy_engine.engine import NumpyEngine
from textgen.generation.numpy_engine.thread_tuner import TunedEngine, fast_engine
from textgen.generation.sampling import choose
from textgen.models.language_model import LanguageModel
from textgen.run import CONFIG, FORMAT, TOKENIZER, WEIGHTS, config_json, save_weights
from textgen.settings.config import DataConfig, ModelConfig, RunConfig, SampleConfig, TrainingConfig
from textgen.system.threads import numpy_threads
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer
from textgen.version import VERSION

CHARACTERS = string.ascii_letters + string.digits + " .\n"  # 65
V = len(CHARACTERS)
UNIT = "characters/s"
SIZES = ((128, 1), (256, 1), (512, 1), (1024, 1), (128, 2), (512, 2), (1024, 2))
TEMPERATURE = SampleConfig.temperature
SECONDS = 0.1  # of one timing
# At least this many times the speed of the nn.LSTM loop and the LSTMCell loop, by units.
LSTM_GOALS = {128: (10, 5), 512: (60, 5), 1024: (30, 10)}
DECODING: tuple[tuple[str, dict[str, Any], tuple[str, ...], dict[int, float]], ...] = (
    ("temperature", {}, (), {128: 0.70, 512: 0.85}),
    ("stop string", {}, ("qzqzqz",), {128: 0.70, 512: 0.85}),
    ("top-k 40, top-p 0.9", {"top_k": 40, "top_p": 0.9}, (), {512: 0.75}),
)
COLD_SECONDS = 0.6
BATCH_SIZE = 64

Writer = Callable[[int], object]  # writes this many characters


def measure(*, rounds: int, only: str) -> Iterator[Comparison]:
    """Each case whose name contains `only`."""
    for cell in ("lstm", "gru"):
        for units, layers in SIZES:
            case = f"{cell}, {units} units, {layers} layer{'s' * (layers > 1)}"
            if only in case:
                yield from _engine_against_torch(case, make_model(cell, units, layers), rounds)
    for units in (128, 512):
        for name, settings, stops, goals in DECODING:
            case = f"sample, lstm, {units} units, {name}"
            if only in case:
                goal = Goal("ratio", goals[units]) if units in goals else None
                yield _command_against_engine(case, units, SampleConfig(**settings), stops, goal, rounds)
    case = "sample, lstm, 512 units, a process that writes 200"
    if only in case:
        yield _cold_process(case, rounds)
    case = f"lstm, 256 units, {BATCH_SIZE} texts at once"
    if only in case:
        yield _batch_against_one(case, rounds)


def make_model(cell: str, units: int, layers: int = 1) -> LanguageModel:
    """An untrained language model of the benchmark's characters."""
    torch.manual_seed(0)
    config = ModelConfig(
        model_vocab_size=V,
        cell=cell,
        embedding_dim=units,
        hidden_size=units,
        num_layers=layers,
        tie_weights=False,
        dropout=0.0,
    )
    tokenizer = make_tokenizer()
    vocab = ModelVocab.from_counts(np.bincount(tokenizer.encode(CHARACTERS), minlength=tokenizer.vocab_size))
    return LanguageModel(config, vocab).eval()


def make_tokenizer() -> Tokenizer:
    """The tokenizer of the benchmark's characters."""
    return Tokenizer.train("char", [CHARACTERS])


def _engine_against_torch(case: str, model: LanguageModel, rounds: int) -> Iterator[Comparison]:
    cell, units = model.config.cell.upper(), model.config.hidden_size
    writers = [bare_engine(model), layer_loop(model), cell_loop(model), folded_loop(model)]
    ours, layer, cells, folded, *alone = speeds(*writers, *products(model), rounds=rounds)
    goals: list[Goal | None] = [None, None]
    if cell == "LSTM" and units in LSTM_GOALS:
        goals = [Goal("ratio", bound) for bound in LSTM_GOALS[units]]
    yield Comparison(case, f"nn.{cell} loop", UNIT, ours, layer, goals[0])
    yield Comparison(case, f"{cell}Cell loop", UNIT, ours, cells, goals[1])
    yield Comparison(case, "folded loop", UNIT, ours, folded)
    yield Comparison(case, "matmul only (upper bound)", UNIT, ours, max(alone))


def _command_against_engine(
    case: str, units: int, config: SampleConfig, stops: tuple[str, ...], goal: Goal | None, rounds: int
) -> Comparison:
    model = make_model("lstm", units)
    generator = Generator(our_engine(model), make_tokenizer())

    command = partial(sample_path, generator, config=config, stops=stops)
    ours, bare = speeds(command, bare_engine(model), rounds=rounds)
    return Comparison(case, "bare engine", UNIT, ours, bare, goal)


def sample_path(
    generator: Generator, count: int, *, config: SampleConfig | None = None, stops: tuple[str, ...] = ()
) -> None:
    """Write one text as `textgen sample` does, into a file."""
    settings = SampleConfig(**(vars(config or SampleConfig()) | {"max_new_tokens": count}))
    with Path(os.devnull).open("w", encoding="utf-8") as out, contextlib.redirect_stdout(out):
        show(generator.stream(" ", stop=stops, seed=0, config=settings))


def _cold_process(case: str, rounds: int) -> Comparison:
    model = make_model("lstm", 512)
    with tempfile.TemporaryDirectory() as folder:
        save_run(model, Path(folder))
        sample = ["-m", "textgen", "sample", folder, "--max-new-tokens", "200"]
        ours, theirs = alternate(
            lambda: _process(*sample), lambda: _process("-c", "import torch"), rounds=rounds
        )
    return Comparison(case, "import torch", "s", ours, theirs, Goal("ours", COLD_SECONDS, at_most=True))


def save_run(model: LanguageModel, run: Path) -> None:
    """Write a run of a model into a folder that exists."""
    config = RunConfig(
        format=FORMAT,
        textgen_version=VERSION,
        data=DataConfig(corpus=("none.txt",), tokenizer="char"),
        model=model.config,
        training=TrainingConfig(steps=1),
    )
    (run / CONFIG).write_text(config_json(config), encoding="utf-8")
    make_tokenizer().save(run / TOKENIZER)
    save_weights(run / WEIGHTS, model.weights())


def _process(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)


def _batch_against_one(case: str, rounds: int) -> Comparison:
    generator = Generator(our_engine(make_model("lstm", 256)), make_tokenizer())

    def write(num_samples: int) -> Writer:
        return lambda count: generator.generate(
            " ", num_samples=num_samples, seed=0, config=SampleConfig(max_new_tokens=count)
        )

    together, alone = speeds(write(BATCH_SIZE), write(1), rounds=rounds)
    return Comparison(case, "one text", UNIT, together * BATCH_SIZE, alone)


def speeds(*writers: Writer, rounds: int) -> list[float]:
    """Steps per second of each, measured in turn, each for about the same time."""
    counts = []
    for write in writers:
        write(3)
        counts.append(max(5, round(SECONDS / seconds(partial(write, 10)) * 10)))
    times = alternate(*map(partial, writers, counts), rounds=rounds)
    return [count / time for count, time in zip(counts, times, strict=True)]


def our_engine(model: LanguageModel) -> NumpyEngine:
    """The engine that `textgen sample` uses."""
    set_threads = numpy_threads()
    if set_threads is None:
        return NumpyEngine(model.config, model.weights())
    return fast_engine(model.config, model.weights(), set_threads)


def bare_engine(model: LanguageModel) -> Writer:
    """The engine and the draw only."""
    return bare_batch(our_engine(model), 1)


def bare_batch(engine: Engine, batch_size: int) -> Writer:
    """An engine and the draw only, for several texts at once."""
    config = SampleConfig()

    def write(count: int) -> None:
        logits = engine.start(np.zeros((batch_size, 1), np.int64))
        for uniforms in np.random.default_rng(0).random((count, batch_size)):
            logits = engine.step(choose(logits, config, uniforms))

    return write


def products(model: LanguageModel) -> list[Writer]:
    """The matrix products of the engine's steps, on each number of threads that it may use."""
    set_threads, engine = numpy_threads(), our_engine(model)
    engine.start(np.zeros((1, 1), np.int64))

    def write(threads: int, count: int) -> None:
        if set_threads is not None:
            set_threads(threads)
        for _ in range(count):
            for layer_state in engine._states:
                np.dot(layer_state.padded, layer_state.matrix, out=layer_state.product)

    return [partial(write, threads) for threads in ((1, 2) if isinstance(engine, TunedEngine) else (1,))]


def layer_loop(model: LanguageModel) -> Writer:
    """nn.LSTM or nn.GRU with one step per call, as people write it."""
    units = model.config.hidden_size
    kind = {"lstm": nn.LSTM, "gru": nn.GRU}[model.config.cell]
    layers = kind(units, units, model.config.num_layers, batch_first=True)

    @torch.no_grad()
    def write(count: int) -> list[int]:
        token, state, written = torch.zeros(1, 1, dtype=torch.long), None, []
        for _ in range(count):
            hidden, state = layers(model.embedding(token), state)
            probabilities = torch.softmax(model.head(hidden[:, -1]) / TEMPERATURE, dim=-1)
            token = torch.multinomial(probabilities, 1)
            written.append(int(token))
        return written

    return write


@contextlib.contextmanager
def without_onednn() -> Iterator[None]:
    """Run torch's own matrix products."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about Intel's GPUs on entering
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def cell_loop(model: LanguageModel) -> Writer:
    """nn.LSTMCell or nn.GRUCell without oneDNN, which would repack the weights on every call."""
    units, is_lstm = model.config.hidden_size, model.config.cell == "lstm"
    cells = [(nn.LSTMCell if is_lstm else nn.GRUCell)(units, units) for _ in range(model.config.num_layers)]

    @torch.inference_mode()
    def write(count: int) -> list[int]:
        zeros = torch.zeros(1, units)
        states: list[Any] = [(zeros, zeros) if is_lstm else zeros for _ in cells]
        token, written = torch.zeros(1, dtype=torch.long), []
        with without_onednn():
            for _ in range(count):
                x = model.embedding(token)
                for number, cell in enumerate(cells):
                    states[number] = cell(x, states[number])
                    x = states[number][0] if is_lstm else states[number]
                token = torch.multinomial(torch.softmax(model.head(x)[0] / TEMPERATURE, dim=-1), 1)
                written.append(token)
        characters: list[int] = torch.cat(written).tolist()
        return characters

    return write


def folded_loop(model: LanguageModel) -> Writer:
    """The equations with the first input product in a table, each product one matrix and one vector."""
    config, layers = model.config, model.layers
    weights = [tuple(weight.detach() for weight in layers.layer_weights(i)) for i in range(config.num_layers)]
    advance = _lstm_gates if config.cell == "lstm" else _gru_gates

    @torch.inference_mode()
    def write(count: int) -> list[int]:
        first, *_ = weights
        table = model.embedding.weight @ first[0].T + first[2]  # (V, G)
        states = [(torch.zeros(config.hidden_size),) * 2 for _ in weights]
        token, written = 0, []
        with without_onednn():
            for _ in range(count):
                projected = table[token]
                for number, (_, weight_hh, _, bias_hh) in enumerate(weights):
                    if number:
                        weight_ih, _, bias_ih, _ = weights[number]
                        projected = torch.addmv(bias_ih, weight_ih, states[number - 1][0])
                    from_hidden = torch.addmv(bias_hh, weight_hh, states[number][0])
                    states[number] = advance(projected, from_hidden, states[number])
                logits = torch.addmv(model.head.bias, model.head.weight, states[-1][0])
                token = int(torch.multinomial(torch.softmax(logits / TEMPERATURE, dim=-1), 1))
                written.append(token)
        return written

    return write


def _lstm_gates(
    projected: Tensor, from_hidden: Tensor, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    i, f, g, o = (projected + from_hidden).chunk(4)
    cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def _gru_gates(projected: Tensor, from_hidden: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    (input_r, input_z, input_n), (hidden_r, hidden_z, hidden_n) = projected.chunk(3), from_hidden.chunk(3)
    new = torch.tanh(input_n + torch.sigmoid(input_r + hidden_r) * hidden_n)
    return torch.lerp(new, state[0], torch.sigmoid(input_z + hidden_z)), new
