"""Dynamic evaluation of a network and n-grams together: n-grams that learn from the text as it is read.

    adapting network ──┐
    learning n-grams ──┴─ together, at each of several weights ──┐
    trained network ───┐                                         ├─ Mixture: those that predict best
    counted n-grams ───┴─ together, at the weight of the run ────┘

As with the weights of the network, the loss of each window is counted first; then its n-grams are learnt.

Shapes: T window, V model vocabulary.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from textgen.evaluation.evaluate import TokenScorer
from textgen.evaluation.mixture import Mixture
from textgen.evaluation.with_ngrams import nats_at_weights
from textgen.models.language_model import LanguageModel
from textgen.ngram.companion import Companion
from textgen.ngram.learning import LearningNGrams

# Which of them is best differs within a text; see RECIPE.md, "dynamic evaluation".
NETWORK_WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class LearningMixture:
    """Sums the nats of a text that an adapting network reads window by window.

    weight: of the adapting network in the mixture with the n-grams that learn; None: at each token those of
    several count most that have predicted best. The trained network has the weight of the companion, whose
    n-grams do not change.

    ngrams_nats, together_nats: the sums, of the learning n-grams alone and of all together.
    """

    def __init__(
        self, model: LanguageModel, companion: Companion, costs: TokenScorer, weight: float | None = None
    ) -> None:
        self._companion, self._costs = companion, costs
        self._weights = NETWORK_WEIGHTS if weight is None else (weight,)
        self._nats_at = np.zeros(len(self._weights))
        self._start_id = model.config.start_id if model.config.labels else None
        self._learning = LearningNGrams(companion.model)
        self._before = np.zeros(0, np.int64)  # the last tokens that were read
        self._contexts = companion.model.start(1)
        self._mixture = Mixture()
        self.ngrams_nats = self.together_nats = 0.0

    @property
    def weight(self) -> float:
        """The weight of the network that has been the best for the whole text until now."""
        return self._weights[int(self._nats_at.argmin())]

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
        ngrams = self._learning.read(read, self._before)[None]
        weights = (0.0, *self._weights)
        alone, *predictors = nats_at_weights(logits.detach(), ngrams, targets, self._costs, weights)[:, 0]
        self.ngrams_nats += float(alone.sum())
        self._nats_at += [nats.sum() for nats in predictors]
        if trained is not None:
            counted, self._contexts = self._companion.model.read(read[None], self._contexts)
            weights = (self._companion.weight,)
            predictors.append(nats_at_weights(trained, counted, targets, self._costs, weights)[0, 0])
        self.together_nats += self._mixture.total_nats(*predictors)
        self._learn(read, targets[0].cpu().numpy())

    def _learn(self, read: np.ndarray, targets: np.ndarray) -> None:
        if len(self._before):
            self._learning.learn(targets, np.append(self._before, read[0]))
        else:  # nothing has learnt the first token yet
            self._learning.learn(np.append(read[0], targets))
        self._before = np.concatenate([self._before, read])[-self._learning.order :]

    def companion(self) -> Companion:
        """The n-grams with all that was learnt, and the best weight of the adapted network beside them."""
        return Companion(self._learning.frozen(), self.weight)
