"""Cross-entropy of a text under a model, every token counted once.

    targets    t0  t1  t2  ...  tN-1
    inputs     s   t0  t1  ...  tN-2         s: the start token, after which sampling starts too

The state is carried over the whole text, or reset to zero at regular intervals, to compare with models of a
fixed context. Reading one token at a time is slow, so independent segments are read in one batch: those
between two resets (evaluate_with_resets), or a few long segments of a long text (evaluate_whole).

For tokens that training never saw, see text/token_costs.py.

Shapes: B segments in a batch, T window, V model vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.report import Report
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.system.device import widest_float
from textgen.text.document_labels import DocumentLabels
from textgen.text.encoding import Progress
from textgen.text.model_vocab import start_id
from textgen.text.store import TokenStore
from textgen.text.stored_tokens import TokenArray
from textgen.text.token_costs import TokenCosts

# How many logits (B, T, V) a call of the model computes: many steps per call, but few enough for the cache.
LOGITS = 2**20
MAX_WINDOW = 512  # steps
# The first tokens of a segment cost a few nats more, for lack of context. In a segment of this many tokens
# that is less than the last digit shown.
MIN_SEGMENT_TOKENS, MAX_SEGMENTS = 200_000, 64


class TokenScorer(TokenCosts):
    """The cross-entropy of target model ids under torch logits."""

    def token_nats(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The nats (B, T), in the widest float type, of targets (B, T) under logits (B, T, V)."""
        unseen = targets == logits.shape[-1]
        nats = cross_entropy(
            logits.float().flatten(0, 1), targets.masked_fill(unseen, -100).flatten(), reduction="none"
        )  # -100 is the ignore_index of cross_entropy: the loss there is 0
        return self.with_unseen(nats.to(widest_float(nats.device)).view_as(targets), unseen)

    def with_unseen(self, nats: Tensor, unseen: Tensor) -> Tensor:
        """The nats (..., B, T) of targets, given those under the model's distribution of seen tokens.

        unseen: which targets training never saw, (B, T); their given nats are replaced.
        """
        nats = nats + self.seen_nats
        return nats.masked_fill(unseen, self.unseen_nats) if self.num_unseen else nats

    def total_nats(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of token_nats and the number of unseen targets, both scalars."""
        return self.token_nats(logits, targets).sum(), (targets == logits.shape[-1]).sum()


class Segments(NamedTuple):
    """Parts of a text to read in one batch: the token at which each starts (B,), and their common length."""

    starts: np.ndarray
    length: int


class Observer(Protocol):
    """Sees what is read while a text is evaluated."""

    def begin(self, batch_size: int) -> None:
        """A batch of segments begins, each from the zero state."""

    def observe(self, positions: np.ndarray, inputs: np.ndarray, targets: Tensor, logits: Tensor) -> None:
        """The next window of each segment, in order.

        positions: of the targets in the text, (B, T). inputs: model ids and labels that were read, (B, T).
        targets: model ids, (B, T). logits: of the targets, (B, T, V).
        """


@torch.no_grad()
def evaluate(
    model: LanguageModel,
    token_ids: TokenArray,
    *,
    vocab_size: int,
    start_id: int | None,
    labels: DocumentLabels | None = None,
    segments: Segments | None = None,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    observer: Observer | None = None,
) -> Loss:
    """The cross-entropy of token ids (N,) under a model, in the model's compute_dtype.

    vocab_size: that of the tokenizer. start_id: the model id of the start token; None scores the first token
    by its training frequency. labels: of the documents, which are read but not predicted; None: there are
    none. segments: read only these, in one batch, each from a zero state after the token
    before it, which is fast and comparable during training; None reads the whole text with one state.
    progress is called with (tokens read, tokens in total). should_stop: asked now and then whether to leave
    the rest unread, the end of each segment; the loss says how many tokens were read. observer: sees each
    window; not the first token, where no start token precedes it.
    """
    vocab = model.vocab
    scorer = TokenScorer(vocab, vocab_size - vocab.size)
    starts, length = (np.zeros(1, np.int64), len(token_ids)) if segments is None else segments
    batch_size = len(starts)
    device = next(model.parameters()).device
    total = torch.zeros((), dtype=torch.float64, device="cpu" if device.type == "mps" else device)
    num_unseen = torch.zeros((), dtype=torch.int64, device=total.device)
    was_training = model.training
    model.eval()
    state = None
    if observer is not None:
        observer.begin(batch_size)
    first = 0 if start_id is not None else 1  # of a segment's tokens
    scores_first = start_id is None and starts[0] == 0
    extra_nats = scorer.first_nats(int(vocab.to_model_ids(token_ids[:1])[0])) if scores_first else 0.0
    longest = min(max(LOGITS // (batch_size * vocab.size), 16), MAX_WINDOW)
    for start in range(first, length, longest):
        stop = min(start + longest, length)
        # One more token on the left: the input of the first target. Before the text is the start token.
        positions = starts[:, None] + np.arange(start - 1, stop)[None, :]  # (B, T + 1)
        model_ids = vocab.to_model_ids(token_ids[positions.clip(min=0)])
        if start_id is not None:
            model_ids[positions < 0] = start_id
        inputs = model_ids[:, :-1]
        if labels is not None:
            inputs = vocab.with_labels(inputs, labels.at(positions[:, 1:]))
        logits, state = model(torch.from_numpy(inputs).to(device), state)
        targets = torch.from_numpy(model_ids[:, 1:]).to(device)
        nats, unseen = scorer.total_nats(logits, targets)
        if observer is not None:
            observer.observe(positions[:, 1:], inputs, targets, logits)
        total += nats.to(total.device)
        num_unseen += unseen.to(total.device)
        if progress is not None:
            progress(stop * batch_size, length * batch_size)
        if should_stop is not None and should_stop():
            length = stop
            break
    model.train(was_training)
    if scores_first and vocab.to_model_ids(token_ids[:1])[0] == vocab.size:
        num_unseen += 1
    num_read = batch_size * (length - first) + int(scores_first)
    return Loss(float(total) + extra_nats, num_read, int(num_unseen))


def evaluate_with_resets(
    model: LanguageModel,
    token_ids: TokenArray,
    *,
    vocab_size: int,
    start_id: int | None,
    reset_every: int,
    labels: DocumentLabels | None = None,
    progress: Callable[[int, int], None] | None = None,
    observer: Observer | None = None,
) -> Loss:
    """Like `evaluate` on the whole text, with the state reset to zero after every reset_every tokens."""
    size = len(token_ids)
    reset_every = min(reset_every, max(size, 1))  # more makes no difference, but may not fit into an int64
    loss, first = Loss(0.0, 0, 0), 0
    if start_id is None:  # nothing precedes the first token
        loss, first = evaluate(model, token_ids[:1], vocab_size=vocab_size, start_id=None), 1
        start_id = 0  # not used: no segment begins at the first token
    num_full = (size - first) // reset_every
    starts = first + np.arange(num_full + 1) * reset_every
    batch_size = max(LOGITS // (min(reset_every, MAX_WINDOW) * model.vocab.size), 1)
    batches = [
        Segments(starts[at : at + batch_size][: num_full - at], reset_every)
        for at in range(0, num_full, batch_size)
    ]
    if starts[-1] < size:
        batches.append(Segments(starts[-1:], size - int(starts[-1])))
    num_read = first

    def report(done: int, _: int) -> None:
        if progress is not None:
            progress(num_read + done, size)

    for segments in batches:
        loss += evaluate(
            model,
            token_ids,
            vocab_size=vocab_size,
            start_id=start_id,
            labels=labels,
            segments=segments,
            progress=report,
            observer=observer,
        )
        num_read = loss.tokens
    return loss


def evaluate_whole(
    model: LanguageModel,
    token_ids: TokenArray,
    *,
    vocab_size: int,
    start_id: int | None,
    labels: DocumentLabels | None = None,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    observer: Observer | None = None,
) -> Loss:
    """Like `evaluate` on the whole text, except that a long text is read as a batch of a few segments.

    A segment has at least MIN_SEGMENT_TOKENS tokens, and there are at most MAX_SEGMENTS. The state is carried
    over each segment. should_stop: as in evaluate.
    """
    count = 1 if start_id is None else min(len(token_ids) // MIN_SEGMENT_TOKENS, MAX_SEGMENTS)
    settings: dict[str, Any] = {
        "vocab_size": vocab_size, "start_id": start_id, "labels": labels, "should_stop": should_stop,
        "observer": observer,
    }  # fmt: skip
    if count < 2:
        return evaluate(model, token_ids, **settings, progress=progress)
    length = len(token_ids) // count
    starts = np.arange(count + 1) * length
    loss = evaluate(model, token_ids, **settings, segments=Segments(starts[:-1], length), progress=progress)
    if loss.tokens < count * length:  # stopped
        return loss
    rest = Segments(starts[-1:], len(token_ids) - count * length)  # fewer tokens than there are segments
    return loss + evaluate(model, token_ids, **settings, segments=rest)


def evaluate_run(
    run: Run,
    store: TokenStore,
    part: str,
    *,
    device: str,
    model: LanguageModel | None = None,
    reset_every: int | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
    observer: Observer | None = None,
) -> Report:
    """Evaluate the best weights of a run on a whole part of a store, in float32.

    model: the network with these weights, if it was read before; None reads it. It is moved to the device.
    reset_every: in tokens, as in evaluate_with_resets; None carries the state, as evaluate_whole does.
    progress is called with (what is being done, tokens read, tokens in total). should_stop: as in evaluate,
    only without reset_every. observer: as in evaluate.

    Raises RunError when the weights are damaged.
    """
    model = (LanguageModel.from_pretrained(run.path) if model is None else model).to(device)
    settings: dict[str, Any] = {
        "vocab_size": run.tokenizer.vocab_size,
        "start_id": start_id(model.vocab, run.tokenizer),
        "labels": store.document_labels(part, run.tokenizer.end_of_text_id),
        "progress": named(f"evaluating on {part}", progress),
        "observer": observer,
    }
    if reset_every is None:
        loss = evaluate_whole(model, store.tokens(part), **settings, should_stop=should_stop)
    else:
        loss = evaluate_with_resets(model, store.tokens(part), **settings, reset_every=reset_every)
    num_tokens = len(store.tokens(part))
    size = store.size(part).scaled(loss.tokens / num_tokens)
    return Report(loss.require_finite(), size, unread_tokens=num_tokens - loss.tokens)


def named(what: str, progress: Progress | None) -> Callable[[int, int], None] | None:
    """A callback for (done, total) that calls progress with a description too; None if progress is None."""
    return None if progress is None else lambda done, total: progress(what, done, total)
