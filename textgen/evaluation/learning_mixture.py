"""Dynamic evaluation of a network and n-grams together: n-grams that learn from the text as it is read.

    adapting network ── weight ──┐
    learning n-grams ────────────┴─ together ──┐
    trained network ─── as saved ─┐            ├─ the better of the two until now: Mixture
    counted n-grams ──────────────┴─ together ─┘

As of the weights, the loss of each window is counted first, and then its n-grams are learnt.

Shapes: T window, V model vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from textgen.evaluation.evaluate import TokenScorer
from textgen.evaluation.mixture import Mixture
from textgen.evaluation.with_ngrams import mixture_nats
from textgen.models.language_model import LanguageModel
from textgen.ngram.companion import Companion
from textgen.ngram.learning import LearningNGrams


class LearningMixture:
    """Sums the nats of a text that is read window by window by an adapting network.

    weight: of the adapting network in the mixture with the n-grams that learn; the trained network has that
    of the companion, whose n-grams do not change.

    ngrams_nats, together_nats: the sums, of the learning n-grams alone and of all together.
    """

    def __init__(self, model: LanguageModel, companion: Companion, costs: TokenScorer, weight: float) -> None:
        self._companion, self._costs, self.weight = companion, costs, weight
        self._start_id = model.config.start_id if model.config.labels else None
        self._learning = LearningNGrams(companion.model)
        self._before = np.zeros(0, np.int64)  # the last tokens that were read
        self._contexts = companion.model.start(1)
        self._mixture = Mixture()
        self.ngrams_nats = self.together_nats = 0.0

    def count_first(self, nats: float) -> None:
        """Count the first token, which nobody predicts where no start token precedes it."""
        self.ngrams_nats += nats
        self.together_nats += nats

    def observe(self, inputs: np.ndarray, targets: Tensor, logits: Tensor, trained: Tensor | None) -> None:
        """Count the next window, and learn from it.

        inputs: model ids and labels that were read, (T,). targets: model ids, (1, T). logits: (1, T, V) of
        the adapting network. trained: those of the trained one; None: it is not mixed in.
        """
        read = self._costs.vocab.without_labels(inputs, self._start_id)
        ngrams = torch.from_numpy(self._learning.read(read, self._before)).to(logits.device)[None]
        own = self._nats(logits, ngrams, targets, self.weight)
        self.ngrams_nats += float(self._nats(logits, ngrams, targets, 0.0).sum())
        if trained is None:
            self.together_nats += float(own.sum())
        else:
            counted, self._contexts = self._companion.model.read(read[None], self._contexts)
            static = torch.from_numpy(counted).to(logits.device)
            other = self._nats(trained, static, targets, self._companion.weight)
            self.together_nats += self._mixture.total_nats(own, other)
        first = read[:0] if len(self._before) else read[:1]
        new = np.concatenate([first, targets[0].cpu().numpy()])
        self._learning.learn(new, np.concatenate([self._before, read[len(first) : 1]]))
        self._before = np.concatenate([self._before, read])[-self._learning.order :]

    def _nats(self, logits: Tensor, ngrams: Tensor, targets: Tensor, weight: float) -> np.ndarray:
        """The nats of targets in the mixture of a network and n-grams (1, T, V): (T,) float64."""
        unseen = targets == logits.shape[-1]
        network = logits.detach().float().log_softmax(-1)
        nats = mixture_nats(network, ngrams, targets.masked_fill(unseen, 0), weight) + self._costs.seen_nats
        if self._costs.num_unseen:
            nats = nats.masked_fill(unseen, self._costs.unseen_nats)
        return nats[0].cpu().numpy().astype(np.float64)

    def companion(self) -> Companion:
        """The n-grams with all that was learnt, and the weight of the adapting network beside them."""
        return Companion(self._learning.frozen(), self.weight)
