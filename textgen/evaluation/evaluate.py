"""Cross-entropy of a text under a model, every token counted once.

    targets    t0  t1  t2  ...  tN-1
    inputs     s   t0  t1  ...  tN-2         s: the token that sampling starts after

The state is carried over the whole text, or set to zero after every so many tokens, to compare with models of
a fixed context. Token after token a processor reads slowly: segments that share no state are read side by
side, those between two resets (evaluate_with_resets) or a few long ones of a long text (evaluate_whole).

What a token costs that training never saw: see loss.py.

Shapes: B lanes, T window, V vocab.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.evaluation.cross_entropy import Loss, TokenCosts
from textgen.evaluation.report import Report
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.system.device import widest_float
from textgen.text.model_vocab import start_id
from textgen.text.store import Progress, TokenStore

# A call of the model is worth its while with many steps, but its logits (B, T, V) should fit into cache.
LOGITS = 2**20
LONGEST_WINDOW = 512  # steps
# The first tokens of a segment, which know nothing of what stands before it, cost some nats more in all: of
# so many tokens that is less than the last digit shown.
SHORTEST_SEGMENT, MOST_SEGMENTS = 200_000, 64


class TokenScorer(TokenCosts):
    """Nats of target rows under torch's logits."""

    def token_nats(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The nats of each target, in the widest type (B, T), from logits (B, T, V) and targets (B, T)."""
        unseen = targets == logits.shape[-1]
        nats = cross_entropy(
            logits.float().flatten(0, 1), targets.masked_fill(unseen, -100).flatten(), reduction="none"
        )  # -100 is cross_entropy's "ignore this one", and costs 0
        nats = nats.to(widest_float(nats.device)).view_as(targets) + self.seen_nats
        return nats.masked_fill(unseen, self.unseen_nats) if self.num_unseen else nats

    def total_nats(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of token_nats and the number of unseen targets, both scalars."""
        return self.token_nats(logits, targets).sum(), (targets == logits.shape[-1]).sum()


class Segments(NamedTuple):
    """Parts of a text to read side by side: where each starts (B,), and how many tokens each has."""

    starts: np.ndarray
    length: int


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    token_ids: np.ndarray,
    *,
    vocab_size: int,
    start_id: int | None,
    segments: Segments | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Loss:
    """The cross-entropy of token ids (N,) under a model, in the model's compute_dtype.

    vocab_size is the tokenizer's, all tokens counted. start_id is the row of the token that the text starts
    after; None charges the first token by its training frequency. Given segments, only they are read, side
    by side, each from a zero state after the token before it: quick and comparable with itself, for use
    during training. progress is called with (tokens read, tokens in all).
    """
    vocab = model.vocab
    scorer = TokenScorer(vocab, vocab_size - vocab.size)
    starts, length = (np.zeros(1, np.int64), len(token_ids)) if segments is None else segments
    lanes = len(starts)
    device = next(model.parameters()).device
    total = torch.zeros((), dtype=torch.float64, device="cpu" if device.type == "mps" else device)
    num_unseen = torch.zeros((), dtype=torch.int64, device=total.device)
    was_training = model.training
    model.eval()
    state = None
    extra_nats, first = 0.0, 0
    if start_id is None:
        extra_nats, first = scorer.first_nats(int(vocab.to_model_ids(token_ids[:1])[0])), 1
    longest = min(max(LOGITS // (lanes * vocab.size), 16), LONGEST_WINDOW)
    for start in range(first, length, longest):
        stop = min(start + longest, length)
        # One token more to the left: the input of the first target. The text's own start stands before it
        # all.
        positions = starts[:, None] + np.arange(start - 1, stop)[None, :]  # (B, T + 1)
        read = vocab.to_model_ids(token_ids[positions.clip(min=0)])
        if start_id is not None:
            read[positions < 0] = start_id
        chunk = torch.from_numpy(read).to(device)
        logits, state = model(chunk[:, :-1], state)
        nats, unseen = scorer.total_nats(logits, chunk[:, 1:])
        total += nats.to(total.device)
        num_unseen += unseen.to(total.device)
        if progress is not None:
            progress(stop * lanes, length * lanes)
    model.train(was_training)
    if first and vocab.to_model_ids(token_ids[:1])[0] == vocab.size:
        num_unseen += 1
    return Loss(float(total) + extra_nats, lanes * (length - first) + first, int(num_unseen))


def evaluate_with_resets(
    model: LanguageModel,
    token_ids: np.ndarray,
    *,
    vocab_size: int,
    start_id: int | None,
    reset_every: int,
    progress: Callable[[int, int], None] | None = None,
) -> Loss:
    """As `evaluate`, the state set to zero after every so many tokens of the whole text."""
    size = len(token_ids)
    reset_every = min(reset_every, max(size, 1))  # longer is the same, and NumPy's whole numbers end
    loss, first = Loss(0.0, 0, 0), 0
    if start_id is None:  # the first token stands after nothing
        loss, first = evaluate(model, token_ids[:1], vocab_size=vocab_size, start_id=None), 1
        start_id = 0  # no segment begins before it
    whole = (size - first) // reset_every
    starts = first + np.arange(whole + 1) * reset_every
    lanes = max(LOGITS // (min(reset_every, LONGEST_WINDOW) * model.vocab.size), 1)
    batches = [Segments(starts[at : at + lanes][: whole - at], reset_every) for at in range(0, whole, lanes)]
    if starts[-1] < size:
        batches.append(Segments(starts[-1:], size - int(starts[-1])))
    read = first

    def tell(done: int, _: int) -> None:
        if progress is not None:
            progress(read + done, size)

    for segments in batches:
        loss += evaluate(
            model,
            token_ids,
            vocab_size=vocab_size,
            start_id=start_id,
            segments=segments,
            progress=tell,
        )
        read = loss.tokens
    return loss


def evaluate_whole(
    model: LanguageModel,
    token_ids: np.ndarray,
    *,
    vocab_size: int,
    start_id: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> Loss:
    """As `evaluate`, the state carried over the whole text, or over each of a few segments of a long one.

    They are as many as have SHORTEST_SEGMENT tokens, up to MOST_SEGMENTS, and read side by side.
    """
    count = 1 if start_id is None else min(len(token_ids) // SHORTEST_SEGMENT, MOST_SEGMENTS)
    settings: dict[str, Any] = {"vocab_size": vocab_size, "start_id": start_id}
    if count < 2:
        return evaluate(model, token_ids, **settings, progress=progress)
    length = len(token_ids) // count
    starts = np.arange(count + 1) * length
    loss = evaluate(model, token_ids, **settings, segments=Segments(starts[:-1], length), progress=progress)
    # Fewer tokens than there are segments.
    rest = Segments(starts[-1:], len(token_ids) - count * length)
    return loss + evaluate(model, token_ids, **settings, segments=rest)


def evaluate_run(
    run: Run,
    store: TokenStore,
    part: str,
    *,
    device: str,
    reset_every: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """The best weights of a run on a whole part of a store, in float32, as evaluate_whole reads it.

    reset_every, in tokens: see evaluate_with_resets; None carries the state. progress is called with (what is
    done, tokens read, tokens in all).

    Raises RunError when the weights are damaged.
    """
    model = LanguageModel.from_pretrained(run.path).to(device)
    settings: dict[str, Any] = {
        "vocab_size": run.tokenizer.vocab_size,
        "start_id": start_id(model.vocab, run.tokenizer),
        "progress": named(f"evaluating on {part}", progress),
    }
    if reset_every is None:
        loss = evaluate_whole(model, store.tokens(part), **settings)
    else:
        loss = evaluate_with_resets(model, store.tokens(part), **settings, reset_every=reset_every)
    return Report(loss.of_sound_weights(), store.size(part))


def named(what: str, progress: Progress | None) -> Callable[[int, int], None] | None:
    """What takes (done, total) alone, for work of that name; None stays None."""
    return None if progress is None else lambda done, total: progress(what, done, total)
