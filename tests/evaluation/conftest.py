"""A tokenizer with five tokens that training saw and others that it never saw; dynamic evaluation."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.dynamic import evaluate_dynamically
from textgen.models.language_model import LanguageModel
from textgen.settings.config import DynamicConfig

TOKENIZER_SIZE = 40
SEEN, UNSEEN = [3, 5, 8, 13, 21], [7, 30]
COUNTS = np.zeros(TOKENIZER_SIZE, dtype=np.int64)
COUNTS[SEEN] = [10, 40, 20, 25, 5]


def dynamic_loss(
    model: LanguageModel,
    token_ids: np.ndarray,
    config: DynamicConfig,
    start_id: int | None = 2,
    **settings: Any,
) -> Loss:
    """The loss of a text by dynamic evaluation of a copy of the model."""
    return evaluate_dynamically(
        copy.deepcopy(model),
        token_ids,
        vocab_size=TOKENIZER_SIZE,
        start_id=start_id,
        config=config,
        **settings,
    )
