"""Adapting a run to a text by dynamic evaluation: the loss on the text and the adapted weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textgen.evaluation.cross_entropy import Loss
from textgen.evaluation.dynamic import evaluate_dynamically, root_mean_squares
from textgen.evaluation.evaluate import evaluate, named
from textgen.evaluation.report import DynamicReport, Report
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.settings.config import DynamicConfig
from textgen.text.encoding import Progress
from textgen.text.model_vocab import start_id
from textgen.text.store import TokenStore


@dataclass(frozen=True)
class Adaptation:
    """The result of adapting a run to a text.

    static: the loss under the trained weights. dynamic: the loss under weights that adapt to the text while
    they predict it. model: the network with the weights at the end of the text.
    """

    static: Loss
    dynamic: Loss
    model: LanguageModel

    def summary(self) -> str:
        """The static and the dynamic loss in one line."""
        return (
            f"{self.static.tokens:,} tokens, {self.static.nats_per_token:.4f} nats/token as trained, "
            f"{self.dynamic.nats_per_token:.4f} while adapting"
        )


def adapt(
    run: Run,
    store: TokenStore,
    part: str,
    config: DynamicConfig,
    *,
    device: str,
    training_store: Callable[[], TokenStore],
    progress: Progress | None = None,
) -> Adaptation:
    """Adapt the best weights of a run to a whole part of a store, read once, in float32 with batch size 1.

    training_store: opens the text that the run was trained on; called only for the method `rms`. Nothing is
    written to disk.

    Raises TrainingError when the weights diverge, RunError when the run's weights are damaged, and whatever
    training_store raises.
    """
    model = LanguageModel.from_pretrained(run.path).to(device)
    scales = None
    if config.method == "rms":
        training_tokens = training_store().tokens("train")
        scales = root_mean_squares(
            model, training_tokens, config.window, named("reading the training text", progress)
        )
    start = start_id(model.vocab, run.tokenizer)
    labels = store.document_labels(part, run.tokenizer.end_of_text_id)
    static = evaluate(
        model,
        store.tokens(part),
        vocab_size=run.tokenizer.vocab_size,
        start_id=start,
        labels=labels,
        progress=named(f"evaluating on {part}", progress),
    ).require_finite()
    dynamic = evaluate_dynamically(
        model,
        store.tokens(part),
        vocab_size=run.tokenizer.vocab_size,
        start_id=start,
        config=config,
        labels=labels,
        root_mean_squares=scales,
        progress=named(f"adapting to {part}", progress),
    )
    return Adaptation(static, dynamic, model)


def evaluate_run_dynamically(
    run: Run,
    store: TokenStore,
    part: str,
    config: DynamicConfig,
    *,
    device: str,
    training_store: Callable[[], TokenStore],
    progress: Progress | None = None,
) -> DynamicReport:
    """Evaluate a run as evaluate_run does, and again by dynamic evaluation.

    The arguments and errors are those of `adapt`.
    """
    adaptation = adapt(
        run, store, part, config, device=device, training_store=training_store, progress=progress
    )
    size = store.size(part)
    return DynamicReport(Report(adaptation.static, size), Report(adaptation.dynamic, size), config)
