"""The loss of a network, of its n-gram companion, and of both together; and the weight at which to mix them.

    logits ─┬──────────────── network alone
            ├─ w, 1 - w ───── together
    n-grams ┴──────────────── n-grams alone

Shapes: B segments in a batch, T window, V model vocabulary, G weights of the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.evaluate import LOGITS, Segments, TokenScorer, evaluate, evaluate_run
from textgen.evaluation.report import MixtureReport, Report
from textgen.models.language_model import LanguageModel
from textgen.ngram.companion import Companion
from textgen.ngram.model import NGramModel
from textgen.run import Run
from textgen.text.document_labels import DocumentLabels
from textgen.text.encoding import Progress
from textgen.text.store import TokenStore
from textgen.text.stored_tokens import TokenArray

GRID = 20  # steps of the weight from 0 to 1
# How many validation tokens a weight is fitted on, and how many logits, which large vocabularies have.
FIT_TOKENS, FIT_LOGITS, FIT_SEGMENTS = 200_000, 2**27, 16


class Losses(NamedTuple):
    """Three losses on one text."""

    network: Loss
    ngrams: Loss
    together: Loss

    @property
    def gain(self) -> float:
        """By how many nats per token the mixture is better than the network alone."""
        return self.network.nats_per_token - self.together.nats_per_token


class Fit(NamedTuple):
    """A fitted weight, and what it gains: the loss together is measured on text that it is not fitted on."""

    weight: float
    losses: Losses


def mixture_nats(network: Tensor, ngrams: Tensor, targets: Tensor, weight: float) -> Tensor:
    """The nats (B, T) of targets (B, T) in the mixture of log-probabilities (B, T, V) of both."""
    mixed = torch.lerp(ngrams, network, weight)
    chosen = mixed.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return mixed.logsumexp(-1) - chosen


def grid_nats(network: Tensor, ngrams: Tensor, targets: Tensor) -> Tensor:
    """mixture_nats at the weights 0, 1 / GRID, ..., 1 at once: (G, B, T).

    The unnormalised probabilities of one weight are those of the last times a ratio, which saves taking the
    exponential for each.
    """
    # A few tokens at a time: with a large vocabulary, several arrays of (B, T, V) are large.
    step = max(1, LOGITS // network[:, :1].numel())
    parts = [slice(start, start + step) for start in range(0, network.shape[1], step)]
    return torch.cat([_grid_nats(network[:, at], ngrams[:, at], targets[:, at]) for at in parts], dim=2)


def _grid_nats(network: Tensor, ngrams: Tensor, targets: Tensor) -> Tensor:
    difference = network - ngrams
    mixed, ratio = ngrams.exp(), (difference / GRID).exp()
    sums = [mixed.sum(-1)]
    for _ in range(GRID):
        mixed *= ratio
        sums.append(mixed.sum(-1))
    chosen, slope = (part.gather(-1, targets.unsqueeze(-1)).squeeze(-1) for part in (ngrams, difference))
    weights = torch.linspace(0, 1, GRID + 1, device=network.device)[:, None, None]
    return torch.stack(sums).log() - (chosen + weights * slope)


def nats_at_weights(
    logits: Tensor, ngrams: np.ndarray, targets: Tensor, costs: TokenScorer, weights: Sequence[float] | None
) -> np.ndarray:
    """The nats (G, B, T), float64, of target model ids (B, T) in mixtures of a network and n-grams.

    logits: of the network, (B, T, V). ngrams: log-probabilities, (B, T, V). weights: of the network in each
    mixture; None: those of grid_nats.
    """
    unseen = targets == logits.shape[-1]
    network = logits.float().log_softmax(-1)
    log_probs = torch.from_numpy(ngrams).to(network)
    seen = targets.masked_fill(unseen, 0)
    if weights is None:
        nats = grid_nats(network, log_probs, seen)
    else:
        nats = torch.stack([mixture_nats(network, log_probs, seen, weight) for weight in weights])
    found: np.ndarray = costs.with_unseen(nats, unseen).cpu().numpy().astype(np.float64)
    return found


class MixtureObserver:
    """Sums the nats of a text that is evaluated, for the network, the n-grams and mixtures of them.

    weight: of the network in the mixture; None: each of a grid. num_tokens: of the text, which has two
    halves.

    nats: for each half and weight: (2, G), the first being of the n-grams alone and the last of the network
    alone. tokens, unseen: how many there are, for each half.
    """

    def __init__(self, model: LanguageModel, ngrams: NGramModel, costs: TokenScorer, num_tokens: int,
                 weight: float | None = None) -> None:  # fmt: skip
        self._ngrams, self._costs = ngrams, costs
        self._weights = None if weight is None else (0.0, weight, 1.0)
        self._start_id = model.config.start_id if model.config.labels else None
        self._middle = num_tokens / 2
        self.nats = np.zeros((2, GRID + 1 if weight is None else 3))
        self.tokens, self.unseen = np.zeros(2, np.int64), np.zeros(2, np.int64)

    def begin(self, batch_size: int) -> None:
        """As Observer.begin."""
        self._contexts = self._ngrams.start(batch_size)

    def observe(self, positions: np.ndarray, inputs: np.ndarray, targets: Tensor, logits: Tensor) -> None:
        """As Observer.observe."""
        known = self._costs.vocab.without_labels(inputs, self._start_id)
        log_probs, self._contexts = self._ngrams.read(known, self._contexts)
        nats = nats_at_weights(logits, log_probs, targets, self._costs, self._weights)  # (G, B, T)
        is_unseen = (targets == logits.shape[-1]).cpu().numpy()
        for half, is_in in enumerate((positions < self._middle, positions >= self._middle)):
            self.nats[half] += nats[:, is_in].sum(axis=1)
            self.tokens[half] += int(is_in.sum())
            self.unseen[half] += int((is_unseen & is_in).sum())

    def loss(self, nats: float, first: Loss) -> Loss:
        """The loss of the whole text; first: of a token that no start token precedes, else empty."""
        return Loss(nats, int(self.tokens.sum()), int(self.unseen.sum())) + first


def fit(
    model: LanguageModel,
    ngrams: NGramModel,
    token_ids: TokenArray,
    *,
    vocab_size: int,
    start_id: int | None,
    labels: DocumentLabels | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Fit the weight of a network in the mixture with n-grams on validation token ids (N,), or on segments
    that are spread over them where they are many.

    The loss together is that of the first half with the weight that is best on the second, and the other way
    round, since the weight that is best on a text says too much of it. The weight that is returned is fitted
    on both.

    Raises RunError when a loss is not finite.
    """
    costs = TokenScorer(model.vocab, vocab_size - model.vocab.size)
    observer = MixtureObserver(model, ngrams, costs, len(token_ids))
    loss = evaluate(
        model,
        token_ids,
        vocab_size=vocab_size,
        start_id=start_id,
        labels=labels,
        segments=_fit_segments(len(token_ids), model.vocab.size),
        progress=progress,
        observer=observer,
    ).require_finite()
    nats = observer.nats
    crossed = nats[0, nats[1].argmin()] + nats[1, nats[0].argmin()]
    first = _unobserved(observer, loss, costs, token_ids)
    losses = [observer.loss(float(total), first) for total in (nats[:, -1].sum(), nats[:, 0].sum(), crossed)]
    return Fit(float(nats.sum(axis=0).argmin()) / GRID, Losses(*losses))


def _fit_segments(num_tokens: int, model_vocab_size: int) -> Segments | None:
    """Where to read a text on which a weight is fitted; None: all of it."""
    num_read = max(FIT_SEGMENTS, min(FIT_TOKENS, FIT_LOGITS // model_vocab_size))
    if num_tokens <= num_read:
        return None
    length = num_read // FIT_SEGMENTS
    return Segments(np.linspace(0, num_tokens - length, FIT_SEGMENTS).astype(np.int64), length)


def evaluate_run_with_ngrams(
    run: Run,
    store: TokenStore,
    part: str,
    *,
    device: str,
    reset_every: int | None = None,
    progress: Progress | None = None,
) -> Report | MixtureReport:
    """Evaluate a run as evaluate_run does, and its n-gram companion, if it has one, and both together.

    n-grams have no context where the state is reset either. Raises RunError when weights or n-grams are
    damaged.
    """
    model = LanguageModel.from_pretrained(run.path)
    return evaluate_with_companion(
        run,
        store,
        part,
        run.load_companion(model.vocab),
        device=device,
        model=model,
        reset_every=reset_every,
        progress=progress,
    )


def evaluate_with_companion(
    run: Run,
    store: TokenStore,
    part: str,
    companion: Companion | None,
    *,
    device: str,
    model: LanguageModel,
    reset_every: int | None = None,
    progress: Progress | None = None,
) -> Report | MixtureReport:
    """Evaluate the network of a run as evaluate_run does, a companion, and both together.

    companion: None evaluates the network alone. model: the network, which is moved to the device.

    Raises RunError when its weights are damaged.
    """
    evaluated = partial(
        evaluate_run, run, store, part, device=device, model=model, reset_every=reset_every, progress=progress
    )
    if companion is None:
        return evaluated()
    costs = TokenScorer(model.vocab, run.tokenizer.vocab_size - model.vocab.size)
    token_ids = store.tokens(part)
    observer = MixtureObserver(model, companion.model, costs, len(token_ids), companion.weight)
    network = evaluated(observer=observer)
    first = _unobserved(observer, network.loss, costs, token_ids)
    ngrams, together, _ = (observer.loss(float(total), first) for total in observer.nats.sum(axis=0))
    return MixtureReport(
        network, Report(ngrams, network.size), Report(together, network.size), companion.weight
    )


def _unobserved(observer: MixtureObserver, loss: Loss, costs: TokenScorer, token_ids: TokenArray) -> Loss:
    """The loss of the first token, which nobody predicts where no start token precedes it; else empty."""
    if loss.tokens == observer.tokens.sum():
        return Loss(0.0, 0, 0)
    model_id = int(costs.vocab.to_model_ids(token_ids[:1])[0])
    return Loss(costs.first_nats(model_id), 1, int(model_id == costs.vocab.size))
