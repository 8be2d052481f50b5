"""The vanishing gradient, measured: how much a loss depends on what the network remembered k tokens before.

    state(t-k)  ->  token t-k+1  ->  ...  ->  token t  ->  state(t)  ->  loss(t): token t+1, in nats

    norm(k) = || d loss(t) / d state(t-k) ||      over all layers and units, nats per unit of state

The state is what a call of the network hands to the next one; h and c of an LSTM are two variables, and all
tokens stay what they are. At k = 0 the cell has no gradient, for what reads the state at t reads h.

Each step back multiplies the gradient by the Jacobian of one step, J: d loss / d state(t-k) = g J(t) J(t-1)
... J(t-k+1). Where the J shrink what they are applied to, the product falls exponentially: S. Hochreiter,
"Untersuchungen zu dynamischen neuronalen Netzen", 1991; Bengio, Simard & Frasconi, "Learning long-term
dependencies with gradient descent is difficult", 1994; that it may also explode, and why clipping then helps:
Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", 2013.

Shapes: N positions, K steps back, W warm-up, B positions side by side, L num_layers, H hidden_size.
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

WARM_UP = 128  # tokens read before state(t-K), so that it is one that the network has in the midst of a text
DRAW_SEED = 0  # the same positions whichever network is measured
# What the graph of one batch of positions may hold: numbers in its gates, some ten of each in memory.
GRAPH_NUMBERS = 2**23
MOST_LANES = 128


@dataclass(frozen=True)
class Positions:
    """Where in a text to measure: the index t of the last token read, (N,), with K steps back from each."""

    ends: np.ndarray
    steps: int
    warm_up: int


def draw_positions(vocab: ModelVocab, token_ids: np.ndarray, *, steps: int, count: int) -> Positions:
    """Draw up to `count` positions of a text (token ids) whose next token training saw, in their order.

    The warm-up takes WARM_UP tokens, or half of what a short text has left over.

    Raises CorpusError when the text is too short for so many steps, or training saw none of it.
    """
    refuse_short_text(len(token_ids), steps)
    warm_up = min(WARM_UP, (len(token_ids) - steps - 2) // 2)
    first = steps + warm_up - 1
    possible = len(token_ids) - 1 - first  # the last token is a target only
    drawn = np.random.default_rng(DRAW_SEED).choice(possible, size=min(count, possible), replace=False)
    ends = np.sort(first + drawn)
    # A token that training never saw has a fixed probability: no gradient comes from it.
    ends = ends[vocab.to_model_ids(token_ids[ends + 1]) < vocab.size]
    if len(ends) == 0:
        raise CorpusError("the validation text holds no token that training saw: there is no gradient")
    return Positions(ends, steps, warm_up)


def refuse_short_text(num_tokens: int, steps: int) -> None:
    """Raises CorpusError when a text of so many tokens leaves no choice of positions."""
    needed = steps + 4  # the steps, a token of warm-up, a target, and two more to choose among
    if num_tokens < needed:
        raise CorpusError(
            f"the validation text has {num_tokens:,} tokens, too few to look {steps} steps back: "
            f"at least {needed} are needed. Use a smaller --steps or a longer text."
        )


@dataclass(frozen=True)
class GradientNorms:
    """norm(k) at each position, (N, K + 1) float64, by part of the state.

    The parts are `state`, all of it, and where it has two, `hidden` and `cell`, each on its own.
    """

    by_part: dict[str, np.ndarray]

    def mean(self, part: str = "state") -> np.ndarray:
        """The mean over the positions, (K + 1,): a few steep positions may decide it."""
        mean: np.ndarray = self.by_part[part].mean(axis=0)
        return mean

    def quantile(self, share: float, part: str = "state") -> np.ndarray:
        """What a share of the positions lie below, (K + 1,); NaN where one of them is no number."""
        with np.errstate(invalid="ignore"):  # between infinities there is nothing to interpolate
            quantile: np.ndarray = np.quantile(self.by_part[part], share, axis=0)
        return quantile

    def median(self, part: str = "state") -> np.ndarray:
        """What half of the positions lie below, (K + 1,): the gradient of a usual token."""
        return self.quantile(0.5, part)


def relative(norms: np.ndarray, start: float) -> np.ndarray:
    """Norms as multiples of another, that of the whole state at k = 0; NaN where that is 0 or no number."""
    multiples: np.ndarray = norms / (start if start and np.isfinite(start) else np.nan)
    return multiples


def steps_to(norms: np.ndarray, share: float) -> int | None:
    """The smallest k from which on norms (K + 1,) stay below a share of the one at k = 0; None: beyond K."""
    lasting = np.flatnonzero(~(relative(norms, norms[0]) < share))  # a NaN is no small number
    after = int(lasting[-1]) + 1
    return after if after < len(norms) else None


def gradient_norms(
    model: LanguageModel,
    token_ids: np.ndarray,
    positions: Positions,
    progress: Callable[[int, int], None] | None = None,
) -> GradientNorms:
    """norm(k), k = 0 .. K, of a model in eval mode at positions of a text, in the model's compute_dtype.

    progress is called with (positions done, positions in all).
    """
    assert not model.training
    config = model.config
    per_lane = (positions.steps + 1) * config.num_layers * config.hidden_size * model.layers.num_gates
    lanes = min(max(GRAPH_NUMBERS // per_lane, 1), MOST_LANES)
    window = np.arange(1 - positions.steps - positions.warm_up, 2)  # (W + K + 1,), the target is the last
    found: list[dict[str, np.ndarray]] = []
    for begin in range(0, len(positions.ends), lanes):
        ends = positions.ends[begin : begin + lanes]
        model_ids = model.vocab.to_model_ids(token_ids[ends[:, None] + window])  # (B, W + K + 1)
        tokens = torch.from_numpy(model_ids).to(next(model.parameters()).device)
        with torch.no_grad():
            _, state = model.read(tokens[:, : positions.warm_up])
        found.append(_norms(model, state, tokens[:, positions.warm_up : -1], tokens[:, -1]))
        if progress is not None:
            progress(begin + len(ends), len(positions.ends))
    return GradientNorms({part: np.concatenate([each[part] for each in found]) for part in found[0]})


def _norms(model: LanguageModel, state: State, tokens: Tensor, targets: Tensor) -> dict[str, np.ndarray]:
    """norm(k) by part, (B, K + 1) each, from state(t-K), tokens (B, K), targets (B,)."""
    states = [tuple(part.clone().requires_grad_() for part in state)]  # K + 1, the oldest first
    # In the equations of an LSTM c lies on the way to h. That must not count, for both are given: what `read`
    # returns is put together after the step, h and c apart, and nothing but the next step reads it.
    for token in tokens.unbind(dim=1):  # (B,)
        _, state = model.read(token.unsqueeze(1), states[-1])
        states.append(state)
    outputs = _outputs(model.layers, states[-1])  # (B, H)
    logits = model.logits(outputs.unsqueeze(1)).squeeze(1)  # (B, V)
    # Lanes know nothing of each other: the gradient of the sum holds that of each one's loss.
    loss = cross_entropy(logits, targets, reduction="sum")
    parts = [part for state in reversed(states) for part in state]
    gradients = torch.autograd.grad(loss, parts, materialize_grads=True)
    # In float64, for squares of what 100 steps have left would be 0 in float32.
    squares = np.stack([part.cpu().double().square().sum(dim=(0, 2)).numpy() for part in gradients], axis=1)
    squares = squares.reshape(len(targets), tokens.shape[1] + 1, len(state))  # (B, K + 1, parts)
    norms = {"state": np.sqrt(squares.sum(axis=2))}
    if len(state) > 1:
        norms |= {name: np.sqrt(squares[:, :, index]) for index, name in enumerate(("hidden", "cell"))}
    return norms


def _outputs(layers: Recurrent, state: State) -> Tensor:
    """What the head reads when a stack has come to a state (L, B, H): (B, H), as in cells.stack_step."""
    stack = layers.stack_weights()
    stream = state[0].sum(dim=0) if stack.residual else state[0][-1]
    return layer_norm(stream, stack.norms[-1]) if stack.norms else stream
