"""The file of an n-gram model: safetensors with a digest of itself, as the weights of a network have.

It holds pieces of the training text: every n-gram that was not pruned.
"""

from __future__ import annotations

from pathlib import Path

from textgen.ngram.arrays import damaged
from textgen.ngram.model import NGramModel
from textgen.system.atomic import write_file
from textgen.system.digests import DamagedError
from textgen.weights.file import read_arrays, weights_file


def save_ngrams(model: NGramModel, path: Path) -> None:
    """Write the file of a model completely or not at all. Raises OSError."""
    write_file(path, weights_file(model.to_arrays()))


def read_ngrams(path: Path) -> NGramModel:
    """The model of a file, which may come from a stranger.

    Raises FileNotFoundError, PermissionError; RunError for a file that is not one of save_ngrams.
    """
    try:
        arrays = read_arrays(path)
    except DamagedError as error:
        raise damaged(str(path), str(error)) from error
    return NGramModel.from_arrays(arrays, str(path))
