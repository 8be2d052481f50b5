"""From a network's logits to the next token: pure functions on NumPy arrays.

    logits -> repetition penalty -> temperature -> top-k -> top-p -> min-p -> one draw

in the order in which common libraries apply them: each filter looks at what the ones before it left. A token
that cannot be drawn has logit -inf. Filters take logits of which none is far above 0, as `choose` makes them.

Shapes: B batch (samples drawn side by side), V vocab_size.
"""

from __future__ import annotations

import math

import numpy as np

from textgen.config import SampleConfig
from textgen.errors import RunError

# Differences between float32 logits divided by this still fit in float64; a smaller one draws the same.
SMALLEST_TEMPERATURE = 1e-200


def sample_token(
    logits: np.ndarray, config: SampleConfig, rng: np.random.Generator, occurred: np.ndarray | None = None
) -> np.ndarray:
    """Draw one token per row of logits (B, V), with one uniform number a row from the generator.

    Returns ids (B,). `occurred` (B, V) marks the tokens that the repetition penalty makes less likely; None:
    no token. Temperature 0 takes the most likely token, the first of equals.

    Raises RunError when a row is no distribution: a NaN in it, or no possible token.
    """
    return choose(logits, config, rng.random(len(logits)), occurred)


def choose(
    logits: np.ndarray, config: SampleConfig, uniforms: np.ndarray, occurred: np.ndarray | None = None
) -> np.ndarray:
    """As sample_token, with the chance given: uniforms (B,) in [0, 1), one a row."""
    if config.repetition_penalty != 1 and occurred is not None:
        logits = penalize(logits, occurred, config.repetition_penalty)
    logits = _relative(logits)
    if config.temperature == 0:
        ids: np.ndarray = logits.argmax(axis=1)
        return ids
    logits /= max(config.temperature, SMALLEST_TEMPERATURE)
    if config.top_k is not None:
        logits = keep_top_k(logits, config.top_k)
    if config.top_p is not None:
        logits = keep_top_p(logits, config.top_p)
    if config.min_p is not None:
        logits = keep_min_p(logits, config.min_p)
    return _draw(logits, uniforms)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """The network's own distribution over the next token, natural logarithms in float64: (B, V) -> (B, V).

    Raises RunError as sample_token does.
    """
    logits = _relative(logits)
    totals: np.ndarray = np.exp(logits).sum(axis=1, keepdims=True)  # (B, 1)
    logits -= np.log(totals)
    return logits


def penalize(logits: np.ndarray, occurred: np.ndarray, penalty: float) -> np.ndarray:
    """Make tokens that occurred (B, V) less likely, or likelier if the penalty is below 1.

    Their positive logits are divided by the penalty, negative ones multiplied.

    Keskar et al., "CTRL: a conditional transformer language model for controllable generation", 2019.
    """
    with np.errstate(over="ignore"):  # to infinity, which _relative understands
        penalized = np.where(logits > 0, logits / np.float64(penalty), logits * np.float64(penalty))
    return np.where(occurred, penalized, logits)


def keep_top_k(logits: np.ndarray, k: int) -> np.ndarray:
    """Keep the k largest of each row (B, V); of equals at the border those with the smallest ids."""
    if k >= logits.shape[1]:
        return logits
    border = np.partition(logits, -k, axis=1)[:, -k, None]  # (B, 1): the k-th largest
    above = logits > border
    equal = logits == border
    places = k - above.sum(axis=1, keepdims=True)  # (B, 1): left over for the equals
    return np.where(above | (equal & (equal.cumsum(axis=1) <= places)), logits, -np.inf)


def keep_top_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the fewest tokens of each row (B, V) whose probabilities sum to at least p; never fewer than one.

    Of equals at the border the smallest ids stay. p = 1 keeps all.

    Holtzman et al., "The curious case of neural text degeneration", 2020 (nucleus sampling).
    """
    if p >= 1:
        return logits
    order = np.argsort(-logits, axis=1, kind="stable")  # (B, V): likeliest first
    weights = np.exp(np.take_along_axis(logits, order, axis=1))  # (B, V)
    held = weights.cumsum(axis=1)  # (B, V): by the likeliest 1, 2, ... together
    kept = 1 + (held < p * held[:, -1:]).sum(axis=1, keepdims=True)  # (B, 1)
    keep = np.empty(logits.shape, dtype=bool)
    np.put_along_axis(keep, order, np.arange(logits.shape[1]) < kept, axis=1)
    return np.where(keep, logits, -np.inf)


def keep_min_p(logits: np.ndarray, p: float) -> np.ndarray:
    """Keep the tokens of each row (B, V) that have at least p times the probability of the likeliest.

    p = 0 keeps all.

    Nguyen et al., "Turning up the heat: min-p sampling for creative and coherent LLM outputs", 2024.
    """
    if p <= 0:
        return logits
    return np.where(logits >= logits.max(axis=1, keepdims=True) + math.log(p), logits, -np.inf)


def _relative(logits: np.ndarray) -> np.ndarray:
    """A float64 copy of logits (B, V) moved so that the largest of each row is 0, and exp cannot overflow.

    Infinite logits share all the probability of their row.
    """
    relative = logits.astype(np.float64)
    peaks = relative.max(axis=1, keepdims=True)  # (B, 1)
    if not all(map(math.isfinite, peaks[:, 0].tolist())):
        if not (peaks > -np.inf).all():  # false for NaN as well
            raise RunError(
                "the network's output is no distribution (NaN): its weights are damaged; train anew"
            )
        infinite = peaks == np.inf
        relative = np.where(infinite, np.where(relative == np.inf, 0.0, -np.inf), relative)
        peaks[infinite] = 0.0
    relative -= peaks
    return relative


def _draw(logits: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """One id per row of logits (B, V), with probability in proportion to exp(logit): (B,).

    The inverse transform: of the stretch from 0 to 1 each token owns a piece as long as its probability.
    """
    # Divided by itself the last sum is exactly 1, above every uniform number: the search always ends, at a
    # token whose piece is not empty.
    sums = np.add.accumulate(np.exp(logits, out=logits), axis=1)  # (B, V)
    sums /= sums[:, -1:]
    ids: np.ndarray = (sums > uniforms[:, None]).argmax(axis=1)
    return ids
