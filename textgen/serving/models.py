"""ServedModel: a run that is being served, with all that requests need of it, loaded before the first one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from textgen.api import TextModel, load
from textgen.evaluation.score import Scorer
from textgen.generation.generator import Generator
from textgen.generation.loop import GenerationLoop
from textgen.generation.prompt import Prompt
from textgen.generation.request import Request
from textgen.measurements import summarize_measurements
from textgen.models.cost import num_parameters
from textgen.run import WEIGHTS
from textgen.serving.schema import ModelCard, ModelFacts
from textgen.serving.token_names import TokenNames
from textgen.settings.config import RunConfig, SampleConfig
from textgen.text.normalize import normalize

_AS_IT_IS, _HEALED = SampleConfig(heal=False), SampleConfig(heal=True)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A run under the name that requests call it by."""

    name: str
    config: RunConfig
    generator: Generator
    scorer: Scorer
    token_names: TokenNames
    card: ModelCard
    prompts: GenerationLoop  # never stepped: it makes prompts, in any thread

    @classmethod
    def load(cls, name: str, source: TextModel | Path | str) -> ServedModel:
        """Load a run, or take one that is loaded. Raises RunError, ConfigError, TokenizerError."""
        model = source if isinstance(source, TextModel) else load(source)
        generator = model.generator
        return cls(
            name=name,
            config=model.run.config,
            generator=generator,
            scorer=Scorer(generator.engine, generator.tokenizer),
            token_names=TokenNames(generator.tokenizer, generator.vocab),
            card=_card(name, model),
            prompts=GenerationLoop(generator.engine, generator.tokenizer),
        )

    def loop(self) -> GenerationLoop:
        """A new generation loop."""
        return GenerationLoop(self.generator.engine, self.generator.tokenizer)

    def normalized(self, text: str) -> str:
        """A text in the Unicode form of the run's text."""
        return normalize(text, self.generator.normalize)

    def prompt(self, prompt: str | list[int], *, heal: bool) -> Prompt:
        """A prompt, as `textgen sample` makes it of a text; ids are read as they are.

        heal: give tokens back at the end of a text that may end within a word.

        Raises TokenizerError for a text that cannot be read, ConfigError for what is no token id.
        """
        if isinstance(prompt, str):
            prompt = self.normalized(prompt)
        return self.prompts.prompt_of(Request(prompt=prompt, config=_HEALED if heal else _AS_IT_IS))


def _card(name: str, model: TextModel) -> ModelCard:
    run, config = model.run, model.run.config
    network = config.model
    final = summarize_measurements(run.metrics_path).final or {}
    facts = ModelFacts(
        network=f"{network.num_layers} x {network.hidden_size} {network.cell.upper()}",
        tokenizer=config.data.tokenizer,
        labels=list(network.labels),
        chat=config.data.chat_template is not None,
        parameters=num_parameters(network),
        bits_per_character=final.get("bits_per_character"),
        ngrams=model.uses_ngrams,
    )
    created = int((run.path / WEIGHTS).stat().st_mtime)
    return ModelCard(id=name, created=created, textgen=facts)
