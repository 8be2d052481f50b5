import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.errors import ConfigError, RunError
from textgen.models.cells import CELLS
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.settings.cells import CELL_SPECS
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab

MakeRun = Callable[..., Run]

VOCAB, BATCH, TIME = 7, 3, 9
TOKEN_IDS = np.array([2, 3, 5, 7, 11, 13, 17])
COUNTS = np.array([50, 20, 10, 8, 6, 4, 2])

every_cell = pytest.mark.parametrize("cell", CELLS)
tied_or_not = pytest.mark.parametrize("tie_weights", [False, True])
PROJECTED = {"tie_weights": True, "embedding_dim": 5}
every_arrangement = pytest.mark.parametrize(
    "options",
    [PROJECTED, {"residual": True}, {"layer_norm": True}, PROJECTED | {"residual": True, "layer_norm": True}],
    ids="+".join,
)


def make(cell: str = "lstm", **options: object) -> LanguageModel:
    torch.manual_seed(1)
    sizes = {"embedding_dim": 6, "hidden_size": 6, "num_layers": 2} | options
    return LanguageModel(
        ModelConfig(model_vocab_size=VOCAB, cell=cell, **sizes), ModelVocab(TOKEN_IDS, COUNTS)
    )


def make_tokens(seed: int = 2) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, VOCAB, (BATCH, TIME)))


@every_cell
@tied_or_not
def test_it_gives_logits_for_every_next_token_and_a_state(cell: str, tie_weights: bool) -> None:
    model = make(cell, tie_weights=tie_weights)
    logits, state = model(make_tokens())
    assert logits.shape == (BATCH, TIME, VOCAB)
    assert [part.shape for part in state] == [part.shape for part in model.zero_state(BATCH)]
    assert [part.shape for part in state] == [(2, BATCH, 6)] * len(CELL_SPECS[cell].state)


@every_cell
def test_reading_token_by_token_equals_reading_at_once(cell: str) -> None:
    model, tokens = make(cell).double().eval(), make_tokens()
    model.compute_dtype = torch.float64
    expected, expected_state = model(tokens)
    state, logits = model.zero_state(BATCH), []
    for t in range(TIME):
        out, state = model(tokens[:, t : t + 1], state)
        logits.append(out)
    torch.testing.assert_close(torch.cat(logits, dim=1), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, expected_state, rtol=1e-12, atol=1e-12)


@every_cell
def test_no_state_is_the_zero_state(cell: str) -> None:
    model, tokens = make(cell), make_tokens()
    assert torch.equal(model(tokens)[0], model(tokens, model.zero_state(BATCH))[0])


def test_tokens_and_state_that_are_given_stay_as_they_were() -> None:
    model, tokens = make().eval(), make_tokens()
    with torch.no_grad():
        _, state = model(tokens)
        tokens[0, 0] = VOCAB
        before = copy.deepcopy((tokens, *state))
        model(tokens, state)
    assert all(map(torch.equal, (tokens, *state), before))


def test_a_token_at_one_time_changes_no_logits_before_it() -> None:
    model, tokens = make().eval(), make_tokens()
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % VOCAB
    difference = (model(tokens)[0] - model(changed)[0]).abs().amax(dim=(0, 2))
    assert not difference[:5].any()
    assert difference[5:].all()


def test_an_unseen_token_is_read_as_the_mean_embedding_weighted_by_frequency() -> None:
    model, tokens = make().eval(), make_tokens()
    tokens[:, 4] = VOCAB
    table = model.embedding.weight.detach()
    twin = make().eval()
    with torch.no_grad():
        twin.embedding.weight[3] = (table * torch.from_numpy(COUNTS)[:, None] / 100).sum(dim=0)
    as_unseen = torch.zeros(1, 1, dtype=torch.int64) + VOCAB
    torch.testing.assert_close(model(as_unseen)[0], twin(torch.tensor([[3]]))[0], rtol=1e-5, atol=1e-6)
    # Among others it changes nothing before it, and something after.
    assert torch.equal(model(tokens)[0][:, :4], model(tokens[:, :4])[0])


def test_the_logits_have_no_place_for_an_unseen_token() -> None:
    assert make().eval()(torch.full((1, 2), VOCAB))[0].shape == (1, 2, VOCAB)


# ---- which ids it reads

KIND = "this model reads int64 or int32 tensors of model ids, 0..6"
UNSEEN = " and 7 for a token that training never saw"
ADVICE = ". model.encode gives those of a text, model.vocab.to_model_ids those of a tokenizer's ids"


@pytest.mark.parametrize("method", ["forward", "read", "embed"])
@pytest.mark.parametrize(("training", "wrong"), [(True, VOCAB), (False, VOCAB + 1), (False, -1)])
def test_an_id_out_of_range_is_an_index_error_that_says_which_ids_it_reads(
    method: str, training: bool, wrong: int
) -> None:
    model = make().train(training)
    with pytest.raises(IndexError) as caught:
        getattr(model, method)(torch.tensor([[1, wrong]]))
    low, high = sorted([1, wrong])
    assert str(caught.value) == f"model ids from {low} to {high}: {KIND}{'' if training else UNSEEN}{ADVICE}"


@pytest.mark.parametrize("method", ["forward", "read", "embed"])
@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (torch.zeros(1, 2), "a tensor of torch.float32"),
        (torch.zeros(1, 2, dtype=torch.bool), "a tensor of torch.bool"),
        (torch.zeros(1, 2, dtype=torch.uint32), "a tensor of torch.uint32"),
        (np.zeros((1, 2), np.int64), "a ndarray"),
        ([[0, 1]], "a list"),
    ],
)
def test_ids_of_another_type_are_a_type_error_that_says_which_ids_it_reads(
    method: str, ids: object, kind: str
) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(make().eval(), method)(ids)
    assert str(caught.value) == f"model ids are {kind}: {KIND}{UNSEEN}{ADVICE}"


def test_ids_without_a_batch_are_refused_by_their_shape() -> None:
    with pytest.raises(ValueError, match=r"model ids have shape \(3,\); expected \(batch, time\)"):
        make()(torch.tensor([1, 2, 3]))


def test_int32_ids_are_read_as_int64_ids_are() -> None:
    for model in (make().eval(), make(), make(embedding_dim=30), make(embedding_dim=30).eval()):
        assert torch.equal(model(make_tokens().int())[0], model(make_tokens())[0])


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_what_a_runs_tokenizer_gives_is_refused_and_what_encode_gives_is_read(
    make_run: MakeRun, kind: str
) -> None:
    run = make_run(kind=kind)
    model = LanguageModel.from_pretrained(run.path)
    text = "The lazy dog was 42"
    token_ids = run.tokenizer.encode(text)
    for mixed_up in (torch.from_numpy(token_ids), torch.tensor(token_ids), torch.as_tensor(token_ids)):
        with pytest.raises(TypeError, match=r"model ids are a tensor of torch\.uint32"):
            model(mixed_up[None])
    model_ids = model.encode(text)
    assert model_ids.dtype == torch.int64
    assert model.vocab.to_token_ids(model_ids[0].numpy()).tolist() == token_ids.tolist()
    model(model_ids)


def test_encode_gives_unseen_tokens_the_id_that_stands_for_them(make_run: MakeRun) -> None:
    model = LanguageModel.from_pretrained(make_run().path)
    unseen = [model.config.model_vocab_size] * 3  # bytes of a sign of one and a sign of two
    expected = [*model.encode("T")[0].tolist(), *unseen, *model.encode("h")[0].tolist()]
    assert model.encode("T#\u00e9h")[0].tolist() == expected
    assert model.encode("").shape == (1, 0)


def test_a_model_saved_alone_has_no_tokenizer_until_one_is_set(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    LanguageModel.from_pretrained(run.path).save_pretrained(tmp_path / "alone")
    model = LanguageModel.from_pretrained(tmp_path / "alone")
    assert model.tokenizer is None
    with pytest.raises(RunError, match="this model has no tokenizer, because it was not loaded from a run"):
        model.encode("The")
    model.tokenizer = run.tokenizer
    assert torch.equal(model.encode("The"), LanguageModel.from_pretrained(run.path).encode("The"))


def test_a_larger_vocabulary_keeps_the_tokenizer(make_run: MakeRun) -> None:
    model = LanguageModel.from_pretrained(make_run().path)
    assert model.with_vocab(model.vocab).tokenizer is model.tokenizer


# ---- a wide embedding of few ids: they are read one-hot, not as their embeddings

WIDE = {"embedding_dim": 30}


def as_embeddings(model: LanguageModel, tokens: Tensor) -> Tensor:
    """The logits by way of each token's embedding."""
    outputs, _ = model.layers(model.embed(tokens))
    return model.logits(outputs)


def read_width(model: LanguageModel, tokens: Tensor) -> int:
    """How many numbers a token is to the stack."""
    seen: list[int] = []
    with model.layers.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[2])):
        model(tokens)
    return seen[0]


@pytest.mark.parametrize(
    ("options", "batch", "expected"),
    [
        (WIDE, BATCH, VOCAB),
        (WIDE, 1, 30),  # the product with all rows would be more than the few products it saves
        ({"embedding_dim": VOCAB}, 1000, VOCAB),
        ({"embedding_dim": VOCAB + 1}, 1, VOCAB + 1),
        (WIDE | {"input_dropout": 0.1}, BATCH, 30),  # each text has a mask of its own
    ],
)
def test_ids_are_read_one_hot_where_that_is_less_work(
    options: dict[str, object], batch: int, expected: int
) -> None:
    tokens = make_tokens()[:1].expand(batch, TIME)
    assert read_width(make(**options), tokens) == expected


@every_cell
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"tie_weights": True, "layer_norm": True}], ids="+".join)
def test_reading_one_hot_equals_reading_embeddings(
    cell: str, training: bool, options: dict[str, object]
) -> None:
    model, tokens = make(cell, **WIDE, **options).double().train(training), make_tokens()
    model.compute_dtype = torch.float64
    if not training:
        tokens[1, 3] = VOCAB
    assert read_width(model, tokens) == VOCAB
    results = []
    for read in (lambda: model(tokens)[0], lambda: as_embeddings(model, tokens)):
        model.zero_grad()
        logits = read()
        cross_entropy(logits.flatten(0, 1), make_tokens(3).flatten()).backward()
        results.append((logits, *[parameter.grad for parameter in model.parameters()]))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


def test_reading_one_hot_drops_the_same_whole_embeddings() -> None:
    model, tokens = make(**WIDE, embedding_dropout=0.5), make_tokens()
    torch.manual_seed(3)
    logits, _ = model(tokens)
    torch.manual_seed(3)
    torch.testing.assert_close(logits, as_embeddings(model, tokens))
    torch.manual_seed(4)
    assert not torch.allclose(logits, as_embeddings(model, tokens))


def test_reading_one_hot_in_bfloat16_is_near_float32() -> None:
    model, tokens = make(**WIDE), make_tokens()
    expected, _ = model(tokens)
    model.compute_dtype = torch.bfloat16
    logits, _ = model(tokens)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.05)
    logits.float().sum().backward()
    assert model.embedding.weight.grad is not None
    assert model.embedding.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("past_the_end", [True, False])
def test_reading_one_hot_out_of_range_is_an_index_error(training: bool, past_the_end: bool) -> None:
    model, tokens = make(**WIDE).train(training), make_tokens()
    assert read_width(model, tokens) == VOCAB
    tokens[2, 8] = (VOCAB if training else VOCAB + 1) if past_the_end else -1
    with pytest.raises(IndexError):
        model(tokens)


def test_training_and_eval_mode_agree_where_nothing_is_dropped() -> None:
    model, tokens = make(), make_tokens()
    assert torch.equal(model.train()(tokens)[0], model.eval()(tokens)[0])


@pytest.mark.parametrize("num_layers", [1, 2])
def test_dropout_acts_in_training_and_not_in_eval_mode(num_layers: int) -> None:
    model, tokens = make(num_layers=num_layers, dropout=0.5), make_tokens()
    exact = make(num_layers=num_layers).eval()
    assert not torch.equal(model(tokens)[0], exact(tokens)[0])
    assert torch.equal(model.eval()(tokens)[0], exact(tokens)[0])


def test_dropout_on_the_output_drops_the_same_units_at_all_time_steps() -> None:
    model = make(num_layers=1, hidden_size=200, dropout=0.5)
    seen = []
    model.dropout.register_forward_hook(lambda module, args, out: seen.append(out == 0))
    model(make_tokens())
    (dropped,) = seen  # (B, T, H)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert 0.3 < dropped.double().mean() < 0.7


@pytest.mark.parametrize("kind", ["input_dropout", "embedding_dropout", "weight_drop"])
def test_each_kind_of_dropout_acts_in_training_and_not_in_eval_mode(kind: str) -> None:
    model, tokens = make(**{kind: 0.5}), make_tokens()
    exact = make().eval()
    assert not torch.equal(model(tokens)[0], exact(tokens)[0])
    assert torch.equal(model.eval()(tokens)[0], exact(tokens)[0])
    tokens[0, 0] = VOCAB  # an unseen token is read in eval mode, where nothing is dropped
    assert torch.equal(model(tokens)[0], exact(tokens)[0])


def test_input_dropout_drops_the_same_numbers_of_the_embedding_at_all_time_steps() -> None:
    model = make(embedding_dim=200, input_dropout=0.5)
    seen = []
    model.layers.register_forward_pre_hook(lambda module, args: seen.append(args[0] == 0))
    model(make_tokens())
    (dropped,) = seen  # (B, T, E)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert 0.3 < dropped.double().mean() < 0.7


def test_embedding_dropout_zeroes_a_tokens_whole_row_wherever_it_is_read_and_leaves_a_tied_head() -> None:
    model, tokens = make(tie_weights=True, embedding_dropout=0.5), make_tokens()
    seen = []
    model.layers.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    logits, _ = model(tokens)
    (read,) = seen  # (B, T, E)
    table = model.embedding.weight
    dropped = [token for token in tokens.unique().tolist() if not read[tokens == token].any()]
    assert 0 < len(dropped) < len(tokens.unique())
    for token in set(tokens.unique().tolist()) - set(dropped):
        torch.testing.assert_close(read[tokens == token][0], table[token] * 2)
    with torch.no_grad():
        outputs, _ = model.layers(read)
    torch.testing.assert_close(logits, outputs @ table.T + model.head.bias)


def test_a_tied_head_of_another_size_is_the_table_after_a_projection() -> None:
    model, tokens = make(**PROJECTED).eval(), make_tokens()
    assert model.projection is not None
    assert model.head.weight is model.embedding.weight
    outputs, _ = model.read(tokens)
    expected = outputs @ model.projection.weight.T @ model.embedding.weight.T + model.head.bias
    torch.testing.assert_close(model(tokens)[0], expected)
    untied = make(embedding_dim=5).num_parameters
    assert model.num_parameters == untied - VOCAB * 6 + 5 * 6


def test_tied_weights_of_equal_sizes_need_no_projection() -> None:
    assert make(tie_weights=True).projection is None
    assert not any("projection" in name for name in make(tie_weights=True).weights())


def test_tied_weights_are_one_table_that_both_uses_teach() -> None:
    model = make(tie_weights=True)
    assert model.head.weight is model.embedding.weight
    logits, _ = model(make_tokens() % 2)  # as input, rows 0 and 1 only
    cross_entropy(logits.flatten(0, 1), make_tokens(3).flatten()).backward()
    assert model.embedding.weight.grad is not None
    assert model.embedding.weight.grad.abs().sum(dim=1).all()


@tied_or_not
@pytest.mark.parametrize("hidden_size", [128, 256])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_a_fresh_model_is_about_as_unsure_as_one_can_be(
    tie_weights: bool, hidden_size: int, layer_norm: bool
) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        model_vocab_size=500,
        embedding_dim=128,
        hidden_size=hidden_size,
        tie_weights=tie_weights,
        layer_norm=layer_norm,
    )
    logits, _ = LanguageModel(config)(torch.randint(500, (4, 50)))
    loss = cross_entropy(logits.flatten(0, 1), torch.randint(500, (200,)))
    assert loss.item() == pytest.approx(np.log(500), abs=0.6 if layer_norm else 0.1)


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("rnn", 1)])
@tied_or_not
def test_parameters_are_counted_as_the_formulas_say_and_tied_ones_once(
    cell: str, gates: int, tie_weights: bool
) -> None:
    per_layer = gates * (6 * 6 + 6 * 6 + 6 + 6)
    expected = VOCAB * 6 + 2 * per_layer + (0 if tie_weights else VOCAB * 6) + VOCAB
    assert make(cell, tie_weights=tie_weights).num_parameters == expected


@every_cell
@pytest.mark.parametrize(
    "options",
    [{}, PROJECTED | {"residual": True, "layer_norm": True}],
    ids=["plain", "projected, residual, normed"],
)
def test_bfloat16_arithmetic_keeps_float32_weights_and_gradients(
    cell: str, options: dict[str, object]
) -> None:
    model, tokens = make(cell, **options), make_tokens()
    exact, _ = model(tokens)
    model.compute_dtype = torch.bfloat16
    logits, state = model(tokens, model.zero_state(BATCH))
    assert {tensor.dtype for tensor in (logits, *state, *model.zero_state(1))} == {torch.bfloat16}
    assert (logits.float() - exact).norm() < 0.03 * exact.norm()
    logits.float().sum().backward()
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32


def test_without_a_vocabulary_token_ids_are_model_ids_and_equally_frequent() -> None:
    vocab = LanguageModel(ModelConfig(model_vocab_size=4)).vocab
    assert vocab.token_ids.tolist() == [0, 1, 2, 3]
    assert len(set(vocab.counts.tolist())) == 1


def test_a_vocabulary_of_another_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="model_vocab_size=8, but the vocabulary has 7 ids"):
        LanguageModel(ModelConfig(model_vocab_size=8), ModelVocab(TOKEN_IDS, COUNTS))


def test_the_same_seed_draws_the_same_model() -> None:
    assert all(map(torch.equal, make().parameters(), make().parameters()))


@every_cell
@tied_or_not
def test_a_saved_model_comes_back_with_the_same_logits_and_vocabulary(
    tmp_path: Path, cell: str, tie_weights: bool
) -> None:
    model, tokens = make(cell, tie_weights=tie_weights, dropout=0.3).eval(), make_tokens()
    model.save_pretrained(tmp_path / "model")
    torch.manual_seed(99)
    loaded = LanguageModel.from_pretrained(tmp_path / "model")
    assert not loaded.training
    assert loaded.config == model.config
    assert loaded.vocab.token_ids.tolist() == TOKEN_IDS.tolist()
    assert loaded.vocab.counts.tolist() == COUNTS.tolist()
    tokens[0, 0] = VOCAB
    assert torch.equal(loaded(tokens)[0], model(tokens)[0])
    assert (loaded.head.weight is loaded.embedding.weight) == tie_weights


@every_cell
@every_arrangement
def test_a_model_of_any_arrangement_comes_back_with_the_same_logits(
    tmp_path: Path, cell: str, options: dict[str, object]
) -> None:
    model, tokens = make(cell, **options).eval(), make_tokens()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    model.save_pretrained(tmp_path / "model")
    loaded = LanguageModel.from_pretrained(tmp_path / "model")
    assert loaded.config == model.config
    assert torch.equal(loaded(tokens)[0], model(tokens)[0])


@every_arrangement
def test_weights_of_another_arrangement_are_refused_and_change_nothing(options: dict[str, object]) -> None:
    for one, other in ((make(), make(**options)), (make(**options), make())):
        before = one.weights()
        with pytest.raises(RunError, match="not the weights of this model"):
            one.load_weights(other.weights(), "runs/x")
        assert all(np.array_equal(array, before[name]) for name, array in one.weights().items())


@every_arrangement
def test_a_larger_vocabulary_leaves_the_rest_of_a_model_of_any_arrangement_as_it_was(
    options: dict[str, object],
) -> None:
    model, tokens = make(**options).eval(), make_tokens()
    extended = model.with_vocab(ModelVocab(np.append(TOKEN_IDS, [1, 4]), np.append(COUNTS, [3, 9])))
    torch.testing.assert_close(extended(tokens)[0][..., :VOCAB], model(tokens)[0])


@tied_or_not
def test_weights_are_copies_under_torchs_names_with_tied_ones_once(tie_weights: bool) -> None:
    model = make(tie_weights=tie_weights)
    weights = model.weights()
    assert ("head.weight" in weights) != tie_weights
    assert {
        "token_ids",
        "token_counts",
        "embedding.weight",
        "head.bias",
        "layers.weight_hh_l1",
    } <= weights.keys()
    for name, array in weights.items():
        assert array.dtype == (np.int64 if name.startswith("token_") else np.float32)
    before = copy.deepcopy(weights)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    assert all(np.array_equal(weights[name], before[name]) for name in before)
    model.load_weights(weights, "test")
    for name, tensor in model.weights().items():
        assert np.array_equal(tensor, before[name])


def test_weights_are_loaded_from_read_only_arrays_and_share_no_memory_with_them() -> None:
    weights = make().weights()
    for array in weights.values():
        array.flags.writeable = False
    model = make()
    model.load_weights(weights, "test")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    assert all(np.array_equal(array, make().weights()[name]) for name, array in weights.items())


def test_weights_of_another_model_are_refused_by_name_and_change_nothing() -> None:
    model = make()
    before = model.weights()
    wrong = {name: array + 1 for name, array in before.items()}
    wrong["head.bias"] = wrong["head.bias"][:3]
    wrong["layers.weight_ih_l2"] = wrong.pop("layers.weight_ih_l1")
    with pytest.raises(RunError) as caught:
        model.load_weights(wrong, "runs/x")
    message = str(caught.value)
    assert message.startswith("runs/x: ")
    assert "layers.weight_ih_l1 is missing" in message
    assert "layers.weight_ih_l2 is unknown" in message
    assert "head.bias has shape (3,), not (7,)" in message
    assert all(np.array_equal(array, before[name]) for name, array in model.weights().items())


def test_a_directory_whose_weights_do_not_fit_its_config_is_refused(tmp_path: Path) -> None:
    make(num_layers=2).save_pretrained(tmp_path / "two")
    make(num_layers=1).save_pretrained(tmp_path / "one")
    (tmp_path / "one" / "model.safetensors").replace(tmp_path / "two" / "model.safetensors")
    with pytest.raises(RunError, match=r"two/model.safetensors: .*layers\.weight_ih_l1 is missing"):
        LanguageModel.from_pretrained(tmp_path / "two")


@tied_or_not
def test_new_ids_start_at_the_mean_of_the_old_ones_weighted_by_frequency(tie_weights: bool) -> None:
    model = make(tie_weights=tie_weights).eval()
    with torch.no_grad():
        model.head.bias.normal_()
    before = model.weights()
    vocab = ModelVocab(np.append(TOKEN_IDS, [1, 4]), np.append(COUNTS + 10, [3, 9]))
    extended = model.with_vocab(vocab)
    assert extended.config.model_vocab_size == VOCAB + 2
    assert extended.vocab.token_ids.tolist() == vocab.token_ids.tolist()
    assert extended.vocab.counts.tolist() == vocab.counts.tolist()
    assert (extended.head.weight is extended.embedding.weight) == tie_weights
    for name in ("embedding.weight", "head.weight", "head.bias"):
        old, new = model.get_parameter(name).detach(), extended.get_parameter(name).detach()
        expected = np.average(old.numpy(), axis=0, weights=COUNTS)
        assert torch.equal(new[:VOCAB], old)
        np.testing.assert_allclose(new[VOCAB:].numpy(), np.stack([expected] * 2), rtol=1e-5, atol=1e-6)
    assert all(np.array_equal(array, before[name]) for name, array in model.weights().items())


def test_a_model_of_a_larger_vocabulary_reads_and_scores_the_old_ones_as_before() -> None:
    model = make().eval()
    model.compute_dtype = torch.bfloat16
    vocab = ModelVocab(np.append(TOKEN_IDS, [1, 4]), np.append(COUNTS, [3, 9]))
    extended = model.with_vocab(vocab)
    assert not extended.training
    assert extended.compute_dtype == torch.bfloat16
    extended.compute_dtype = model.compute_dtype = torch.float32
    torch.testing.assert_close(extended(make_tokens())[0][..., :VOCAB], model(make_tokens())[0])
    unseen, new = torch.tensor([[VOCAB]]), torch.tensor([[VOCAB + 1]])
    torch.testing.assert_close(extended(new)[0][..., :VOCAB], model(unseen)[0])


def test_a_vocabulary_that_does_not_begin_with_the_models_own_is_refused() -> None:
    for token_ids in (np.append(TOKEN_IDS[::-1], 1), TOKEN_IDS[:-1]):
        with pytest.raises(ConfigError, match="does not begin with the model's own 7"):
            make().with_vocab(ModelVocab(token_ids, np.ones(len(token_ids), dtype=np.int64)))


def test_a_few_steps_of_training_learn_a_repeating_text() -> None:
    model = make(embedding_dim=8, hidden_size=32, num_layers=1)
    tokens = torch.arange(40).remainder(VOCAB).repeat(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(40):
        logits, _ = model(tokens[:, :-1])
        loss = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
