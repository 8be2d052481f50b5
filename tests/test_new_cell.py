"""A cell that has nothing but its entry and its equations trains, resumes, evaluates, scores and writes."""

import json
import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from textgen.cli import main
from textgen.errors import ConfigError
from textgen.export.formats import export
from textgen.generation.generator import Generator
from textgen.generation.torch_engine import TorchEngine
from textgen.models.cells import CELLS, Cell, Step, layer_norm, run_stack
from textgen.models.cost import num_parameters
from textgen.models.language_model import LanguageModel
from textgen.models.recurrent import Recurrent
from textgen.run import Run
from textgen.settings.cells import CELL_SPECS, CellSpec
from textgen.settings.config import ModelConfig, SampleConfig

TEXT = "".join(f"Line {n}: the {n % 7} dogs and {n % 5} cats of {n * n % 89} streets.\n" for n in range(300))
STEPS = 40


class MGUWeights(NamedTuple):
    """Three arrays, where LSTM, GRU and RNN have four."""

    weight_ih: Tensor  # (2H, E)
    weight_hh: Tensor  # (2H, H)
    bias: Tensor  # (2H,)


@dataclass(frozen=True)
class MGUStep(Step):
    forget: Tensor
    new: Tensor


def mgu_step(x: Tensor, state: tuple[Tensor, ...], weights: MGUWeights) -> MGUStep:
    """The minimal gated unit of Zhou et al., "Minimal gated unit for recurrent neural networks", 2016.

    f = s(W_f x + U_f h + b_f)
    n = tanh(W_n x + U_n (f * h) + b_n)
    h' = (1 - f) * h + f * n
    """
    (hidden,) = state
    input_f, input_n = (x @ weights.weight_ih.T + weights.bias).chunk(2, dim=-1)
    hidden_f, hidden_n = weights.weight_hh.chunk(2)
    f = torch.sigmoid(input_f + hidden @ hidden_f.T)
    n = torch.tanh(input_n + (f * hidden) @ hidden_n.T)
    return MGUStep(((1 - f) * hidden + f * n,), forget=f, new=n)


@torch.no_grad()
def init_mgu(weights: MGUWeights, generator: torch.Generator | None) -> None:
    for gate in (*weights.weight_ih.chunk(2), *weights.weight_hh.chunk(2)):
        nn.init.xavier_uniform_(gate, generator=generator)
    weights.bias.zero_()


def mgu_shapes(input_size: int, hidden_size: int) -> MGUWeights:
    return MGUWeights((2 * hidden_size, input_size), (2 * hidden_size, hidden_size), (2 * hidden_size,))


MGU = CellSpec(gates=("forget",), candidates=("new",), state=("hidden",), weight_shapes=mgu_shapes)


@pytest.fixture(autouse=True)
def _register(monkeypatch):
    monkeypatch.setitem(CELL_SPECS, "mgu", MGU)
    monkeypatch.setitem(CELLS, "mgu", Cell(mgu_step, init_mgu))


def by_hand(layers: Recurrent, x: Tensor) -> Tensor:
    """A plain stack in plain loops, from the parameters' names alone."""
    weights = dict(layers.named_parameters())
    for layer in range(layers.num_layers):
        own = MGUWeights(*(weights[f"{name}_l{layer}"] for name in MGUWeights._fields))
        state, outputs = (x.new_zeros(len(x), layers.hidden_size),), []
        for x_t in x.unbind(dim=1):
            state = mgu_step(x_t, state, own).state
            outputs.append(state[0])
        x = torch.stack(outputs, dim=1)
    return x


def test_it_computes_its_equations_with_gradients_to_every_weight() -> None:
    torch.manual_seed(1)
    layers = Recurrent("mgu", 5, 6, 2).double()
    x = torch.randn(3, 7, 5, dtype=torch.float64, requires_grad=True)
    found, expected = layers(x)[0], by_hand(layers, x)
    assert torch.equal(found, expected)
    wrt = [x, *layers.parameters()]
    assert len(wrt) == 1 + 2 * 3
    for one, other in zip(
        torch.autograd.grad(found.sin().sum(), wrt),
        torch.autograd.grad(expected.sin().sum(), wrt),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_residual_connections_norms_weight_drop_and_a_basis_act_on_it_as_on_any_other() -> None:
    torch.manual_seed(1)
    layers = Recurrent("mgu", 6, 6, 2, residual=True, layer_norm=True, weight_drop=0.5).double()
    x = torch.randn(3, 7, 6, dtype=torch.float64)
    assert not torch.equal(layers(x)[0], layers(x)[0])
    layers.eval()
    expected, last, _ = run_stack("mgu", x, layers.zero_state(3), layers.stack_weights())
    found, (state,) = layers(x)
    torch.testing.assert_close((found, state), (expected, last[0]))
    basis = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(layers(x[..., :4], None, basis)[0], layers(x[..., :4] @ basis)[0])
    out, _ = layers(x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.double(), found, rtol=0.1, atol=0.1)
    norms = layers.stack_weights().norms
    assert torch.equal(layer_norm(x, norms[0]), layer_norm(x, norms[1]))  # both fresh


def test_a_config_may_name_it_as_long_as_it_is_registered(monkeypatch) -> None:
    assert num_parameters(ModelConfig(model_vocab_size=3, embedding_dim=2, hidden_size=4, cell="mgu")) == (
        3 * 2 + 8 * (2 + 4 + 1) + 3 * 4 + 3
    )
    monkeypatch.delitem(CELL_SPECS, "mgu")
    with pytest.raises(ConfigError, match="cell='mgu': must be one of lstm, gru, rnn"):
        ModelConfig(model_vocab_size=3, cell="mgu")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run textgen in this process; what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "corpus.txt").write_text(TEXT)
    (tmp_path / "settings.toml").write_text(
        f'corpus = "corpus.txt"\ncell = "mgu"\nnum_layers = 2\nhidden_size = 24\nembedding_dim = 8\n'
        f"batch_size = 8\nseq_len = 16\nsteps = {STEPS}\nlearning_rate = 0.02\nseed = 1\n"
    )

    def run(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["textgen", *arguments])
        main()
        return capsys.readouterr().out

    return run


def test_it_trains_evaluates_scores_and_writes_like_any_other(command, tmp_path) -> None:
    trained = json.loads(command("train", "--config", "settings.toml", "--run", "mgu", "--json"))
    assert trained["steps"] == STEPS
    run = Run(tmp_path / "mgu")
    assert run.config.model.cell == "mgu"
    assert trained["nats_per_token"] < 0.7 * math.log(run.config.model.model_vocab_size)

    # What was saved holds three arrays a layer, and reads as its equations say.
    model = LanguageModel.from_pretrained(run.path)
    names = [name for name in run.load_weights() if name.endswith("_l1")]
    assert sorted(names) == ["layers.bias_l1", "layers.weight_hh_l1", "layers.weight_ih_l1"]
    model_ids = model.encode(TEXT[:50])
    with torch.no_grad():
        logits, _ = model(model_ids)
        expected = model.logits(by_hand(model.layers, model.embed(model_ids)))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)

    again = json.loads(command("eval", "mgu", "--json"))
    assert again["network"]["nats_per_token"] == pytest.approx(trained["nats_per_token"], rel=1e-5)
    (tmp_path / "line.txt").write_text(TEXT[:500])
    scored = json.loads(command("score", "mgu", "line.txt", "--json"))
    assert scored["bits_per_character"] < math.log2(run.config.model.model_vocab_size)

    sample = ("sample", "mgu", "--seed", "3", "--max-new-tokens", "80")
    assert command(*sample) == command(*sample)
    command("inspect", "mgu", "line.txt", "--npz", "gates.npz")
    with np.load("gates.npz") as arrays:
        assert {"hidden", "forget", "new"} <= set(arrays)


def test_the_generator_writes_what_the_equations_make_most_likely(command, tmp_path) -> None:
    command("train", "--config", "settings.toml", "--run", "mgu")
    run = Run(tmp_path / "mgu")
    generator = Generator.from_run(run, ngram=False)
    assert isinstance(generator.engine, TorchEngine)
    model = LanguageModel.from_pretrained(run.path)
    model_ids = model.encode("Line 1")
    with torch.no_grad():
        for _ in range(20):
            logits, _ = model(model_ids)
            model_ids = torch.cat([model_ids, logits[:, -1:].argmax(dim=2)], dim=1)
    token_ids = model.vocab.to_token_ids(model_ids[0, -20:].numpy())
    config = SampleConfig(temperature=0, max_new_tokens=20)
    (sample,) = generator.generate("Line 1", config=config, mid_text=True)
    assert sample.text == run.tokenizer.decode(token_ids)
    (other,) = Generator(model, run.tokenizer).generate("Line 1", config=config, mid_text=True)
    assert other.text == sample.text
    assert np.isfinite(sample.log_probabilities).all()


def test_it_is_exported_as_a_small_run_and_refused_where_it_has_no_equations(command, tmp_path) -> None:
    command("train", "--config", "settings.toml", "--run", "mgu")
    written = command("export", "mgu", "weights", "--weights", "float16", "--output", "small")
    one, other = re.findall(r"(\d+\.\d+) bits/character on all", written)
    assert float(other) == pytest.approx(float(one), abs=0.01)
    sample = ("--seed", "3", "--max-new-tokens", "80", "--temperature", "0.01")
    assert command("sample", "small", *sample) == command("sample", "mgu", *sample)
    for name, words in (("html", "the page has no cell mgu"), ("onnx", "the cell mgu has no ONNX operator")):
        with pytest.raises(ConfigError, match=words):
            export(Run(tmp_path / "mgu"), name)
