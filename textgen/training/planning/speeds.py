"""What depends on the speed of a network on this device: threads and batch size."""

from __future__ import annotations

import dataclasses
import math

import torch

from textgen.distributed.world import World
from textgen.models.language_model import LanguageModel
from textgen.settings.config import DROPOUTS, TrainingConfig
from textgen.text.batches import Rows
from textgen.training.planning.probe import Threads, fastest_threads, training_speed
from textgen.training.planning.recipe import MIN_SPEED_SHARE_OF_SMALL_BATCHES, max_tokens_in_small_batches


class Speeds:
    """Threads and training speed by network, each measured once: often the reference network is chosen.

    requested: the number of threads that the user asked for; None finds the fastest. world: the processes
    that will train; this one measures with its share of a batch, while the others wait, so that the speed of
    all together is that without the cost of their exchange.
    """

    def __init__(self, requested: int | None, world: World | None = None) -> None:
        self._requested = requested
        self._world = world or World()
        self._known: dict[tuple[object, ...], Threads] = {}

    def of(self, model: LanguageModel, training: TrainingConfig) -> Threads:
        """The number of threads, which torch is then set to, and the training speed with it."""
        key, size = self._key(model, training), (training.batch_size, training.seq_len)
        if key not in self._known:
            if self._requested is None and training.device == "cpu" and self._world.size == 1:
                self._known[key] = fastest_threads(model, *size)
            else:
                assert training.threads is not None  # resolved
                torch.set_num_threads(self._world.threads(training.threads))
                self._known[key] = Threads(training.threads, self._speed(model, training))
        torch.set_num_threads(self._world.threads(self._known[key].number))
        return self._known[key]

    def remeasured(self, model: LanguageModel, training: TrainingConfig) -> Threads:
        """As `of`, measured once more; the faster speed counts, since the machine may have been busy."""
        threads, before = self.of(model, training)
        now = self._speed(model, training)
        self._known[self._key(model, training)] = Threads(threads, max(before, now))
        return self.of(model, training)

    def _speed(self, model: LanguageModel, training: TrainingConfig) -> float:
        rows = Rows.whole(training.batch_size).divided(self._world.size)[-1]  # none is longer
        return training_speed(model, len(rows), training.seq_len) * self._world.size

    def _key(self, model: LanguageModel, training: TrainingConfig) -> tuple[object, ...]:
        # Dropout itself takes too little time to be measured again, but with input dropout the model cannot
        # take the fast path of LanguageModel.read.
        config = model.config
        network = {name: value for name, value in vars(config).items() if name not in DROPOUTS}
        size = training.batch_size, training.seq_len
        return *network.values(), config.input_dropout > 0, training.device, training.precision, *size


def with_batch(
    model: LanguageModel, training: TrainingConfig, speeds: Speeds, train_tokens: int
) -> TrainingConfig:
    """The config, with half the batch size where twice as many steps are worth more than larger batches.

    Small batches taken by mistake cost more than large ones, so a busy moment while the large ones were timed
    must not decide: both are timed twice. See RECIPE.md, "batch size".
    """
    if training.batch_size != TrainingConfig.batch_size:
        return training
    half = dataclasses.replace(training, batch_size=training.batch_size // 2)
    for measure in (speeds.of, speeds.remeasured):
        tokens = affordable_tokens(training, measure(model, training).tokens_per_second, train_tokens)
        if tokens > max_tokens_in_small_batches(model.config.model_vocab_size):
            return training
        of_half = affordable_tokens(half, measure(model, half).tokens_per_second, train_tokens)
        if of_half < MIN_SPEED_SHARE_OF_SMALL_BATCHES * tokens:
            return training
    return half


def affordable_tokens(training: TrainingConfig, tokens_per_second: float, train_tokens: int) -> float:
    """How many tokens are read within the minutes, or within the epochs if those end first."""
    assert training.minutes is not None
    most = math.inf if training.epochs is None else training.epochs * train_tokens
    return min(tokens_per_second * 60 * training.minutes, most)
