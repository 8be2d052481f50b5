"""Measures the vanishing gradient: how much a loss depends on the state of the network k tokens earlier.

    state(t-k)  ->  token t-k+1  ->  ...  ->  token t  ->  state(t)  ->  loss(t): token t+1, in nats

    norm(k) = || d loss(t) / d state(t-k) ||      over all layers and units, in nats per unit of state

The state is what one call of the network passes to the next. For an LSTM, h and c are separate variables; the
tokens are constants. At k = 0 the gradient with respect to c is zero, because the head reads only h.

Each step back multiplies the gradient by the Jacobian J of one step: d loss / d state(t-k) = g J(t) J(t-1)
... J(t-k+1). Where the Jacobians shrink vectors, the product decays exponentially: S. Hochreiter,
"Untersuchungen zu dynamischen neuronalen Netzen", 1991; Bengio, Simard & Frasconi, "Learning long-term
dependencies with gradient descent is difficult", 1994. Where the Jacobians enlarge them, it explodes, which
is why gradients are clipped: Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural
networks", 2013.

Shapes: N positions, K steps back, W warm-up, B positions per batch, L num_layers, H hidden_size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.errors import CorpusError
from textgen.models.cells import State, layer_norm
from textgen.models.language_model import LanguageModel
from textgen.models.recurrent import Recurrent
from textgen.text.model_vocab import ModelVocab
from textgen.text.stored_tokens import TokenArray

WARM_UP = 128  # tokens read before state(t-K), so that it is a typical state within a text
DRAW_SEED = 0  # fixed, so that every network is measured at the same positions
# Gate activations in the graph of one batch; each takes the memory of about ten numbers.
MAX_ACTIVATIONS = 2**23
MAX_BATCH = 128


@dataclass(frozen=True)
class Positions:
    """Where in a text to measure: ends (N,) holds the index t of each position; steps is K, warm_up is W."""

    ends: np.ndarray
    steps: int
    warm_up: int


def draw_positions(vocab: ModelVocab, token_ids: TokenArray, *, steps: int, count: int) -> Positions:
    """Draw up to `count` positions of a text in order, each followed by a token that training saw.

    The warm-up is WARM_UP tokens, or less in a short text: half of what the steps leave.

    Raises CorpusError when the text is too short for this many steps, or when no drawn position qualifies.
    """
    refuse_short_text(len(token_ids), steps)
    warm_up = min(WARM_UP, (len(token_ids) - steps - 2) // 2)
    first = steps + warm_up - 1
    possible = len(token_ids) - 1 - first  # the last token is only a target
    drawn = np.random.default_rng(DRAW_SEED).choice(possible, size=min(count, possible), replace=False)
    ends = np.sort(first + drawn)
    # A token that training never saw has a fixed probability and therefore no gradient.
    ends = ends[vocab.to_model_ids(token_ids[ends + 1]) < vocab.size]
    if len(ends) == 0:
        raise CorpusError("the validation text has no token that occurs in training, so there is no gradient")
    return Positions(ends, steps, warm_up)


def refuse_short_text(num_tokens: int, steps: int) -> None:
    """Raise CorpusError when a text of num_tokens tokens is too short to look `steps` steps back."""
    needed = steps + 4  # the steps, one token of warm-up, a target, and two positions to choose from
    if num_tokens < needed:
        raise CorpusError(
            f"the validation text has {num_tokens:,} tokens, too few to look {steps} steps back: "
            f"at least {needed} are needed. Use a smaller --steps or a longer text."
        )


@dataclass(frozen=True)
class GradientNorms:
    """norm(k) at each position, (N, K + 1) float64, by part of the state.

    The parts are `state` (all of it) and, for an LSTM, `hidden` and `cell` on their own.
    """

    by_part: dict[str, np.ndarray]

    def mean(self, part: str = "state") -> np.ndarray:
        """The mean over the positions, (K + 1,); a few large gradients may dominate it."""
        mean: np.ndarray = self.by_part[part].mean(axis=0)
        return mean

    def quantile(self, share: float, part: str = "state") -> np.ndarray:
        """The quantile `share` over the positions, (K + 1,); may be NaN where norms are infinite or NaN."""
        with np.errstate(invalid="ignore"):  # interpolating between infinities
            quantile: np.ndarray = np.quantile(self.by_part[part], share, axis=0)
        return quantile

    def median(self, part: str = "state") -> np.ndarray:
        """The median over the positions, (K + 1,)."""
        return self.quantile(0.5, part)


def relative(norms: np.ndarray, start: float) -> np.ndarray:
    """Norms divided by `start`, usually that of the whole state at k = 0; NaN if that is 0 or not finite."""
    multiples: np.ndarray = norms / (start if start and np.isfinite(start) else np.nan)
    return multiples


def steps_to(norms: np.ndarray, share: float) -> int | None:
    """The smallest k from which norms (K + 1,) stay below a share of the norm at k = 0; None: more than K."""
    lasting = np.flatnonzero(~(relative(norms, norms[0]) < share))  # NaN counts as not below
    after = int(lasting[-1]) + 1
    return after if after < len(norms) else None


def gradient_norms(
    model: LanguageModel,
    token_ids: TokenArray,
    positions: Positions,
    progress: Callable[[int, int], None] | None = None,
) -> GradientNorms:
    """norm(k) for k = 0 .. K at positions of a text, computed in the model's compute_dtype.

    The model must be in eval mode. progress is called with (positions done, total).
    """
    assert not model.training
    config = model.config
    per_position = (positions.steps + 1) * config.num_layers * config.hidden_size * model.layers.num_gates
    batch_size = min(max(MAX_ACTIVATIONS // per_position, 1), MAX_BATCH)
    window = np.arange(1 - positions.steps - positions.warm_up, 2)  # (W + K + 1,), the last one is the target
    found: list[dict[str, np.ndarray]] = []
    for begin in range(0, len(positions.ends), batch_size):
        ends = positions.ends[begin : begin + batch_size]
        model_ids = model.vocab.to_model_ids(token_ids[ends[:, None] + window])  # (B, W + K + 1)
        tokens = torch.from_numpy(model_ids).to(next(model.parameters()).device)
        with torch.no_grad():
            _, state = model.read(tokens[:, : positions.warm_up])
        found.append(_norms(model, state, tokens[:, positions.warm_up : -1], tokens[:, -1]))
        if progress is not None:
            progress(begin + len(ends), len(positions.ends))
    return GradientNorms({part: np.concatenate([each[part] for each in found]) for part in found[0]})


def _norms(model: LanguageModel, state: State, tokens: Tensor, targets: Tensor) -> dict[str, np.ndarray]:
    """norm(k) by part of the state, (B, K + 1) each, from state(t-K), tokens (B, K) and targets (B,)."""
    states = [tuple(part.clone().requires_grad_() for part in state)]  # becomes K + 1, oldest first
    # An LSTM computes h from c within a step. That path must not count, as h and c are separate variables of
    # the state. It does not: the tensors that `read` returns are stacked after the step, and only the next
    # step reads them.
    for token in tokens.unbind(dim=1):  # (B,)
        _, state = model.read(token.unsqueeze(1), states[-1])
        states.append(state)
    outputs = _outputs(model.layers, states[-1])  # (B, H)
    logits = model.logits(outputs.unsqueeze(1)).squeeze(1)  # (B, V)
    # The sequences of a batch are independent, so the gradient of the sum contains that of each loss.
    loss = cross_entropy(logits, targets, reduction="sum")
    parts = [part for state in reversed(states) for part in state]
    gradients = torch.autograd.grad(loss, parts, materialize_grads=True)
    # In float64, because the squares of gradients 100 steps back would underflow in float32.
    squares = np.stack([part.cpu().double().square().sum(dim=(0, 2)).numpy() for part in gradients], axis=1)
    squares = squares.reshape(len(targets), tokens.shape[1] + 1, len(state))  # (B, K + 1, parts)
    norms = {"state": np.sqrt(squares.sum(axis=2))}
    if len(state) > 1:
        norms |= {name: np.sqrt(squares[:, :, index]) for index, name in enumerate(("hidden", "cell"))}
    return norms


def _outputs(layers: Recurrent, state: State) -> Tensor:
    """The input of the head (B, H) that belongs to a state (L, B, H), as in cells.stack_step."""
    stack = layers.stack_weights()
    stream = state[0].sum(dim=0) if stack.residual else state[0][-1]
    return layer_norm(stream, stack.norms[-1]) if stack.norms else stream
