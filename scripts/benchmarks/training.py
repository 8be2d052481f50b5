"""Training steps against a bare layer and a plain loop; our GRU against our LSTM and torch's GRU.

A step is everything that `textgen train` does between two evaluations: reading the batch, embedding, layers,
head, loss, backward, clipping, AdamW, metrics and progress. It is measured without dropout and penalties,
like the code that it is compared with. The bare layer is torch.nn.LSTM alone, forward and backward, including
the gradient of its input. All run in this process, on the same threads, with memory kept as in training
(textgen/system/memory.py), on data/faq.txt.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.measure import Comparison, Goal, alternate
from textgen.models.language_model import LanguageModel
from textgen.models.products import linear, step_product, weight_gradient
from textgen.models.recurrent import Recurrent
from textgen.settings.config import ModelConfig
from textgen.settings.given import UserOptions
from textgen.system.device import cpu_gains_by_bfloat16, torch_dtype
from textgen.system.memory import keep_memory
from textgen.system.progress import Reporter
from textgen.system.threads import available_processors, resolve_threads
from textgen.training.new_run import new_run
from textgen.training.planning.probe import fastest_threads
from textgen.training.trainer import Trainer

CORPUS = Path(__file__).parents[2] / "data" / "faq.txt"
NARROW = 64  # an embedding_dim of about the number of distinct characters
QUALITY_STEPS = 400
GRU_GOALS = {("float32", 256): 1.0, ("float32", 512): 0.95, ("bfloat16", 256): 1.1, ("bfloat16", 512): 1.1}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FAST_PRECISION = "bfloat16" if DEVICE == "cuda" or cpu_gains_by_bfloat16() else "float32"


def measure(*, rounds: int, only: str) -> Iterator[Comparison]:
    """Measure every case whose name contains `only`."""
    keep_memory()
    for name, compare in _cases():
        if only in name:
            yield compare(name, rounds)


def _cases() -> Iterator[tuple[str, Callable[[str, int], Comparison]]]:
    precisions = dict.fromkeys((FAST_PRECISION, "float32"))
    for size, batch, window in itertools.product((128, 256, 512), (32, 64), (64, 128)):
        shape = f"lstm {size}, {batch} x {window}, {FAST_PRECISION}"
        goal = Goal("ratio", 0.75 if size == 128 else 0.85)
        yield f"step, {shape}", partial(_against_bare, size, size, batch, window, FAST_PRECISION, goal)
        if (batch, window) == (32, 64):
            yield (
                f"step, {shape}, embedding {NARROW}",
                partial(_against_bare, size, NARROW, batch, window, FAST_PRECISION, goal),
            )
    for size in (128, 256, 512):
        name = f"step, lstm {size}, 32 x 64, {FAST_PRECISION}, with a plain loop"
        yield name, partial(_against_plain_loop, size, FAST_PRECISION)
    if FAST_PRECISION != "float32":
        yield "step, lstm 512, 32 x 64, bfloat16 with float32", _precisions
        yield f"loss after {QUALITY_STEPS} steps, lstm 512", _losses
    for precision, size in itertools.product(precisions, (128, 256, 512)):
        bound = GRU_GOALS.get((precision, size)) if DEVICE == "cpu" else None
        goal = Goal("ratio", bound) if bound else None
        yield f"gru {size}, 32 x 128, {precision}", partial(_cells, size, precision, goal)
        if DEVICE == "cpu":
            name = f"gru {size}, 32 x 128, {precision}, matmul only (upper bound)"
            yield name, partial(_gru_products, size, precision)
    for precision, size in itertools.product(precisions, (16, 50, 128, 256, 512)):
        for batch in (1, 32):
            shape = f"gru {size}, {batch} x 128, {precision}"
            yield f"{shape}, with torch's", partial(_against_torch_gru, size, batch, precision)
    for size in (128, 256, 384, 512, 1024) if DEVICE == "cpu" else ():
        yield f"threads, lstm {size}, 32 x 64, {FAST_PRECISION}", partial(_threads, size)
    yield "reading a batch, 32 x 64", _reading


def new_trainer(folder: str, **settings: object) -> Trainer:
    """The trainer of a new run on data/faq.txt, with more steps than are measured here."""
    options: dict[str, object] = {
        "corpus": (str(CORPUS),),
        "run": f"{folder}/run",
        "cache_dir": f"{folder}/cache",
        "steps": 5000,
        "num_layers": 1,
        "dropout": 0.0,
        "weight_drop": 0.0,
        "temporal_activation_penalty": 0.0,
        "device": DEVICE,
    }
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        trainer = new_run(UserOptions.from_names(options | settings), Reporter(nowhere)).trainer
    trainer.state.metrics.start()
    trainer.model.train()
    return trainer


def _repeats(tokens: int) -> int:
    """How often to repeat an action on this many tokens per timing, so that the timing is long enough."""
    return max(1, 20_000 // tokens)


def _repeat(action: Callable[[], object], tokens: int) -> Callable[[], None]:
    """The action, repeated for one timing."""

    def repeated() -> None:
        for _ in range(_repeats(tokens)):
            action()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return repeated


def _throughput(
    ours: Callable[[], object], theirs: Callable[[], object], tokens: int, rounds: int
) -> tuple[float, float]:
    """Tokens per second of both, measured in turn."""
    medians = alternate(_repeat(ours, tokens), _repeat(theirs, tokens), rounds=rounds)
    read = _repeats(tokens) * tokens
    return read / medians[0], read / medians[1]


def _pass(layers: nn.Module, batch: int, window: int, precision: str) -> Callable[[], None]:
    """Forward and backward of a recurrent layer, including the gradient of its input."""
    x = torch.randn(batch, window, layers.input_size, device=DEVICE, dtype=torch_dtype(precision))
    x.requires_grad_()
    layers = layers.to(DEVICE)
    gradient = torch.randn(batch, window, layers.hidden_size, device=DEVICE, dtype=torch_dtype(precision))

    def forward_and_backward() -> None:
        layers.zero_grad(set_to_none=True)
        x.grad = None
        layers(x)[0].backward(gradient)

    return forward_and_backward


def _bare(
    kind: type[nn.RNNBase], columns: int, size: int, batch: int, window: int, precision: str
) -> Callable[[], None]:
    layer = kind(columns, size, batch_first=True).to(torch_dtype(precision))
    return _pass(layer, batch, window, precision)


def _against_bare(
    size: int, embedding: int, batch: int, window: int, precision: str, goal: Goal, name: str, rounds: int
) -> Comparison:
    with tempfile.TemporaryDirectory() as folder:
        trainer = new_trainer(
            folder,
            hidden_size=size,
            embedding_dim=embedding,
            batch_size=batch,
            seq_len=window,
            precision=precision,
            cell="lstm",
        )
        bare = _bare(nn.LSTM, embedding, size, batch, window, precision)
        ours, theirs = _throughput(trainer.advance, bare, batch * window, rounds)
    return Comparison(name, "bare nn.LSTM", "tokens/s", ours, theirs, goal)


def _against_plain_loop(size: int, precision: str, name: str, rounds: int) -> Comparison:
    with tempfile.TemporaryDirectory() as folder:
        trainer = new_trainer(
            folder, hidden_size=size, batch_size=32, seq_len=64, precision=precision, cell="lstm"
        )
        model = LanguageModel(trainer.model.config, trainer.model.vocab).to(DEVICE).train()
        model.compute_dtype = torch_dtype(precision)
        model_ids = torch.from_numpy(model.vocab.to_model_ids(trainer.batches._tokens)).to(DEVICE)
        step = PlainLoop(model, model_ids, batch_size=32, seq_len=64)
        ours, theirs = _throughput(trainer.advance, step, 32 * 64, rounds)
    return Comparison(name, "thirty-line loop", "tokens/s", ours, theirs, Goal("ratio", 0.95))


class PlainLoop:
    """A minimal hand-written loop for the same model: windows of parallel sequences, AdamW, clipping."""

    def __init__(self, model: LanguageModel, model_ids: Tensor, batch_size: int, seq_len: int) -> None:
        length = (len(model_ids) - 1) // batch_size
        self.inputs = model_ids[: batch_size * length].view(batch_size, length)
        self.targets = model_ids[1 : batch_size * length + 1].view(batch_size, length)
        self.model, self.seq_len, self.position = model, seq_len, 0
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        self.state = model.zero_state(batch_size)

    def __call__(self) -> None:
        """Take one training step."""
        if self.position + self.seq_len > self.inputs.shape[1]:
            self.position, self.state = 0, self.model.zero_state(len(self.inputs))
        window = slice(self.position, self.position + self.seq_len)
        logits, state = self.model(self.inputs[:, window], self.state)
        loss = cross_entropy(logits.float().flatten(0, 1), self.targets[:, window].flatten())
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.state = tuple(part.detach() for part in state)
        self.position += self.seq_len


def _precisions(name: str, rounds: int) -> Comparison:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        settings: dict[str, object] = {"hidden_size": 512, "batch_size": 32, "seq_len": 64, "cell": "lstm"}
        short = new_trainer(first, precision="bfloat16", **settings)
        full = new_trainer(second, precision="float32", **settings)
        ours, theirs = _throughput(short.advance, full.advance, 32 * 64, rounds)
    return Comparison(name, "float32", "tokens/s", ours, theirs, Goal("ratio", 1.3))


def _losses(name: str, rounds: int) -> Comparison:
    """Validation loss after the same steps in both precisions, from the same initial weights."""
    losses = []
    for precision in ("bfloat16", "float32"):
        with tempfile.TemporaryDirectory() as folder:
            trainer = new_trainer(
                folder,
                hidden_size=512,
                batch_size=32,
                seq_len=64,
                precision=precision,
                cell="lstm",
                steps=QUALITY_STEPS,
                learning_rate=4e-3,
            )
            for _ in range(QUALITY_STEPS):
                trainer.advance()
            losses.append(trainer.validate().nats_per_token)
    return Comparison(name, "float32", "nats/token", *losses, Goal("difference", 0.01, at_most=True))


def _cells(size: int, precision: str, goal: Goal | None, name: str, rounds: int) -> Comparison:
    dtype = torch_dtype(precision)
    gru, lstm = (
        _pass(Recurrent(cell, NARROW, size).to(dtype), 32, 128, precision) for cell in ("gru", "lstm")
    )
    torch.set_num_threads(resolve_threads(None, hidden_size=size))
    ours, theirs = _throughput(gru, lstm, 32 * 128, rounds)
    return Comparison(name, "our LSTM", "tokens/s", ours, theirs, goal)


def _gru_products(size: int, precision: str, name: str, rounds: int) -> Comparison:
    """Only the matrix products of the GRU, forward and backward, against our complete LSTM."""
    dtype, batch, window = torch_dtype(precision), 32, 128
    torch.set_num_threads(resolve_threads(None, hidden_size=size))
    weight_ih, weight_hh = (torch.randn(3 * size, columns, dtype=dtype) for columns in (NARROW, size))
    x, hidden, gates = (torch.randn(batch * window, width, dtype=dtype) for width in (NARROW, size, 3 * size))
    forward, backward = step_product(weight_hh, batch), step_product(weight_hh.t().contiguous(), batch)

    @torch.no_grad()
    def multiply() -> None:
        linear(x, weight_ih)
        for states, gradients in zip(hidden.split(batch), gates.split(batch), strict=True):
            forward(states)
            backward(gradients)
        weight_gradient(gates, hidden)
        weight_gradient(gates, x)
        linear(gates, weight_ih.t())

    lstm = _pass(Recurrent("lstm", NARROW, size).to(dtype), batch, window, precision)
    ours, theirs = _throughput(multiply, lstm, batch * window, rounds)
    return Comparison(name, "our LSTM", "tokens/s", ours, theirs)


def _against_torch_gru(size: int, batch: int, precision: str, name: str, rounds: int) -> Comparison:
    torch.set_num_threads(resolve_threads(None, hidden_size=size))
    own = _pass(Recurrent("gru", NARROW, size).to(torch_dtype(precision)), batch, 128, precision)
    ours, theirs = _throughput(own, _bare(nn.GRU, NARROW, size, batch, 128, precision), batch * 128, rounds)
    return Comparison(name, "nn.GRU", "tokens/s", ours, theirs, Goal("ratio", 1.0))


def _threads(size: int, name: str, rounds: int) -> Comparison:
    """The number of threads that a new run would choose, against the fastest number."""
    model = LanguageModel(ModelConfig(model_vocab_size=65, embedding_dim=size, hidden_size=size))
    model.compute_dtype = torch_dtype(FAST_PRECISION)
    chosen = fastest_threads(model, batch_size=32, seq_len=64).number
    layers = Recurrent("lstm", NARROW, size).to(torch_dtype(FAST_PRECISION))

    def on(threads: int) -> Callable[[], None]:
        step = _pass(layers, 32, 64, FAST_PRECISION)

        def run() -> None:
            torch.set_num_threads(threads)
            step()

        return run

    counts = sorted({1, available_processors(), chosen})
    medians = alternate(*(_repeat(on(count), 32 * 64) for count in counts), rounds=rounds)
    speeds = {count: 1 / median for count, median in zip(counts, medians, strict=True)}
    scale = _repeats(32 * 64) * 32 * 64
    best = max(speeds, key=speeds.__getitem__)
    return Comparison(
        f"{name}: {chosen} chosen", f"{best} thread{'s' if best > 1 else ''}", "tokens/s",
        scale * speeds[chosen], scale * speeds[best], Goal("ratio", 0.9),
    )  # fmt: skip


def _reading(name: str, rounds: int) -> Comparison:
    """Reading a batch, against the whole step that uses it."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = new_trainer(folder, hidden_size=256, batch_size=32, seq_len=64, cell="lstm")
        reading = _repeat(lambda: next(trainer.batches), 32 * 64)
        medians = alternate(reading, _repeat(trainer.advance, 32 * 64), rounds=rounds)
    ours, theirs = (1e3 * median / _repeats(32 * 64) for median in medians)
    return Comparison(
        name, "a step, lstm 256", "milliseconds", ours, theirs, Goal("ratio", 0.02, at_most=True)
    )
