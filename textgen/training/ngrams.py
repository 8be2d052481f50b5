"""The n-gram companion of a trained run: counted from its training text, fitted on its validation text.

training text ─ count ─→ NGramModel ─┐
validation text ─ network ───────────┴─ fit ─→ weight, three losses ─→ ngram.safetensors, if it helps
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
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

# A smaller gain, in nats per token, is not worth a file with pieces of the text and the time of sampling.
WORTH_KEEPING = 0.01
# Tokens to predict a token from, and itself: subwords and words repeat less than characters do.
ORDER, ORDER_OF_CHARACTERS = 5, 9
_PIECE_TOKENS = 2**20


@dataclass(frozen=True)
class Built:
    """What was built for a run.

    seconds: that counting and fitting took. num_bytes: of the file; None: it was not kept.
    """

    order: int
    weight: float
    losses: Losses
    seconds: float
    num_bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, losses in nats per token."""
        return {
            "order": self.order,
            "network_weight": self.weight,
            **{f"{name}_nats_per_token": loss.nats_per_token for name, loss in self.losses._asdict().items()},
            "tokens": self.losses.network.tokens,
            "bytes": self.num_bytes,
        }

    def line(self) -> str:
        """The three losses, and what was kept, in one line."""
        network, ngrams, together = (loss.nats_per_token for loss in self.losses)
        kept = "" if self.num_bytes is not None else "; not kept, as they gain too little"
        size = "" if self.num_bytes is None else f", {self.num_bytes / 1e6:.1f} MB"
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
    progress: Progress | None = None,
) -> Built:
    """Build the n-gram companion of a run's best weights and keep it in the run, if it helps.

    store: of the run's text, with validation text. order: of the longest n-grams; None: chosen by the
    tokenizer. least_gain: in nats per token of validation text; with less, nothing is written.

    Raises RunError when the weights are damaged or the run has links in it.
    """
    refuse_links(run.path)
    started = time.monotonic()
    model = LanguageModel.from_pretrained(run.path).to(device)
    vocab, tokenizer = model.vocab, run.tokenizer
    room = room_for_model(run.config.model)
    ngrams = count_training_text(store, tokenizer, vocab, order=order, max_bytes=room, progress=progress)
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
    return Built(ngrams.order, weight, losses, time.monotonic() - started, num_bytes)


def count_training_text(
    store: TokenStore,
    tokenizer: Tokenizer,
    vocab: ModelVocab,
    *,
    order: int | None = None,
    max_bytes: int | None = None,
    progress: Progress | None = None,
) -> NGramModel:
    """The n-grams of a store's training text, as model ids of vocab.

    order: of the longest n-grams; None: chosen by the tokenizer. max_bytes: of the model's arrays; None: no
    limit.
    """
    if order is None:
        order = ORDER_OF_CHARACTERS if tokenizer.kind in ("char", "byte") else ORDER
    ends = int(vocab.to_model_ids(np.array([tokenizer.end_of_text_id]))[0])
    return NGramModel.train(
        _pieces(store.tokens("train"), vocab, progress),
        vocab.size,
        order,
        start_id=ends if ends < vocab.size else None,
        max_bytes=max_bytes,
    )


def _pieces(token_ids: TokenArray, vocab: ModelVocab, progress: Progress | None) -> Iterator[np.ndarray]:
    """The model ids of a text, piece by piece, so that it need not fit into memory."""
    for start in range(0, len(token_ids), _PIECE_TOKENS):
        yield vocab.to_model_ids(token_ids[start : start + _PIECE_TOKENS])
        if progress is not None:
            progress("counting n-grams", min(start + _PIECE_TOKENS, len(token_ids)), len(token_ids))
