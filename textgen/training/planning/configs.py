"""The complete model and training configs: what the user gave, else the recipe's choice, else the default."""

from __future__ import annotations

from typing import Any, NamedTuple

from textgen.settings.config import DROPOUTS, ModelConfig, TrainingConfig
from textgen.settings.given import BUDGETS, Section
from textgen.system.device import resolve_device, resolve_precision
from textgen.system.threads import resolve_threads
from textgen.text.batches import fit_batches
from textgen.training.planning.recipe import Recipe, embedding_dim

DEFAULT_MINUTES = 2.0
EVAL_SHARE = 0.05  # of the budget goes into validation during training
# Cost of reading a token as a fraction of training on it, forward only and without a graph, where it is not
# measured: a backward pass costs about two forward passes.
FORWARD_SHARE = 0.35
MIN_EVAL_TOKENS = 2_000  # the mean over fewer is mostly noise


class BatchShape(NamedTuple):
    """The shape of a batch; a text that is too small for it shrinks it."""

    batch_size: int
    seq_len: int

    @property
    def tokens(self) -> int:
        """Tokens in one batch."""
        return self.batch_size * self.seq_len


def requested_batches(training: Section[TrainingConfig]) -> BatchShape:
    """The shape of a batch that the user gave, or the default."""
    return BatchShape(training.value("batch_size"), training.value("seq_len"))


def fitted_batches(training: Section[TrainingConfig], train_tokens: int) -> BatchShape:
    """The shape that fits a text of train_tokens. Raises CorpusError when the text is too small for any."""
    return BatchShape(*fit_batches(train_tokens, *requested_batches(training)))


def complete_model(
    model: Section[ModelConfig],
    recipe: Recipe,
    *,
    model_vocab_size: int,
    labels: tuple[str, ...] = (),
    start_id: int | None = None,
) -> ModelConfig:
    """The network. Raises ConfigError."""
    names = ("hidden_size", "num_layers", "tie_weights", *DROPOUTS)
    chosen: dict[str, Any] = {name: getattr(recipe, name) for name in names} | dict(model)
    cell = model.value("cell")
    chosen.setdefault(
        "embedding_dim",
        embedding_dim(model_vocab_size, chosen["hidden_size"], cell, is_tied=chosen["tie_weights"]),
    )
    return model.complete(**chosen, model_vocab_size=model_vocab_size, labels=labels, start_id=start_id)


def complete_training(
    training: Section[TrainingConfig], recipe: Recipe, *, model: ModelConfig, batches: BatchShape
) -> TrainingConfig:
    """Budget, optimizer and device; eval_tokens stays None until the speed is known. Raises ConfigError."""
    budget: dict[str, Any] = {}
    if not training.keys() & set(BUDGETS):
        budget["minutes"] = DEFAULT_MINUTES
    if "minutes" in {**budget, **training}:
        budget["epochs"] = recipe.epochs
    device = resolve_device(training.value("device"))
    precision = resolve_precision(
        training.value("precision"), device, cell=model.cell, hidden_size=model.hidden_size
    )
    resolved = training.replaced(
        device=device,
        precision=precision,
        threads=resolve_threads(training.get("threads"), hidden_size=model.hidden_size),
        batch_size=batches.batch_size,
        seq_len=batches.seq_len,
    )
    return resolved.complete(
        **budget,
        learning_rate=recipe.learning_rate,
        beta1=recipe.beta1,
        weight_decay=recipe.weight_decay,
        temporal_activation_penalty=recipe.temporal_activation_penalty,
    )


def eval_tokens(trained_tokens: float, forward_share: float, evaluations: int, val_tokens: int) -> int:
    """How many validation tokens one evaluation may read for all of them to keep within EVAL_SHARE.

    trained_tokens: how many tokens the budget trains on. forward_share: the cost of reading one as a fraction
    of training on it.
    """
    affordable = trained_tokens * EVAL_SHARE / forward_share / evaluations
    return int(min(val_tokens, max(affordable, MIN_EVAL_TOKENS)))
