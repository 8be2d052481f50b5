"""From a network's logits to the next token: pure functions on NumPy arrays.

    logits -> processors (processors.py) -> temperature -> top-k -> top-p -> min-p -> one draw

in the order in which common libraries apply them: each filter looks at what the ones before it left. A token
that cannot be drawn has logit -inf. Filters expect logits that are not far above 0, as `choose` passes them.

Shapes: B batch (number of texts), V model vocabulary.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from textgen.errors import damaged_weights
from textgen.settings.config import SampleConfig

# Differences between float32 logits divided by this still fit in float64; a smaller one draws the same.
SMALLEST_TEMPERATURE = 1e-200
# Up to here exp keeps all its digits in float64, and a sum of many does not overflow.
LARGEST_EXPONENT = 600.0
# If top-k keeps fewer than one token in this many, they are selected before they are sorted.
MANY = 8


def sample_token(logits: np.ndarray, config: SampleConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw one token per row of logits (B, V), with one uniform number per row from the generator.

    Returns model ids (B,). Temperature 0 takes the most likely token, the first of equals.

    Raises RunError when a row is not a distribution: it has a NaN, or no possible token.
    """
    return choose(logits, config, rng.random(len(logits)))


def choose(logits: np.ndarray, config: SampleConfig, uniforms: np.ndarray) -> np.ndarray:
    """As sample_token, with the random numbers given: uniforms (B,) in [0, 1), one per row."""
    if len(logits) == 1 and (ids := _choose_one(logits[0], config, uniforms)) is not None:
        return ids
    return _choose_each(logits, config, uniforms)


def _choose_each(logits: np.ndarray, config: SampleConfig, uniforms: np.ndarray) -> np.ndarray:
    """`choose` for any number of rows and any values in them."""
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


def _choose_one(logits: np.ndarray, config: SampleConfig, uniform: np.ndarray) -> np.ndarray | None:
    """The fast twin of _choose_each for one row (V,) and its uniform number (1,): its id (1,).

    None where the values are extreme or not finite, and need more care.
    """
    scaled = logits.astype(np.float64)  # (V,)
    if config.temperature not in (0, 1):
        scaled /= _as_array(max(config.temperature, SMALLEST_TEMPERATURE))
    likeliest = scaled.argmax()
    if not -LARGEST_EXPONENT < scaled.item(likeliest) < LARGEST_EXPONENT:  # false for NaN as well
        return None
    if config.temperature == 0:
        return likeliest.reshape(1)
    if config.top_k is None and config.top_p is None and config.min_p is None:
        sums = np.add.accumulate(np.exp(scaled, scaled))
        return sums.searchsorted(uniform * sums[-1:], "right")
    ids = _kept(scaled, config)
    sums = np.add.accumulate(np.exp(scaled.take(ids)))
    return ids.take(sums.searchsorted(uniform * sums[-1:], "right"))


@lru_cache
def _as_array(number: float) -> np.ndarray:
    """A zero-dimensional array, which NumPy handles faster than a Python number."""
    return np.array(number)


def _kept(logits: np.ndarray, config: SampleConfig) -> np.ndarray:
    """The ids that top-k, top-p and min-p leave of one row (V,), ascending: (N,).

    In a row sorted once, likeliest first and of equals the smallest id first, each filter keeps a beginning.
    """
    V, k, p = len(logits), config.top_k, config.top_p
    floor = logits.max() + math.log(config.min_p) if config.min_p else -math.inf
    if k is None and p is None:
        return np.flatnonzero(logits >= floor)
    if k is not None and k * MANY < V:  # finding the k largest is then much less work than sorting all
        candidates = np.flatnonzero(logits >= np.partition(logits, V - k)[V - k])
        order = candidates.take((-logits.take(candidates)).argsort(kind="stable"))
    else:
        order = (-logits).argsort(kind="stable")
    order = order[:k]
    if p is not None and p < 1:
        held = np.add.accumulate(np.exp(logits.take(order)))  # by the likeliest 1, 2, ... tokens together
        order = order[: 1 + held.searchsorted(p * held[-1])]
    if config.min_p:
        order = order[: np.count_nonzero(logits.take(order) >= floor)]
    order.sort()
    return order


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """The network's own distribution over the next token, natural logarithms in float64: (B, V) -> (B, V).

    Raises RunError as sample_token does.
    """
    logits = _relative(logits)
    totals: np.ndarray = np.exp(logits).sum(axis=1, keepdims=True)  # (B, 1)
    logits -= np.log(totals)
    return logits


Alternatives = list[tuple[int, float]]
"""The most likely next tokens, the likeliest first: their token ids and log-probabilities."""


def likeliest(scores: np.ndarray, number: int, token_ids: np.ndarray) -> list[Alternatives]:
    """The tokens with the highest log-probabilities of each row (N, V), at most `number` of them.

    token_ids: of each model id, (V,). Of equals those with the smallest token ids come first.
    """
    number = min(number, scores.shape[1])
    rows = np.arange(len(scores))[:, None]
    found = np.argpartition(scores, -number, axis=1)[:, -number:]  # (N, number)
    border = scores[rows, found].min(axis=1, keepdims=True)
    at_least = scores >= border
    for row in np.flatnonzero(at_least.sum(axis=1) > number).tolist():  # equals at the border
        ids = np.flatnonzero(at_least[row])
        found[row] = ids[np.lexsort((token_ids[ids], -scores[row, ids]))[:number]]
    order = np.lexsort((token_ids[found], -scores[rows, found]), axis=1)
    found = np.take_along_axis(found, order, axis=1)
    columns = token_ids[found].tolist(), scores[rows, found].tolist()
    return [list(zip(*row, strict=True)) for row in zip(*columns, strict=True)]


def penalize(logits: np.ndarray, occurred: np.ndarray, penalty: float) -> np.ndarray:
    """Make tokens that occurred less likely, or more likely if the penalty is below 1: (V,) or (B, V).

    Their positive logits are divided by the penalty, negative ones multiplied.

    Keskar et al., "CTRL: a conditional transformer language model for controllable generation", 2019.
    """
    with np.errstate(over="ignore"):  # to infinity, which _relative understands
        penalized = np.where(logits > 0, logits / np.float64(penalty), logits * np.float64(penalty))
    # But not to minus infinity: if all tokens have occurred, one of them must still be drawn.
    penalized = np.maximum(penalized, np.finfo(np.float64).min)
    return np.where(occurred & (logits > -np.inf), penalized, logits)


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
            raise damaged_weights()
        infinite = peaks == np.inf
        relative = np.where(infinite, np.where(relative == np.inf, 0.0, -np.inf), relative)
        peaks[infinite] = 0.0
    relative -= peaks
    return relative


def _draw(logits: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """One id per row of logits (B, V), with probability in proportion to exp(logit): (B,).

    Inverse transform sampling: each token owns an interval in [0, 1) as long as its probability.
    """
    # Divided by itself the last sum is exactly 1, above every uniform number: the search always ends, at a
    # token whose interval is not empty.
    sums = np.add.accumulate(np.exp(logits, out=logits), axis=1)  # (B, V)
    sums /= sums[:, -1:]
    ids: np.ndarray = (sums > uniforms[:, None]).argmax(axis=1)
    return ids
