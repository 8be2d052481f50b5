"""textgen: train recurrent text generators and write new text with them.

    import textgen

    model = textgen.train("poems.txt", minutes=2)     # or textgen.load("runs/poems")
    print(model.generate("Shall I", temperature=0.8, seed=1).text)

Names load when they are first used, so that importing textgen is quick and loads no torch.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # without typing, which takes longer to load than the rest of a start
if TYPE_CHECKING:
    from typing import Any

    from textgen.api import TextModel, load, resume, train
    from textgen.errors import TextgenError
    from textgen.generation.generator import Generator
    from textgen.models.language_model import LanguageModel
    from textgen.models.recurrent import Recurrent
    from textgen.models.regressor import SequenceRegressor
    from textgen.ngram.model import NGramModel
    from textgen.run import Run
    from textgen.settings.config import ModelConfig, SampleConfig
    from textgen.text.tokenizer import Tokenizer

    __version__: str

_HOMES = {
    "TextModel": "textgen.api",
    "load": "textgen.api",
    "resume": "textgen.api",
    "train": "textgen.api",
    "ModelConfig": "textgen.settings.config",
    "SampleConfig": "textgen.settings.config",
    "TextgenError": "textgen.errors",
    "Generator": "textgen.generation.generator",
    "LanguageModel": "textgen.models.language_model",
    "Recurrent": "textgen.models.recurrent",
    "SequenceRegressor": "textgen.models.regressor",
    "NGramModel": "textgen.ngram.model",
    "Run": "textgen.run",
    "Tokenizer": "textgen.text.tokenizer",
}

__all__ = [
    "Generator",
    "LanguageModel",
    "ModelConfig",
    "NGramModel",
    "Recurrent",
    "Run",
    "SampleConfig",
    "SequenceRegressor",
    "TextModel",
    "TextgenError",
    "Tokenizer",
    "load",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("textgen.version").VERSION
    if name == "serving":
        return importlib.import_module("textgen.serving")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'textgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
