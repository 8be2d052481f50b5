"""The share of the probability that tokens have which training never saw."""

from __future__ import annotations

import math

import numpy as np
import pytest

from textgen.text.model_vocab import ModelVocab
from textgen.text.token_costs import TokenCosts

VOCAB = ModelVocab.from_counts(np.array([3, 0, 5, 0, 1]))


@pytest.mark.parametrize("num_unseen", [0, 1, 2, 7])
def test_the_probabilities_of_all_tokens_sum_to_1(num_unseen: int) -> None:
    costs = TokenCosts(VOCAB, num_unseen)
    softmax = np.array([0.5, 0.2, 0.3])
    seen = np.exp(np.log(softmax) - costs.seen_nats).sum()
    assert seen + num_unseen * math.exp(-costs.unseen_nats) == pytest.approx(1)


def test_unseen_tokens_share_the_probability_of_one_token_more() -> None:
    assert math.exp(-TokenCosts(VOCAB, 2).unseen_nats) == pytest.approx(1 / (9 + 1) / 2)


@pytest.mark.parametrize("num_unseen", [0, 2])
def test_a_first_token_without_a_start_token_has_its_frequency_in_training(num_unseen: int) -> None:
    costs = TokenCosts(VOCAB, num_unseen)
    firsts = [math.exp(-costs.first_nats(model_id)) for model_id in range(VOCAB.size)]
    share = 1 - 1 / 10 if num_unseen else 1
    assert firsts == pytest.approx([share * 3 / 9, share * 5 / 9, share * 1 / 9])
    assert costs.first_nats(VOCAB.size) == costs.unseen_nats
