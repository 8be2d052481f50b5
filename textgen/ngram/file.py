"""The file of an n-gram model: safetensors with a digest of itself, as the weights of a network have.

It holds pieces of the training text: every n-gram that was not pruned.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from textgen.ngram.arrays import damaged
from textgen.ngram.model import NGramModel
from textgen.system.atomic import write_file
from textgen.system.digests import DamagedError
from textgen.weights.file import check_digest, check_header_size, weights_file

_TYPES = ("I64", "F64", "U8", "U16", "U32")


def save_ngrams(model: NGramModel, path: Path) -> None:
    """Write the file of a model completely or not at all. Raises OSError."""
    write_file(path, weights_file(model.to_arrays()))


def read_ngrams(path: Path) -> NGramModel:
    """The model of a file, which may come from a stranger.

    Raises FileNotFoundError, PermissionError; RunError for a file that is not one of save_ngrams.
    """
    try:
        check_header_size(path)
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            for name in names:
                found = file.get_slice(name).get_dtype()
                if found not in _TYPES:
                    raise damaged(str(path), f"{name} is of type {found}")
            check_digest(path, required=True)
            arrays = {name: file.get_tensor(name) for name in names}
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, SafetensorError, DamagedError) as error:
        raise damaged(str(path), f"not a readable safetensors file ({error})") from error
    return NGramModel.from_arrays(arrays, str(path))
