"""Both engines against the language model, and the NumPy engine against the equations of cells.py."""

import copy

import numpy as np
import pytest
import torch

from textgen.errors import RunError
from textgen.generation.engine import Engine
from textgen.generation.numpy_engine import engine as engines
from textgen.generation.numpy_engine.engine import NumpyEngine
from textgen.generation.torch_engine import TorchEngine
from textgen.models.cells import CELLS, NormWeights, StackWeights, run_stack
from textgen.models.language_model import LanguageModel
from textgen.settings.cells import CELL_SPECS, CellWeights
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab

V = 11
LONG = 700  # longer than READ_STEPS: a prompt in more than one piece
NETWORKS = [
    {"cell": cell, "num_layers": num_layers, "tie_weights": tied, "embedding_dim": 12 if tied else 5}
    for cell in CELLS
    for num_layers in (1, 2)
    for tied in (False, True)
]
ARRANGED = [
    {"num_layers": 2, "residual": True, "layer_norm": False},
    {"num_layers": 1, "residual": False, "layer_norm": True},
    {"num_layers": 2, "residual": False, "layer_norm": True},
    {"num_layers": 3, "residual": True, "layer_norm": True},
    {"num_layers": 3, "residual": True, "layer_norm": False, "tie_weights": True},
    {"num_layers": 2, "residual": True, "layer_norm": True, "tie_weights": True},
    {"num_layers": 1, "residual": False, "layer_norm": False, "tie_weights": True},
]
NETWORKS += [{"cell": cell, "embedding_dim": 5} | network for cell in CELLS for network in ARRANGED]
networks = pytest.mark.parametrize(
    "network", NETWORKS, ids=lambda network: " ".join(map(str, network.values()))
)
both_engines = pytest.mark.parametrize("make", ["numpy", "torch"])


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks so small gain nothing from a second thread, and lose much where other work runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_model(**network):
    """A model with weights, biases too, large enough that every gate moves.

    Not so large that a tanh network becomes chaotic: it would multiply rounding errors at every step.
    """
    torch.manual_seed(1)
    config = ModelConfig(**({"model_vocab_size": V, "hidden_size": 12, "dropout": 0.4} | network))
    model = LanguageModel(config, ModelVocab(np.arange(V) * 3, np.arange(V) ** 2 + 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3 if model.config.cell == "rnn" else 0.6)
    return model.eval()


def make_engine(make, model):
    return NumpyEngine(model.config, model.weights()) if make == "numpy" else TorchEngine(model)


@pytest.fixture
def model():
    return make_model(cell="lstm", num_layers=2)


def some_ids(batch_size, steps, seed=0):
    """Model ids (B, T), some of them V, which stands for unseen tokens."""
    return np.random.default_rng(seed).integers(0, V + 1, (batch_size, steps))


def logits_of_model(model, model_ids):
    """(B, T) -> (B, T, V)"""
    with torch.no_grad():
        return model(torch.from_numpy(model_ids))[0].numpy()


def logits_of_equations(model, model_ids):
    """The whole network from its weights in float64, with the equations of cells.py: (B, T) -> (B, T, V)"""
    weights = {
        name: torch.from_numpy(array).double() for name, array in model.weights().items() if array.ndim
    }
    config = model.config
    known = weights["embedding.weight"]
    counts = weights["token_counts"]
    unseen = sum(count * row for count, row in zip(counts, known, strict=True)) / counts.sum()
    x = torch.stack([torch.stack([unseen if row == V else known[row] for row in line]) for line in model_ids])
    numbers = range(config.num_layers)
    layers = [CellWeights(*(weights[f"layers.{name}_l{n}"] for name in CellWeights._fields)) for n in numbers]
    norms = [
        NormWeights(weights[f"layers.norm_weight_l{n}"], weights[f"layers.norm_bias_l{n}"])
        for n in numbers
        if config.layer_norm
    ]
    zeros = torch.zeros(config.num_layers, len(model_ids), config.hidden_size).double()
    state = (zeros,) * len(CELL_SPECS[config.cell].state)
    x, _, _ = run_stack(config.cell, x, state, StackWeights(layers, norms, config.residual))
    if "projection.weight" in weights:
        x = x @ weights["projection.weight"].T
    head = known if config.tie_weights else weights["head.weight"]
    return (x @ head.T + weights["head.bias"]).numpy()


@pytest.mark.parametrize(("hidden_size", "num_layers"), [(400, 1), (128, 2)], ids=["wide", "a page of rows"])
def test_one_text_and_several_give_the_same_whichever_way_their_weights_lie(hidden_size, num_layers):
    """One text reads a wide layer's weights output by output, several read them input by input."""
    torch.manual_seed(0)
    network = {"cell": "lstm", "num_layers": num_layers, "hidden_size": hidden_size, "embedding_dim": 8}
    model = LanguageModel(ModelConfig(model_vocab_size=V, **network))
    engine, model_ids = NumpyEngine(model.config, model.weights()), some_ids(3, 20) % V
    together = engine.start(model_ids[:, :10])
    together = [together, *(engine.step(model_ids[:, place]) for place in range(10, 20))]  # each (3, V)
    expected = logits_of_model(model, model_ids)[:, 9:]
    np.testing.assert_allclose(np.stack(together, axis=1), expected, atol=1e-5)
    for number, row in enumerate(model_ids):
        alone = [engine.start(row[None, :10]), *(engine.step(row[None, place]) for place in range(10, 20))]
        np.testing.assert_allclose(np.concatenate(alone), expected[number], atol=1e-5)


@networks
@both_engines
def test_reading_a_prompt_gives_the_models_logits(make, network):
    model = make_model(**network)
    model_ids = some_ids(3, LONG)
    logits = make_engine(make, model).start(model_ids)
    assert logits.shape == (3, V)
    np.testing.assert_allclose(logits, logits_of_model(model, model_ids)[:, -1], atol=1e-4)


@networks
@both_engines
def test_reading_on_gives_the_models_logits_after_every_token_wherever_it_is_cut(make, network):
    model = make_model(**network)
    model_ids = some_ids(3, 60)
    engine = make_engine(make, model)
    engine.start(model_ids[:, :9])
    engine.reset_state(3)
    logits = np.concatenate([engine.read(model_ids[:, :1]), engine.read(model_ids[:, 1:50])], axis=1)
    logits = np.concatenate(
        [logits, engine.step(model_ids[:, 50])[:, None], engine.read(model_ids[:, 51:])], axis=1
    )
    np.testing.assert_allclose(logits, logits_of_model(model, model_ids), atol=1e-4)


@networks
def test_the_numpy_engine_follows_the_equations_over_a_long_text(network):
    model = make_model(**network)
    model_ids = some_ids(2, 300)
    engine = make_engine("numpy", model)
    logits = [engine.start(model_ids[:, :1]), *(engine.step(column) for column in model_ids.T[1:])]
    np.testing.assert_allclose(np.stack(logits, axis=1), logits_of_equations(model, model_ids), atol=1e-4)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_one_long_text_gives_the_logits_of_the_model_and_of_the_equations(cell, num_layers):
    model = make_model(cell=cell, num_layers=num_layers)
    model_ids = some_ids(1, 2000)
    expected = logits_of_equations(model, model_ids)[0]
    np.testing.assert_allclose(logits_of_model(model, model_ids)[0], expected, atol=1e-4)
    engine = make_engine("numpy", model)
    logits = [engine.start(model_ids[:, :1]), *(engine.step(row) for row in model_ids[0, 1:, None])]
    np.testing.assert_allclose(np.concatenate(logits), expected, atol=1e-4)


@networks
@both_engines
@pytest.mark.parametrize("batch_size", [1, 4])
def test_reading_token_by_token_equals_reading_at_once(make, network, batch_size):
    model = make_model(**network)
    model_ids = some_ids(batch_size, 60)
    engine = make_engine(make, model)
    engine.start(model_ids[:, :20])
    stepwise = [engine.step(column) for column in model_ids.T[20:]]
    np.testing.assert_allclose(
        np.stack(stepwise, axis=1), logits_of_model(model, model_ids)[:, 20:], atol=1e-4
    )


@both_engines
def test_the_state_is_the_models(make, model):
    model_ids = some_ids(2, 9)
    engine = make_engine(make, model)
    engine.start(model_ids)
    with torch.no_grad():
        expected = model(torch.from_numpy(model_ids))[1]
    assert len(engine.state) == len(expected)
    for part, expected_part in zip(engine.state, expected, strict=True):
        np.testing.assert_allclose(part, expected_part.numpy(), atol=1e-5)


@both_engines
def test_a_text_continues_from_a_state_that_was_kept(make, model):
    engine = make_engine(make, model)
    engine.start(some_ids(2, 9))
    kept = engine.state
    expected = engine.step(np.array([1, 2]))
    engine.start(some_ids(5, 3))
    engine.state = kept
    np.testing.assert_array_equal(engine.step(np.array([1, 2])), expected)


@both_engines
def test_the_state_that_a_caller_gets_or_gives_is_a_copy(make, model):
    engine = make_engine(make, model)
    engine.start(some_ids(1, 9))
    given = engine.state
    engine.state = given
    kept = [part.copy() for part in given]
    expected = engine.step(np.array([1]))
    for part, kept_part in zip(given, kept, strict=True):
        np.testing.assert_array_equal(part, kept_part)  # a step left them alone
        part[:] = 7
    engine.state = tuple(kept)
    for part in engine.state:
        part[:] = 7  # and changing one does nothing to the engine
    np.testing.assert_array_equal(engine.step(np.array([1])), expected)


@both_engines
def test_logits_stay_as_they_were_after_later_steps(make, model):
    engine = make_engine(make, model)
    first = engine.start(some_ids(1, 3))
    kept = first.copy()
    second = engine.step(np.array([1]))
    engine.step(np.array([2]))
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)


@both_engines
def test_a_copied_engine_reads_a_text_of_its_own(make, model):
    engine = make_engine(make, model)
    alone = [engine.start(some_ids(1, 5)), *(engine.step(np.array([i])) for i in range(4))]
    one, other = copy.copy(engine), copy.copy(engine)
    in_turn = [one.start(some_ids(1, 5))]
    other.start(some_ids(3, 8, seed=1))
    for i in range(4):
        in_turn.append(one.step(np.array([i])))
        other.step(np.array([5, 6, 7]))
    np.testing.assert_array_equal(in_turn, alone)


@both_engines
def test_before_any_text_the_state_is_zero(make, model):
    model_ids = some_ids(1, 1)
    stepped = make_engine(make, model).step(model_ids[:, 0])
    np.testing.assert_allclose(stepped, make_engine(make, model).start(model_ids), atol=1e-6)


@both_engines
def test_engines_fit_the_interface(make, model):
    engine = make_engine(make, model)
    assert isinstance(engine, Engine)
    assert not isinstance(model, Engine)
    assert engine.vocab.token_ids.tolist() == model.vocab.token_ids.tolist()


@pytest.mark.parametrize("hidden_size", [1, 7, 8])
@pytest.mark.parametrize("cell", CELLS)
def test_layers_of_any_size_follow_the_equations(cell, hidden_size):
    model = make_model(cell=cell, num_layers=2, hidden_size=hidden_size)
    model_ids = some_ids(2, 30)
    engine = make_engine("numpy", model)
    logits = [engine.start(model_ids[:, :20]), *(engine.step(column) for column in model_ids.T[20:])]
    np.testing.assert_allclose(
        np.stack(logits, axis=1), logits_of_equations(model, model_ids)[:, 19:], atol=1e-4
    )


@networks
def test_a_vocabulary_too_large_for_a_table_gives_the_same(network, monkeypatch):
    model = make_model(**network)
    model_ids = some_ids(2, 30)
    with_table = make_engine("numpy", model)
    monkeypatch.setattr(engines, "LARGEST_TABLE", 1)
    without = make_engine("numpy", model)
    np.testing.assert_allclose(without.start(model_ids), with_table.start(model_ids), atol=1e-5)
    np.testing.assert_allclose(without.step(model_ids[:, 0]), with_table.step(model_ids[:, 0]), atol=1e-5)
    one = model_ids[:1]
    np.testing.assert_allclose(without.start(one), with_table.start(one), atol=1e-5)
    np.testing.assert_allclose(without.step(one[:, 0]), with_table.step(one[:, 0]), atol=1e-5)


def test_gates_that_are_wide_open_neither_overflow_nor_become_nan():
    model = make_model(cell="lstm")
    with torch.no_grad():
        for parameter in model.layers.parameters():
            parameter.mul_(1e4)
    logits = make_engine("numpy", model).start(some_ids(1, 50))  # a warning would fail the test
    assert np.isfinite(logits).all()


def test_the_numpy_engine_keeps_its_weights_when_the_model_is_trained_further(model):
    engine = make_engine("numpy", model)
    before = engine.start(some_ids(1, 9))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(engine.start(some_ids(1, 9)), before)


@pytest.mark.parametrize("training", [True, False])
def test_the_torch_engine_drops_nothing_and_leaves_the_models_mode(model, training):
    model_ids = some_ids(2, 20)
    expected = logits_of_model(model, model_ids)[:, -1]
    model.train(training)
    engine = TorchEngine(model)
    np.testing.assert_allclose(engine.start(model_ids), expected, atol=1e-4)
    assert model.training is training
    assert model.layers.training is training


def test_the_torch_engine_writes_with_the_weights_that_the_model_has_now(model):
    engine = TorchEngine(model)
    before = engine.start(some_ids(1, 9))
    with torch.no_grad():
        model.embedding.weight.mul_(-1)
    model_ids = some_ids(1, 9)
    assert not np.allclose(engine.start(model_ids), before)
    np.testing.assert_allclose(engine.start(model_ids), logits_of_model(model, model_ids)[:, -1], atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.usefixtures("full_float32")
def test_on_a_gpu_the_torch_engine_gives_the_numpy_engines_logits(model):
    model_ids = some_ids(3, LONG)
    expected = make_engine("numpy", model)
    engine = TorchEngine(model.to("cuda"))
    np.testing.assert_allclose(engine.start(model_ids), expected.start(model_ids), atol=1e-3)
    for column in some_ids(3, 20, seed=1).T:
        np.testing.assert_allclose(engine.step(column), expected.step(column), atol=1e-3)


def damage(weights, how):
    if how == "missing":
        del weights["layers.bias_hh_l1"]
    elif how == "too many":
        weights["layers.bias_hh_l2"] = weights["layers.bias_hh_l1"]
    else:
        weights["layers.bias_hh_l1"] = weights["layers.bias_hh_l1"][:-1]


@pytest.mark.parametrize("how", ["missing", "too many", "of another size"])
def test_weights_that_are_not_the_configs_are_refused_by_name(how, model):
    weights = model.weights()
    damage(weights, how)
    with pytest.raises(RunError, match=r"not the weights of this model: layers\.bias_hh_l"):
        NumpyEngine(model.config, weights)


@pytest.mark.parametrize("options", [{"residual": True}, {"layer_norm": True}, {"tie_weights": True}])
def test_weights_of_another_arrangement_are_refused(options, model):
    other = make_model(cell="lstm", num_layers=2, **options)
    with pytest.raises(RunError, match="not the weights of this model"):
        NumpyEngine(other.config, model.weights())
    with pytest.raises(RunError, match="not the weights of this model"):
        NumpyEngine(model.config, other.weights())
