import copy
import doctest
from itertools import chain

import numpy as np
import pytest
import torch

from textgen.errors import ConfigError, TrainingError
from textgen.models import regressor
from textgen.models.cells import CELLS
from textgen.models.regressor import SequenceRegressor

every_cell = pytest.mark.parametrize("cell", CELLS)


def make_data(num: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sequences whose target is the difference of two of their steps: what comes first must be remembered."""
    X = np.random.default_rng(seed).uniform(-1, 1, size=(num, 6, 1))
    return X, X[:, -1] - 0.5 * X[:, 2]


@every_cell
def test_it_learns_what_its_sequences_tell(cell: str) -> None:
    X, y = make_data()
    new_X, new_y = make_data(seed=1)
    model = SequenceRegressor(cell, input_size=1, hidden_size=16)
    model.fit(X, y, epochs=30, batch_size=20, learning_rate=0.02)
    assert np.mean((model.predict(new_X) - new_y) ** 2) < 0.1 * new_y.var()


@every_cell
def test_the_same_seed_gives_the_same_predictions_whatever_was_drawn_before(cell: str) -> None:
    X, y = make_data(50)
    predictions = []
    for global_seed, seed in ((1, 7), (2, 7), (2, 8)):
        torch.manual_seed(global_seed)
        model = SequenceRegressor(cell, 1, 5, num_layers=2)
        model.fit(X, y, epochs=2, seed=seed)
        predictions.append(model.predict(X))
    assert np.array_equal(predictions[0], predictions[1])
    assert not np.array_equal(predictions[1], predictions[2])


def test_fitting_leaves_torchs_global_generator_and_the_arrays_alone() -> None:
    X, y = make_data(50)
    model = SequenceRegressor("gru", 1, 5)
    before, arrays = torch.get_rng_state(), copy.deepcopy((X, y))
    model.fit(X, y, epochs=1)
    model.predict(X)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(map(np.array_equal, (X, y), arrays))


def test_each_epoch_reads_every_sequence_once_in_a_new_order() -> None:
    X, y = make_data(50)
    X[:, 0, 0] = np.arange(50)
    model = SequenceRegressor("gru", 1, 4)
    batches: list[list[int]] = []
    model.register_forward_pre_hook(lambda module, args: batches.append(args[0][:, 0, 0].int().tolist()))
    model.fit(X, y, epochs=2, batch_size=16)
    batches.pop()  # read once more, for the loss that the last step led to
    assert [len(batch) for batch in batches] == [16, 16, 16, 2] * 2
    first, second = (list(chain(*batches[start : start + 4])) for start in (0, 4))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second != list(range(50)) != first


def test_the_training_loss_is_the_mean_over_the_sequences_however_they_are_batched() -> None:
    # A learning rate so small that the weights stand still.
    X, y = make_data(50)
    model = SequenceRegressor("lstm", 1, 5)
    history = model.fit(X, y, epochs=1, batch_size=16, learning_rate=1e-30)
    assert history.train_loss[0] == pytest.approx(float(np.mean((model.predict(X) - y) ** 2)), rel=1e-5)


def test_more_epochs_begin_as_fewer_did_and_the_loss_falls() -> None:
    X, y = make_data()
    model = SequenceRegressor("gru", 1, 8)
    short = model.fit(X, y, epochs=2, learning_rate=0.01)
    long = model.fit(X, y, epochs=6, learning_rate=0.01)
    assert long.train_loss[:2] == short.train_loss
    assert long.train_loss[-1] < long.train_loss[0]
    assert long.val_loss is None


def test_a_warm_start_continues_from_the_current_weights() -> None:
    X, y = make_data()
    model = SequenceRegressor("gru", 1, 8)
    first = model.fit(X, y, epochs=10, learning_rate=0.01)
    second = model.fit(X, y, epochs=1, learning_rate=0.01, warm_start=True)
    assert second.train_loss[0] < 0.9 * first.train_loss[0]
    assert second.train_loss[0] == pytest.approx(first.train_loss[-1], rel=0.3)


def test_validation_is_the_loss_on_other_data_after_each_epoch() -> None:
    X, y = make_data()
    val_X, val_y = make_data(30, seed=1)
    model = SequenceRegressor("lstm", 1, 8)
    history = model.fit(X, y, epochs=3, validation=(val_X, val_y))
    assert history.val_loss is not None
    assert len(history.val_loss) == 3
    expected = np.mean((model.predict(val_X) - val_y) ** 2)
    assert history.val_loss[-1] == pytest.approx(float(expected), rel=1e-5)
    assert model.fit(X, y, epochs=3).train_loss == history.train_loss


def test_progress_hears_of_each_epoch_and_its_loss() -> None:
    heard: list[tuple[int, float]] = []
    history = SequenceRegressor("rnn", 1, 4).fit(
        *make_data(20), epochs=3, progress=lambda epoch, loss: heard.append((epoch, loss))
    )
    assert heard == list(enumerate(history.train_loss, start=1))


@pytest.mark.parametrize("option", [{"batch_size": 7}, {"learning_rate": 0.1}, {"seed": 2}, {"epochs": 3}])
def test_every_option_changes_what_is_learnt(option: dict[str, float]) -> None:
    X, y = make_data(50)
    model = SequenceRegressor("gru", 1, 4)
    model.fit(X, y, epochs=2)
    before = model.predict(X)
    model.fit(X, y, **({"epochs": 2} | option))
    assert not np.array_equal(model.predict(X), before)


def test_targets_may_be_a_vector_or_a_column() -> None:
    X, y = make_data(50)
    model = SequenceRegressor("gru", 1, 4)
    assert model.fit(X, y[:, 0], epochs=2) == model.fit(X, y, epochs=2)


def test_several_features_layers_and_outputs_fit_together() -> None:
    X = np.random.default_rng(0).normal(size=(40, 5, 3))
    model = SequenceRegressor("lstm", input_size=3, hidden_size=6, num_layers=2, output_size=2)
    model.fit(X, X[:, -1, :2], epochs=1)
    assert model.predict(X).shape == (40, 2)
    assert model.num_parameters == 4 * 6 * (3 + 6 + 2) + 4 * 6 * (6 + 6 + 2) + 2 * 6 + 2


def test_many_sequences_are_predicted_as_they_are_one_by_one() -> None:
    X = np.random.default_rng(0).normal(size=(2100, 3, 1))
    model = SequenceRegressor("lstm", 1, 4)
    together = model.predict(X)
    assert together.shape == (2100, 1)
    for index in (0, 1023, 1024, 2099):
        np.testing.assert_allclose(
            together[index], model.predict(X[index : index + 1])[0], rtol=1e-5, atol=1e-6
        )


def test_lists_and_integers_are_arrays_too() -> None:
    model = SequenceRegressor("gru", 1, 4)
    history = model.fit([[[1], [2]], [[3], [4]]], [1, 2], epochs=1)
    assert len(history.train_loss) == 1
    assert model.predict([[[1], [2]]]).dtype == np.float32


X, Y = np.zeros((5, 4, 2)), np.zeros((5, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((5, 4)), Y), r"^X has shape \(5, 4\); expected \(sequences, time steps, 2\)$"),
        ((np.zeros((5, 4, 3)), Y), r"^X has shape \(5, 4, 3\); expected \(sequences, time steps, 2\)$"),
        ((np.zeros((0, 4, 2)), Y[:0]), r"^X has shape \(0, 4, 2\)"),
        ((np.zeros((5, 0, 2)), Y), r"^X has shape \(5, 0, 2\)"),
        ((X, Y[:4]), r"^y has shape \(4, 1\); expected \(5, 1\)$"),
        ((X, np.zeros((5, 2))), r"^y has shape \(5, 2\); expected \(5, 1\)$"),
        ((X, np.zeros((5, 1, 1))), r"^y has shape \(5, 1, 1\)"),
        ((np.full_like(X, np.nan), Y), "^X holds NaN or infinity"),
        ((X, np.full_like(Y, np.inf)), "^y holds NaN or infinity"),
        ((np.full_like(X, 1e300), Y), "^X holds NaN or infinity"),
        ((np.full(X.shape, "a"), Y), "^X is an array of <U1, not of real numbers$"),
        (([[[1.0, 2.0]], [[1.0]]], Y), "^X is not an array"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(
    arguments: tuple[object, object], message: str
) -> None:
    model = SequenceRegressor("lstm", 2, 3)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError, match=message) as caught:
        model.fit(*arguments)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_prediction_and_validation_refuse_what_does_not_fit_and_name_it() -> None:
    model = SequenceRegressor("lstm", 2, 3)
    with pytest.raises(ConfigError, match=r"^X has shape"):
        model.predict(np.zeros((5, 4, 1)))
    with pytest.raises(ConfigError, match=r"^validation y has shape"):
        model.fit(X, Y, validation=(X, Y[:2]))


@pytest.mark.parametrize(
    "option",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"seed": -1},
        {"seed": 2**63},
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(option))}=.*: must be "):
        SequenceRegressor("lstm", 2, 3).fit(X, Y, **option)


def test_no_outputs_are_refused() -> None:
    with pytest.raises(ConfigError, match="output_size=0: must be at least 1"):
        SequenceRegressor("lstm", 2, 3, output_size=0)


def test_a_loss_that_is_no_number_stops_the_fit_in_one_line() -> None:
    X, y = make_data(64)
    with pytest.raises(
        TrainingError, match=r"^epoch 1: the loss is no longer a number\. Use a learning_rate below"
    ):
        SequenceRegressor("rnn", 1, 4).fit(X, y, learning_rate=1e38)


def test_the_last_step_and_validation_may_make_it_no_number_too() -> None:
    X, y = make_data(64)
    with pytest.raises(TrainingError, match=r"^epoch 1: the loss is no longer a number"):
        SequenceRegressor("rnn", 1, 4).fit(X, y, learning_rate=1e38, epochs=1, batch_size=64)
    with pytest.raises(TrainingError, match=r"^epoch 1: the loss is no longer a number"):
        SequenceRegressor("rnn", 1, 4).fit(X, y, epochs=2, validation=(X, y * 1e30))


def test_the_example_in_the_docstring_is_true() -> None:
    assert doctest.testmod(regressor) == doctest.TestResults(failed=0, attempted=4)
