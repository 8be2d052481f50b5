"""Dynamic evaluation: the weights adapt to the text while they predict it.

Texts repeat themselves: names, words, form. So the text is read in windows. The loss of each window is
counted first, with the weights before it; then they take one gradient step on that window, and decay towards
the trained weights, so that the influence of earlier windows fades:

    sgd    theta  <-  theta - rate * gradient + decay * (trained - theta)
    rms    theta  <-  theta - rate * gradient / (0.2 * (rms + 0.1)) + decay * rms * (trained - theta)

where rms is the root mean square of each weight's gradient on the training text, divided by its mean over all
weights. So weights with small gradients move as far as others, and weights with large ones return sooner. The
factor 0.2, which is not in the paper, makes one rate suit both methods.

Krause, Kahembwe, Murray and Renals, "Dynamic Evaluation of Neural Sequence Models" (2018); "Dynamic
Evaluation of Transformer Language Models" (2019). As in the paper, the next window starts from the state that
the weights before the step computed: with the new weights, the window would have to be read twice.

On a text without such repetition, adapting only makes the predictions worse. So the trained weights read it
too, and the loss is that of a mixture of both predictions, weighted by how well each has predicted so far
(`mix`, not in the paper).

Shapes: B batch, T window, V model vocabulary.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.errors import TrainingError
from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import TokenScorer, evaluate
from textgen.evaluation.learning_mixture import LearningMixture
from textgen.evaluation.mixture import Mixture
from textgen.models.language_model import LanguageModel
from textgen.settings.config import DynamicConfig
from textgen.text.batches import SequenceBatches
from textgen.text.document_labels import DocumentLabels
from textgen.text.stored_tokens import TokenArray

# A gradient is divided by RMS_FACTOR * (rms + RMS_FLOOR). Without a floor, a weight whose gradient is almost
# always zero, such as those of a rare token, would make a huge step when it is not.
RMS_FACTOR, RMS_FLOOR = 0.2, 0.1
# How many windows of the training text the gradient scales are computed from, and how many form a batch.
SCALE_WINDOWS, SCALE_BATCH_SIZE = 3200, 16
# Trained weights are below a hundred. With weights this large every gate is saturated: the loss may still be
# finite, but the network is useless.
LARGEST_WEIGHT = 1e4


class DynamicWeights:
    """The weights of a model that adapts to a text; each step changes them in place.

    root_mean_squares: the gradient scales of the method `rms`, one tensor per parameter; None for `sgd`.
    """

    def __init__(
        self, model: LanguageModel, config: DynamicConfig, root_mean_squares: list[Tensor] | None = None
    ) -> None:
        assert (config.method == "rms") == (root_mean_squares is not None)
        self._config = config
        self._parameters: list[Tensor] = list(model.parameters())
        self._trained = [parameter.detach().clone() for parameter in self._parameters]
        self._scales: list[Tensor] | None = None
        if root_mean_squares is not None:
            total = sum(float(root.double().sum()) for root in root_mean_squares)
            mean = max(total / model.num_parameters, torch.finfo(torch.float32).tiny)
            relative = [root / mean for root in root_mean_squares]
            self._scales = [(root + RMS_FLOOR) * RMS_FACTOR for root in relative]
            # At most 1, which is all the way back: more would overshoot.
            self._decays = [(root * config.decay).clamp(max=1.0) for root in relative]

    def largest(self) -> float:
        """The largest magnitude of any weight; NaN if any weight is NaN."""
        with torch.no_grad():
            return float(torch.stack(torch._foreach_norm(self._parameters, ord=math.inf)).max())

    def step(self, loss: Tensor) -> None:
        """Take one step with decay on a loss, a scalar with its graph; the gradient norm is clipped."""
        gradients = torch.autograd.grad(loss, self._parameters)
        config = self._config
        with torch.no_grad():
            norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
            rate = config.rate * min(1.0, config.clip_norm / max(norm, config.clip_norm))
            # Decay first, so that it is computed from the weights before the step, as in the equation.
            if self._scales is None:
                torch._foreach_lerp_(self._parameters, self._trained, config.decay)
                torch._foreach_add_(self._parameters, gradients, alpha=-rate)
            else:
                torch._foreach_lerp_(self._parameters, self._trained, self._decays)
                torch._foreach_addcdiv_(self._parameters, gradients, self._scales, value=-rate)


def root_mean_squares(
    model: LanguageModel,
    token_ids: TokenArray,
    window: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """The root mean square of each parameter's gradient on training token ids (N,), N >= 2.

    The text is read as parallel sequences from all parts of it, in windows of `window` tokens, at most a few
    thousand; the state is carried, dropout is off, and no weight changes.

    Raises CorpusError for fewer than two tokens.
    """
    device = next(model.parameters()).device
    batch_size = min(SCALE_BATCH_SIZE, max(1, len(token_ids) - 1))
    batches = SequenceBatches(token_ids, model.vocab, batch_size, window, seed=0)
    parameters = list(model.parameters())
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    was_training = model.training
    model.eval()
    num_batches = max(1, min(SCALE_WINDOWS, batches.tokens_per_epoch // window) // batch_size)
    state = None
    for done, batch in enumerate(islice(batches, num_batches), start=1):
        logits, state = model(torch.from_numpy(batch.inputs).to(device), state)
        targets = torch.from_numpy(batch.targets).to(device)
        gradients = torch.autograd.grad(
            cross_entropy(logits.float().flatten(0, 1), targets.flatten()), parameters
        )
        torch._foreach_addcmul_(squares, gradients, gradients)
        state = tuple(part.detach() for part in state)
        if progress is not None:
            progress(done, num_batches)
    model.train(was_training)
    return [(square / num_batches).sqrt() for square in squares]


def evaluate_dynamically(
    model: LanguageModel,
    token_ids: TokenArray,
    *,
    vocab_size: int,
    start_id: int | None,
    config: DynamicConfig,
    labels: DocumentLabels | None = None,
    root_mean_squares: list[Tensor] | None = None,
    ngrams: LearningMixture | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loss:
    """The cross-entropy of token ids (N,) under a model that learns from each window after it is counted.

    The weights of the model are changed in place and keep their values after the last window. Otherwise it is
    like `evaluate`: every token counts once, the state is carried, dropout is off, and unseen tokens cost the
    same. An unseen token has no weights of its own: as a target it gives no gradient; as an input it moves
    the embeddings whose mean it is. labels: as in evaluate. root_mean_squares: see DynamicWeights. ngrams:
    sums the losses with n-grams on the way; the loss that is returned, and the weights, do not depend on it.

    Raises TrainingError when the loss is not finite or the weights diverge.
    """
    vocab = model.vocab
    scorer = TokenScorer(vocab, vocab_size - vocab.size)
    trained = copy.deepcopy(model).eval() if config.mix else None
    weights = DynamicWeights(model, config, root_mean_squares)
    device = next(model.parameters()).device
    first, total_nats, num_unseen = 0, 0.0, 0
    if start_id is None:  # the first token counts by its training frequency, and gives no gradient
        first_loss = evaluate(model, token_ids[:1], vocab_size=vocab_size, start_id=None)
        first, total_nats, num_unseen = 1, first_loss.total_nats, first_loss.unseen_tokens
        if ngrams is not None:
            ngrams.count_first(total_nats)
    was_training = model.training
    model.eval()
    mixture, state, trained_state = Mixture(), None, None
    for start in range(first, len(token_ids), config.window):
        stop = min(start + config.window, len(token_ids))
        model_ids = vocab.to_model_ids(token_ids[max(start - 1, 0) : stop])
        if start == 0:
            model_ids = np.append(start_id, model_ids)  # type: ignore[arg-type]
        read = model_ids[:-1]
        if labels is not None:
            read = vocab.with_labels(read, labels.at(np.arange(start, stop)))
        inputs, targets = (torch.from_numpy(ids).to(device).unsqueeze(0) for ids in (read, model_ids[1:]))
        logits, state = model(inputs, state)  # (1, T, V)
        nats = scorer.token_nats(logits, targets)  # (1, T)
        dynamic_nats = nats.detach()[0].cpu().numpy()
        trained_logits = None
        if trained is None:
            total_nats += float(dynamic_nats.sum())
        else:
            with torch.no_grad():
                trained_logits, trained_state = trained(inputs, trained_state)
            trained_nats = scorer.token_nats(trained_logits, targets)[0].cpu().numpy()
            total_nats += mixture.total_nats(dynamic_nats, trained_nats)
        if ngrams is not None:
            ngrams.observe(read, targets, logits, trained_logits)
        num_unseen += int((targets == vocab.size).sum())
        # Divided by the full window, so that a short last window takes a proportionally smaller step.
        weights.step(nats.sum() / config.window)
        state = tuple(part.detach() for part in state)
        if progress is not None:
            progress(stop, len(token_ids))
    model.train(was_training)
    if not (math.isfinite(total_nats) and weights.largest() < LARGEST_WEIGHT):
        raise TrainingError(
            f"the weights diverged while adapting to the text (rate {config.rate:g}); use a lower rate"
        )
    return Loss(total_nats, len(token_ids), num_unseen)
