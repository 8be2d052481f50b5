"""textgen: train recurrent text generators and write new text with them.

    from textgen import LanguageModel, ModelConfig, SequenceRegressor, Generator, Tokenizer

Names load when they are first used, so that importing textgen is quick and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textgen.errors import TextgenError
    from textgen.generation.generator import Generator
    from textgen.models.language_model import LanguageModel
    from textgen.models.recurrent import Recurrent
    from textgen.models.regressor import SequenceRegressor
    from textgen.run import Run
    from textgen.settings.config import ModelConfig, SampleConfig
    from textgen.text.tokenizer import Tokenizer

    __version__: str

_HOMES = {
    "ModelConfig": "textgen.settings.config",
    "SampleConfig": "textgen.settings.config",
    "TextgenError": "textgen.errors",
    "Generator": "textgen.generation.generator",
    "LanguageModel": "textgen.models.language_model",
    "Recurrent": "textgen.models.recurrent",
    "SequenceRegressor": "textgen.models.regressor",
    "Run": "textgen.run",
    "Tokenizer": "textgen.text.tokenizer",
}

__all__ = [
    "Generator",
    "LanguageModel",
    "ModelConfig",
    "Recurrent",
    "Run",
    "SampleConfig",
    "SequenceRegressor",
    "TextgenError",
    "Tokenizer",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("textgen.version").VERSION
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'textgen' has no attribute {name!r}")
