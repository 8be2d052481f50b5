"""The n-gram companion of a trained run: counted from its training text, fitted on its validation text.

training text ─ count ─→ NGramModel ─┐
validation text ─ network ───────────┴─ fit ─→ weight, three losses ─→ ngram.safetensors, if it helps
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textgen.evaluation.evaluate import named
from textgen.evaluation.with_ngrams import Losses, fit
from textgen.models.language_model import LanguageModel
from textgen.ngram.companion import Companion, room_for_model
from textgen.ngram.model import NGramModel
from textgen.run import Run
from textgen.system.links import refuse_links
from textgen.text.encoding import Progress
from textgen.text.model_vocab import ModelVocab, start_id
from textgen.text.store import TokenStore
from textgen.text.stored_tokens import TokenArray
from textgen.text.tokenizer import Tokenizer
from textgen.training.planning.counting import counting_plan, default_order, prune_from

# A smaller gain, in nats per token, is not worth a file with pieces of the text and the time of sampling.
WORTH_KEEPING = 0.01


@dataclass(frozen=True)
class Built:
    """What was built for a run.

    seconds: that counting and fitting took. share: of the training text that was counted, from 0 to 1.
    is_shortened: whether less of it was counted, for lack of time. num_bytes: of the file; None: it was not
    kept.
    """

    order: int
    weight: float
    losses: Losses
    seconds: float
    share: float
    is_shortened: bool
    num_bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, losses in nats per token."""
        return {
            "order": self.order,
            "network_weight": self.weight,
            **{f"{name}_nats_per_token": loss.nats_per_token for name, loss in self.losses._asdict().items()},
            "tokens": self.losses.network.tokens,
            "share_counted": self.share,
            "bytes": self.num_bytes,
        }

    def line(self, run: Path) -> str:
        """The three losses, what was kept, and what could be done about it, in one line."""
        network, ngrams, together = (loss.nats_per_token for loss in self.losses)
        size, kept = "", ""
        if self.num_bytes is not None:
            size = f", {self.num_bytes / 1e6:.1f} MB"
        elif self.losses.gain <= 0 or self.weight == 1:
            kept = "; not kept, as they gain nothing"
        else:
            kept = f"; not kept, as they gain less than {WORTH_KEEPING:g}: textgen ngram {run} keeps them"
        if self.share < 1:
            kept += f"; counted in {self.share:.1%} of the training text, evenly spread"
        if self.is_shortened and self.num_bytes is not None:
            kept += f": textgen ngram {run} counts more"
        return (
            f"n-grams of up to {self.order} tokens, built in {self.seconds:.1f} s{size}: network alone "
            f"{network:.4f} nats/token, n-grams alone {ngrams:.4f}, together {together:.4f} "
            f"(weight of the network {self.weight:.2f}){kept}"
        )


def build_companion(
    run: Run,
    store: TokenStore,
    *,
    device: str,
    order: int | None = None,
    least_gain: float = WORTH_KEEPING,
    minutes: float | None = None,
    progress: Progress | None = None,
) -> Built:
    """Build the n-gram companion of a run's best weights and keep it in the run, if it helps.

    store: of the run's text, with validation text. order: of the longest n-grams; None: chosen by the
    tokenizer. least_gain: in nats per token of validation text; with less, nothing is written. minutes: of
    training; of a text that takes long to count beside that, evenly spread pieces are counted. None: all.

    Raises RunError when the weights are damaged or the run has links in it.
    """
    refuse_links(run.path)
    started = time.monotonic()
    model = LanguageModel.from_pretrained(run.path).to(device)
    vocab, tokenizer = model.vocab, run.tokenizer
    plan = counting_plan(len(store.tokens("train")), minutes)
    ngrams = count_training_text(
        store,
        tokenizer,
        vocab,
        order=order,
        progress=progress,
        max_bytes=room_for_model(run.config.model),
        prune_from=prune_from(plan.tokens),
        most_tokens=plan.most_tokens,
    )
    weight, losses = fit(
        model,
        ngrams,
        store.tokens("val"),
        vocab_size=tokenizer.vocab_size,
        start_id=start_id(vocab, tokenizer),
        labels=store.document_labels("val", tokenizer.end_of_text_id),
        progress=named("mixing n-grams", progress),
    )
    num_bytes = None
    if losses.gain >= least_gain and weight < 1:
        num_bytes = run.save_companion(Companion(ngrams, weight), vocab)
    seconds = time.monotonic() - started
    return Built(ngrams.order, weight, losses, seconds, ngrams.share, plan.is_shortened, num_bytes)


def count_training_text(
    store: TokenStore,
    tokenizer: Tokenizer,
    vocab: ModelVocab,
    *,
    order: int | None = None,
    progress: Progress | None = None,
    **limits: Any,
) -> NGramModel:
    """The n-grams of a store's training text, as model ids of vocab.

    order: of the longest n-grams; None: chosen by the tokenizer. limits: max_bytes, prune_from and
    most_tokens of NGramModel.train.
    """
    ends = int(vocab.to_model_ids(np.array([tokenizer.end_of_text_id]))[0])
    return NGramModel.train(
        _ModelIds(store.tokens("train"), vocab, progress),
        vocab.size,
        default_order(tokenizer.kind) if order is None else order,
        start_id=ends if ends < vocab.size else None,
        **limits,
    )


class _ModelIds:
    """The model ids of a text as an array of which slices are read, since it may not fit into memory."""

    dtype = np.dtype(np.int64)

    def __init__(self, token_ids: TokenArray, vocab: ModelVocab, progress: Progress | None) -> None:
        self._token_ids, self._vocab, self._progress = token_ids, vocab, progress

    def __len__(self) -> int:
        return len(self._token_ids)

    def __getitem__(self, index: slice) -> np.ndarray:
        if self._progress is not None:
            self._progress("counting n-grams", min(index.stop, len(self)), len(self))
        return self._vocab.to_model_ids(self._token_ids[index])
