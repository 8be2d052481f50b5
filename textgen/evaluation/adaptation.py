"""A run that follows a text: what it makes of the text, and what the text makes of it."""

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
from textgen.text.model_vocab import start_id
from textgen.text.store import Progress, TokenStore


@dataclass(frozen=True)
class Adaptation:
    """What a text did to a run: its loss under the weights as trained (static) and under weights that
    followed it (dynamic), and the network with the weights as the text's end left them.
    """

    static: Loss
    dynamic: Loss
    model: LanguageModel

    def summary(self) -> str:
        """In one line what the weights made of the text before they followed it, and meanwhile."""
        return (
            f"{self.static.tokens:,} tokens, {self.static.nats_per_token:.4f} nats/token as trained, "
            f"{self.dynamic.nats_per_token:.4f} while following them"
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
    """Let the best weights of a run follow a whole part of a store, once, in float32 and one lane.

    training_store opens the text that the run was trained on; it is called for the method `rms` alone. On
    disk nothing changes.

    Raises TrainingError when the rate is too high, RunError when the run's weights are damaged, and what
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
    static = evaluate(
        model,
        store.tokens(part),
        vocab_size=run.tokenizer.vocab_size,
        start_id=start,
        progress=named(f"evaluating on {part}", progress),
    ).of_sound_weights()
    dynamic = evaluate_dynamically(
        model,
        store.tokens(part),
        vocab_size=run.tokenizer.vocab_size,
        start_id=start,
        config=config,
        root_mean_squares=scales,
        progress=named(f"following {part}", progress),
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
    """As evaluate_run, and again with weights that follow the text.

    training_store opens the text that the run was trained on; it is called for the method `rms` alone.

    Raises TrainingError when the weights leave all bounds, and what training_store raises.
    """
    adaptation = adapt(
        run, store, part, config, device=device, training_store=training_store, progress=progress
    )
    size = store.size(part)
    return DynamicReport(Report(adaptation.static, size), Report(adaptation.dynamic, size), config)
