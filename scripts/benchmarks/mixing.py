"""Characters per second of a network beside n-grams on a CPU, against the same network alone.

Untrained networks with a vocabulary of 65 characters, beside the n-grams of data/tales.txt without its other
characters. The weight of the network is so small that the texts come to the contexts of real ones. `score`
reads the end of the same text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Comparison, Goal, alternate
from benchmarks.sampling import (
    BATCH_SIZE,
    CHARACTERS,
    TEMPERATURE,
    UNIT,
    Writer,
    make_model,
    make_tokenizer,
    our_engine,
    speeds,
)
from textgen.evaluation.score import Scorer
from textgen.evaluation.summary import summarize
from textgen.generation.generator import Generator
from textgen.generation.mixed_engine import MixedEngine
from textgen.ngram.companion import Companion
from textgen.ngram.model import NGramModel
from textgen.settings.config import SampleConfig
from textgen.training.planning.counting import default_order, prune_from

TEXT = Path(__file__).parents[2] / "data" / "tales.txt"
# At this temperature the n-grams keep their own distribution.
WEIGHT = 1 - TEMPERATURE
SCORED_CHARACTERS = 20_000
GOALS = {256: Goal("ratio", 0.65), 512: Goal("ratio", 0.85)}
GOAL_OF_MANY = Goal("ratio", 0.5)


def measure(*, rounds: int, only: str) -> Iterator[Comparison]:
    """Measure every case whose name contains `only`."""
    text = "".join(character for character in TEXT.read_text(encoding="utf-8") if character in CHARACTERS)
    for units, goal in GOALS.items():
        cases = [f"lstm, {units} units, {way}" for way in ("one text", f"{BATCH_SIZE} texts", "score")]
        one, many, score = cases
        if not any(only in case for case in cases):
            continue
        both = _with_and_without(units, text)
        if only in one:
            yield _sampled(one, both, 1, goal, rounds)
        if only in many:
            yield _sampled(many, both, BATCH_SIZE, GOAL_OF_MANY, rounds)
        if only in score:
            yield _scored(score, both, text[-SCORED_CHARACTERS:], rounds)


def _with_and_without(units: int, text: str) -> list[Generator]:
    model, tokenizer = make_model("lstm", units), make_tokenizer()
    ids = model.vocab.to_model_ids(tokenizer.encode(text))
    ngrams = NGramModel.train(
        ids, model.vocab.size, default_order(tokenizer.kind), prune_from=prune_from(len(ids))
    )
    companion = Companion(ngrams, WEIGHT)
    mixed = MixedEngine(our_engine(model), companion)
    return [Generator(engine, tokenizer) for engine in (mixed, our_engine(model))]


def _sampled(case: str, generators: list[Generator], num_samples: int, goal: Goal, rounds: int) -> Comparison:
    def writer(generator: Generator) -> Writer:
        def write(count: int) -> None:
            config = SampleConfig(max_new_tokens=count)
            if num_samples > 1:
                generator.generate(" ", num_samples=num_samples, seed=0, config=config)
            else:
                for _ in generator.stream(" ", seed=0, config=config):
                    pass

        return write

    ours, alone = speeds(*map(writer, generators), rounds=rounds)
    return Comparison(case, "without n-grams", UNIT, ours * num_samples, alone * num_samples, goal)


def _scored(case: str, generators: list[Generator], text: str, rounds: int) -> Comparison:
    ours, alone = (Scorer(generator.engine, generator.tokenizer) for generator in generators)
    times = alternate(
        lambda: summarize(ours.read([text])), lambda: summarize(alone.read([text])), rounds=rounds
    )
    mixed, network = (len(text) / time for time in times)
    return Comparison(case, "without n-grams", UNIT, mixed, network, GOAL_OF_MANY)
