"""The file of an n-gram model: saved and read, and refused when it is damaged or a stranger's trick."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from textgen.errors import RunError
from textgen.ngram.file import read_ngrams, save_ngrams
from textgen.ngram.model import NGramModel

TOKENS = np.array([0, 1, 2, 0, 1, 3, 1, 0, 0, 1, 2, 4, 3] * 6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ngrams.safetensors"
    save_ngrams(NGramModel.train(TOKENS, 5, 4), path)
    return path


def test_a_saved_model_is_read_again(path: Path) -> None:
    model, found = NGramModel.train(TOKENS, 5, 4), read_ngrams(path)
    assert np.array_equal(found.read(TOKENS[None])[0], model.read(TOKENS[None])[0])
    assert path.stat().st_size < model.nbytes + 3000  # the header


def test_every_changed_byte_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(RunError, match="damaged"):
            read_ngrams(path)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_cut_file_is_refused(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RunError, match=r"ngrams\.safetensors: not a readable safetensors file"):
        read_ngrams(path)


def test_a_file_of_something_else_is_refused(path: Path) -> None:
    for arrays in ({"embedding.weight": np.zeros((3, 4), np.float32)}, {"info": np.zeros(4, np.float16)}):
        path.write_bytes(safetensors.numpy.save(arrays))
        with pytest.raises(RunError, match="damaged"):
            read_ngrams(path)


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_ngrams(tmp_path / "none.safetensors")
    with pytest.raises(RunError, match="not a regular file"):
        read_ngrams(tmp_path)
