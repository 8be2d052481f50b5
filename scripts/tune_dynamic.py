"""Find the best settings of dynamic evaluation for a corpus, without reading its validation text.

    corpus   |------------------- first nine tenths -------------------|--- last tenth ---|
             |-------------- train ---------------|-- tune on this ----|    never read
                                                                       = validation by default

A run is trained on the first nine tenths of the text, and its own validation text, their last tenth, is used
for tuning. For each method the settings are tuned one at a time, starting from the defaults and keeping the
best value of each. Each line of the table shows settings and their loss, and their `gain` over the loss with
fixed weights. At last, the best settings are measured with the n-grams of the run, for several weights of the
network in the mixture.

Examples:
    python scripts/tune_dynamic.py data/faq.txt
    python scripts/tune_dynamic.py data/faq.txt --tokenizer bpe --steps 1000 --tokens 5000 --json FILE
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from benchmarks.command import OutputFile, Script
from benchmarks.runs import end_together, textgen

from textgen.errors import TrainingError
from textgen.evaluation.dynamic import evaluate_dynamically, root_mean_squares
from textgen.evaluation.evaluate import TokenScorer, evaluate
from textgen.evaluation.learning_mixture import NETWORK_WEIGHTS, LearningMixture
from textgen.models.language_model import LanguageModel
from textgen.run import Run
from textgen.settings.config import DYNAMIC_METHODS, DynamicConfig
from textgen.text.model_vocab import start_id

# The factors tried on each setting, in the order of tuning.
FACTORS = {
    "rate": (0.25, 0.5, 2, 4),
    "decay": (0, 0.3, 3, 10),
    "window": (0.25, 0.5, 2),
    "clip_norm": (0.3, 3),
}


class Tuning:
    """Measures settings of dynamic evaluation on the first tokens of a run's validation text."""

    def __init__(self, run: Run, cache_dir: Path, num_tokens: int) -> None:
        store = run.open_store(cache_dir, None)
        self._model = LanguageModel.from_pretrained(run.path)
        self._companion = run.load_companion(self._model.vocab)
        self._train, self._text = store.tokens("train"), store.tokens("val")[:num_tokens]
        self._scoring: dict[str, Any] = {
            "vocab_size": run.tokenizer.vocab_size,
            "start_id": start_id(self._model.vocab, run.tokenizer),
        }
        self.static = evaluate(self._model, self._text, **self._scoring).nats_per_token

    @property
    def tokens(self) -> int:
        """The number of tokens that each loss is a mean over."""
        return len(self._text)

    def search(self) -> Iterator[tuple[DynamicConfig, float]]:
        """Yield settings and their nats per token, as they are measured."""
        for method in DYNAMIC_METHODS:
            best = DynamicConfig(method=method)
            lowest = self._measure(best)
            yield best, lowest
            for name, factors in FACTORS.items():
                start = getattr(best, name)
                for factor in factors:
                    value = max(1, round(start * factor)) if name == "window" else start * factor
                    config = dataclasses.replace(best, **{name: value})
                    loss = self._measure(config)
                    yield config, loss
                    if loss < lowest:
                        best, lowest = config, loss
            for weight in NETWORK_WEIGHTS if self._companion is not None else ():
                config = dataclasses.replace(best, network_weight=weight)
                yield config, self._measure(config)

    def _measure(self, config: DynamicConfig) -> float:
        """Nats per token, of the mixture where its weight is given; infinity if the network diverges."""
        model = copy.deepcopy(self._model)
        ngrams = None
        if config.network_weight is not None and self._companion is not None:
            costs = TokenScorer(model.vocab, self._scoring["vocab_size"] - model.vocab.size)
            ngrams = LearningMixture(model, self._companion, costs, config.network_weight)
        scales = root_mean_squares(model, self._train, config.window) if config.method == "rms" else None
        try:
            loss = evaluate_dynamically(
                model, self._text, config=config, root_mean_squares=scales, ngrams=ngrams, **self._scoring
            )
        except TrainingError:
            return math.inf
        return loss.nats_per_token if ngrams is None else ngrams.together_nats / loss.tokens


def _number(loss: float) -> float | None:
    """The loss for JSON, which has no infinity: None instead."""
    return loss if math.isfinite(loss) else None


def train_without_the_end(corpus: Path, arguments: list[str], folder: Path) -> Run:
    """Train a run in a folder on a text without its last tenth. Raises ClickException when it fails."""
    try:
        text = corpus.read_bytes().decode()  # line ends are kept, as `textgen train` keeps them
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{corpus}: byte {error.start} is not UTF-8; convert the file") from error
    (folder / "corpus.txt").write_bytes(text[: int(len(text) * 0.9)].encode())
    places = [str(folder / "corpus.txt"), "--run", str(folder / "run"), "--cache-dir", str(folder / "cache")]
    textgen("train", *places, *arguments)
    return Run(folder / "run")


@click.command(cls=Script, help=__doc__)
@click.argument("corpus", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--tokenizer",
    default="char",
    show_default=True,
    metavar="KIND",
    help="As for textgen train.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=2500, show_default=True, help="Training steps of the run."
)
@click.option("--hidden-size", type=click.IntRange(min=1), help="Units of the run.  [default: chosen]")
@click.option(
    "--tokens", type=click.IntRange(min=1), default=20_000, show_default=True, help="Tokens to tune on."
)
@click.option("--json", "json_path", type=OutputFile(), help="Also write the results to FILE.")
def main(
    corpus: Path, tokenizer: str, steps: int, hidden_size: int | None, tokens: int, json_path: Path | None
) -> None:
    """Train a run, tune on it, and print the table."""
    end_together()
    arguments = ["--tokenizer", tokenizer, "--steps", str(steps)]
    if hidden_size is not None:
        arguments += ["--hidden-size", str(hidden_size)]
    with tempfile.TemporaryDirectory(prefix="textgen-") as directory:
        folder = Path(directory)
        run = train_without_the_end(corpus, arguments, folder)
        tuning = Tuning(run, folder / "cache", tokens)
        click.echo(f"static: {tuning.static:.4f} nats/token over {tuning.tokens:,} tokens")
        click.echo("method      rate     decay  window  clip-norm  network  nats/token     gain")
        found: dict[str, Any] = {"static": tuning.static, "results": []}
        for config, loss in tuning.search():
            weight = "alone" if config.network_weight is None else config.network_weight
            click.echo(
                f"{config.method:6}{config.rate:10g}{config.decay:10g}{config.window:8}{config.clip_norm:11g}"
                f"{weight:>9}{loss:12.4f}{tuning.static - loss:9.4f}"
            )
            found["results"].append(dataclasses.asdict(config) | {"nats_per_token": _number(loss)})
            if json_path is not None:
                json_path.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
