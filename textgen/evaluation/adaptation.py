"""Adapting a run to a text by dynamic evaluation: the loss on the text, and what has learnt from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from textgen.errors import ConfigError
from textgen.evaluation.dynamic import evaluate_dynamically, root_mean_squares
from textgen.evaluation.evaluate import TokenScorer, named
from textgen.evaluation.learning_mixture import LearningMixture
from textgen.evaluation.report import DynamicReport, MixtureReport, Report
from textgen.evaluation.with_ngrams import evaluate_with_companion
from textgen.models.language_model import LanguageModel
from textgen.ngram.companion import Companion
from textgen.run import Run
from textgen.settings.config import DynamicConfig
from textgen.text.encoding import Progress
from textgen.text.model_vocab import start_id
from textgen.text.store import TokenStore


@dataclass(frozen=True)
class Adaptation:
    """The result of adapting a run to a text.

    report: the losses as trained, and while adapting. model: the network with the weights at the end of the
    text. ngrams: what the n-grams have learnt; None where there are none.
    """

    report: DynamicReport
    model: LanguageModel
    ngrams: LearningMixture | None

    def companion(self) -> Companion | None:
        """The n-grams at the end of the text, to mix with the model; None where there are none."""
        return None if self.ngrams is None else self.ngrams.companion()

    def summary(self) -> str:
        """The static and the dynamic loss in one line, with n-grams where there are some."""
        static, dynamic = (
            report if isinstance(report, Report) else report.together
            for report in (self.report.static, self.report.dynamic)
        )
        return (
            f"{static.loss.tokens:,} tokens, {static.loss.nats_per_token:.4f} nats/token as trained, "
            f"{dynamic.loss.nats_per_token:.4f} while adapting"
        )


def adapt(
    run: Run,
    store: TokenStore,
    part: str,
    config: DynamicConfig,
    *,
    device: str,
    training_store: Callable[[], TokenStore],
    ngram: bool = True,
    progress: Progress | None = None,
) -> Adaptation:
    """Adapt the best weights of a run to a whole part of a store, read once, in float32 with batch size 1.

    training_store: opens the text that the run was trained on; called only for the method `rms`. ngram:
    whether the run's n-grams, if it has any, learn from the text too. Nothing is written to disk.

    Raises ConfigError for a weight of the network without n-grams, TrainingError when the weights diverge,
    RunError when the run's weights or n-grams are damaged, and whatever training_store raises.
    """
    model = LanguageModel.from_pretrained(run.path).to(device)
    companion = run.load_companion(model.vocab) if ngram else None
    if companion is None and config.network_weight is not None:
        raise ConfigError("a weight of the network does nothing without n-grams to mix it with: leave it out")
    scales = None
    if config.method == "rms":
        training_tokens = training_store().tokens("train")
        scales = root_mean_squares(
            model, training_tokens, config.window, named("reading the training text", progress)
        )
    static = evaluate_with_companion(
        run, store, part, companion, device=device, model=model, progress=progress
    )
    ngrams = None
    if companion is not None:
        costs = TokenScorer(model.vocab, run.tokenizer.vocab_size - model.vocab.size)
        ngrams = LearningMixture(model, companion, costs, config.network_weight)
    loss = evaluate_dynamically(
        model,
        store.tokens(part),
        vocab_size=run.tokenizer.vocab_size,
        start_id=start_id(model.vocab, run.tokenizer),
        config=config,
        labels=store.document_labels(part, run.tokenizer.end_of_text_id),
        root_mean_squares=scales,
        ngrams=ngrams,
        progress=named(f"adapting to {part}", progress),
    )
    network = Report(loss, store.size(part))
    dynamic: Report | MixtureReport = network
    if ngrams is not None:
        of_ngrams, together = (
            replace(network, loss=replace(loss, total_nats=nats))
            for nats in (ngrams.ngrams_nats, ngrams.together_nats)
        )
        dynamic = MixtureReport(network, of_ngrams, together, ngrams.weight)
    return Adaptation(DynamicReport(static, dynamic, config), model, ngrams)
