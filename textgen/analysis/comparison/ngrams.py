"""The n-gram model of a comparison: counted once from the training text, and judged as the networks are.

training text ─ count ─→ NGramModel ─┐
validation text ─────────────────────┴─→ NGramFigures ─→ ngram.json, which a repeated command reads
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textgen.errors import ConfigError, RunError
from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.report import Report
from textgen.evaluation.score import token_nats
from textgen.ngram.model import NGramModel
from textgen.run import Run
from textgen.settings.option import from_mapping
from textgen.system.atomic import write_file
from textgen.system.bounded_files import RUN_FILE_LIMIT, parse_json, read_bounded
from textgen.system.progress import Reporter
from textgen.text.encoding import Progress
from textgen.text.model_vocab import ModelVocab, start_id
from textgen.text.stored_tokens import TokenArray
from textgen.text.token_costs import TokenCosts

NGRAM_FILE = "ngram.json"
_PROBABILITIES = 2**20  # how many are computed at a time
_MOST_AT_ONCE = 2**13  # tokens


@dataclass(frozen=True, kw_only=True)
class NGramFigures:
    """The figures of an n-gram model, which has no seed.

    parameters: its entries, the n-grams of all lengths that were counted and not pruned. order: the length of
    the longest in tokens. seconds: that counting took. nats_per_token, bits_per_character: on the whole
    validation text, which has so many tokens. remarks: what limits the model.
    """

    order: int
    parameters: int
    seconds: float
    nats_per_token: float
    bits_per_character: float
    tokens: int
    unseen_tokens: int
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"ngram: of up to {self.order} tokens, {self.parameters:,} entries, counted in "
            f"{self.seconds:.1f} s, validation {self.nats_per_token:.4f} nats/token"
        )


def kept_ngrams(directory: Path, run: Run, cache_dir: Path, reporter: Reporter) -> NGramFigures:
    """The figures of an n-gram model of a run's text, from NGRAM_FILE in a directory, else measured.

    They are measured again where the file is of another text or other tokens.

    Raises RunError when the file is damaged, and what measure_ngrams raises.
    """
    path = directory / NGRAM_FILE
    text = {"corpus": run.measured("corpus_fingerprint"), "tokenizer": run.tokenizer.fingerprint}
    if path.is_file():
        try:
            content = parse_json(read_bounded(path, RUN_FILE_LIMIT, "the n-grams of a comparison"))
            if content["text"] == text:
                return _checked(from_mapping(NGramFigures, content["figures"]))
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
            raise RunError(f"{path}: cannot be read; remove it to have n-grams counted again") from error
    figures = measure_ngrams(run, cache_dir, reporter.work)
    write_file(path, json.dumps({"text": text, "figures": dataclasses.asdict(figures)}, indent=2) + "\n")
    reporter.line(str(figures))
    return figures


def _checked(figures: NGramFigures) -> NGramFigures:
    numbers = (value for value in vars(figures).values() if isinstance(value, int | float))
    if not all(0 <= number < math.inf for number in numbers):
        raise ValueError("a figure that is negative, infinite or NaN")
    return figures


def measure_ngrams(run: Run, cache_dir: Path, progress: Progress | None = None) -> NGramFigures:
    """Count the n-grams of a run's training text, and measure their loss on its validation text.

    The tokens are those of the network, whose weights are not read. Raises what Run.open_store raises.
    """
    from textgen.training.ngrams import count_training_text  # loads torch

    store = run.open_store(cache_dir, progress)
    tokenizer, vocab = run.tokenizer, ModelVocab.from_counts(store.counts)
    started = time.monotonic()
    model = count_training_text(store, tokenizer, vocab, progress=progress)
    seconds = time.monotonic() - started
    costs = TokenCosts(vocab, tokenizer.vocab_size - vocab.size)
    loss = evaluate_ngrams(model, store.tokens("val"), costs, start_id(vocab, tokenizer), progress)
    return NGramFigures(
        order=model.order,
        parameters=model.num_entries,
        seconds=seconds,
        nats_per_token=loss.nats_per_token,
        bits_per_character=Report(loss, store.size("val")).bits_per_character,
        tokens=loss.tokens,
        unseen_tokens=loss.unseen_tokens,
        remarks=tuple(model.remarks()),
    )


def evaluate_ngrams(
    model: NGramModel,
    token_ids: TokenArray,
    costs: TokenCosts,
    start_id: int | None,
    progress: Progress | None = None,
) -> Loss:
    """The cross-entropy of token ids (N,) under n-grams alone, each token counted once.

    As evaluation.evaluate.evaluate does for a network: the text begins after the start token, a model id,
    without which its first token is scored by training frequency, and tokens that training never saw cost
    the same.
    """
    vocab, size = costs.vocab, len(token_ids)
    total, num_unseen, first = 0.0, 0, 0
    before = start_id
    if before is None and size:
        before, first = int(vocab.to_model_ids(token_ids[:1])[0]), 1
        total, num_unseen = costs.first_nats(before), int(before == vocab.size)
    step = min(max(_PROBABILITIES // vocab.size, 16), _MOST_AT_ONCE)
    state = model.start(1)
    for start in range(first, size, step):
        targets = vocab.to_model_ids(token_ids[start : start + step])  # (T,)
        inputs = np.concatenate([[before], targets[:-1]])
        log_probs, state = model.read(inputs[None], state)  # (1, T, V)
        total += float(token_nats(log_probs, targets[None], costs).sum())
        num_unseen += int((targets == vocab.size).sum())
        before = int(targets[-1])
        if progress is not None:
            progress("evaluating n-grams", start + len(targets), size)
    return Loss(total, size, num_unseen)
