"""Dynamic evaluation: the weights learn from the text while they predict it.

A text repeats itself: its names, its words, its form. So it is read in windows, and each window's loss is
counted first, with the weights as they were before it; then one gradient step on that window is taken, while
the weights decay back towards the trained ones, so that what lies far back is forgotten:

    sgd    theta  <-  theta - rate * gradient + decay * (trained - theta)
    rms    theta  <-  theta - rate * gradient / (0.2 * (rms + 0.1)) + decay * rms * (trained - theta)

where rms is the root mean square of each weight's gradient on the training text, as a multiple of its mean
over all weights: a weight whose gradients are small by nature moves as far as the others, and one of which
the training text says much returns sooner. The paper has no factor 0.2; with it one rate suits both methods.

Krause, Kahembwe, Murray and Renals, "Dynamic Evaluation of Neural Sequence Models" (2018); "Dynamic
Evaluation of Transformer Language Models" (2019). As there, the next window starts from the state that the
weights before the step left: with the new ones the window would have to be read once more.

A text with nothing to follow only leads the weights astray. So the trained weights read it too, and what
counts is a mixture of both predictions, weighted by how each has done so far (`mix`, not in the paper).

Shapes: B lanes, T window, V vocab.
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
from textgen.evaluation.mixture import Mixture
from textgen.models.language_model import LanguageModel
from textgen.settings.config import DynamicConfig
from textgen.text.batches import StreamBatches

# A gradient is divided by RMS_FACTOR * (rms + RMS_FLOOR). Without a floor a weight whose gradient is nearly
# always zero, as those of a rare token are, would leap when it is not.
RMS_FACTOR, RMS_FLOOR = 0.2, 0.1
# Windows of the training text whose gradients the scales are taken from, and how many are read side by side.
SCALE_WINDOWS, SCALE_LANES = 3200, 16
# Trained weights are below a hundred. With ones so large every gate is shut or open: the loss is still a
# number, and the network good for nothing.
LARGEST_WEIGHT = 1e4


class MovingWeights:
    """The weights of a model on their way through a text; each step changes them in place.

    root_mean_squares, one tensor a parameter, are what the method `rms` scales by; None for `sgd`.
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
            # All the way back is the most: a larger share would overshoot.
            self._decays = [(root * config.decay).clamp(max=1.0) for root in relative]

    def largest(self) -> float:
        """The largest magnitude of any weight; not a number where one is none."""
        with torch.no_grad():
            return float(torch.stack(torch._foreach_norm(self._parameters, ord=math.inf)).max())

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a loss, a scalar with its graph; the gradient's norm is clipped."""
        gradients = torch.autograd.grad(loss, self._parameters)
        config = self._config
        with torch.no_grad():
            norm = float(torch.stack(torch._foreach_norm(gradients)).norm())
            rate = config.rate * min(1.0, config.clip_norm / max(norm, config.clip_norm))
            # The decay first: then both are measured from where the weights were, as in the equation.
            if self._scales is None:
                torch._foreach_lerp_(self._parameters, self._trained, config.decay)
                torch._foreach_add_(self._parameters, gradients, alpha=-rate)
            else:
                torch._foreach_lerp_(self._parameters, self._trained, self._decays)
                torch._foreach_addcdiv_(self._parameters, gradients, self._scales, value=-rate)


def root_mean_squares(
    model: LanguageModel,
    token_ids: np.ndarray,
    window: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """Each parameter's root mean squared gradient on a training text (N,), N >= 2, in windows of this length.

    The text is read in lanes from all over it, the state carried, dropout off, a few thousand windows at
    most. No weight changes.

    Raises CorpusError when there are not two tokens.
    """
    device = next(model.parameters()).device
    lanes = min(SCALE_LANES, max(1, len(token_ids) - 1))
    batches = StreamBatches(token_ids, model.vocab, lanes, window, seed=0)
    parameters = list(model.parameters())
    squares = [torch.zeros_like(parameter) for parameter in parameters]
    was_training = model.training
    model.eval()
    num_batches = max(1, min(SCALE_WINDOWS, batches.tokens_per_epoch // window) // lanes)
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
    token_ids: np.ndarray,
    *,
    vocab_size: int,
    start_id: int | None,
    config: DynamicConfig,
    root_mean_squares: list[Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loss:
    """The cross-entropy of token ids (N,) under a model that learns from each window once it is counted.

    The model's weights move, and stay where the last window left them. Everything else is as in `evaluate`:
    every token counts once, the state is carried, dropout is off, unseen tokens cost what they cost there.
    An unseen token has no weights of its own to move: as a target it only counts; read, it moves the
    embeddings whose mean stands for it. root_mean_squares: see MovingWeights.

    Raises TrainingError when the loss is no longer a number, or a weight is out of all proportion.
    """
    vocab = model.vocab
    scorer = TokenScorer(vocab, vocab_size - vocab.size)
    trained = copy.deepcopy(model).eval() if config.mix else None
    weights = MovingWeights(model, config, root_mean_squares)
    device = next(model.parameters()).device
    first, total_nats, num_unseen = 0, 0.0, 0
    if start_id is None:  # the first token is charged by its training frequency; it teaches nothing
        beginning = evaluate(model, token_ids[:1], vocab_size=vocab_size, start_id=None)
        first, total_nats, num_unseen = 1, beginning.total_nats, beginning.unseen_tokens
    was_training = model.training
    model.eval()
    mixture, state, trained_state = Mixture(), None, None
    for start in range(first, len(token_ids), config.window):
        stop = min(start + config.window, len(token_ids))
        read = vocab.to_model_ids(token_ids[max(start - 1, 0) : stop])
        if start == 0:
            read = np.append(start_id, read)  # type: ignore[arg-type]
        chunk = torch.from_numpy(read).to(device).unsqueeze(0)  # (1, T + 1)
        logits, state = model(chunk[:, :-1], state)  # (1, T, V)
        nats = scorer.token_nats(logits, chunk[:, 1:])  # (1, T)
        moving_nats = nats.detach()[0].cpu().numpy()
        if trained is None:
            total_nats += float(moving_nats.sum())
        else:
            with torch.no_grad():
                trained_logits, trained_state = trained(chunk[:, :-1], trained_state)
            trained_nats = scorer.token_nats(trained_logits, chunk[:, 1:])[0].cpu().numpy()
            total_nats += mixture.total_nats(moving_nats, trained_nats)
        num_unseen += int((chunk[:, 1:] == vocab.size).sum())
        # Over the full window: a last one of few tokens steps by few.
        weights.step(nats.sum() / config.window)
        state = tuple(part.detach() for part in state)
        if progress is not None:
            progress(stop, len(token_ids))
    model.train(was_training)
    if not (math.isfinite(total_nats) and weights.largest() < LARGEST_WEIGHT):
        raise TrainingError(
            f"the weights left all bounds while they followed the text (rate {config.rate:g}); "
            "use a lower rate"
        )
    return Loss(total_nats, len(token_ids), num_unseen)
