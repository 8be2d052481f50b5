"""What the page holds of a run, and which runs it cannot hold."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from textgen.errors import ConfigError
from textgen.export.html.data import packed, page_data, require_expressible
from textgen.export.source import ExportSource
from textgen.weights.shapes import parameter_shapes

if TYPE_CHECKING:
    from tests.conftest import MakeRun


def test_the_data_has_every_array_that_is_learned_and_int8_a_scale_for_each_row(make_run: MakeRun) -> None:
    source = ExportSource.open(make_run(labels=("a", "b"), start_id=0, num_layers=2, residual=True))
    arrays = packed(source.weights, "int8")
    assert arrays.keys() == parameter_shapes(source.config.model).keys()
    data = json.loads(page_data(source, arrays))
    embedding = data["arrays"]["embedding.weight"]
    assert embedding["type"] == "int8"
    scale = np.frombuffer(base64.b64decode(embedding["scale"]), "<f4")
    assert len(scale) == embedding["shape"][0] == source.vocab.size
    assert data["arrays"]["head.bias"]["type"] == "float32"
    assert data["config"]["labels"] == ["a", "b"]


def test_a_name_that_is_not_utf8_is_shown_as_far_as_it_is(make_run: MakeRun) -> None:
    run = make_run()
    odd = run.path.rename(os.fsdecode(os.fsencode(run.path) + b"-\xff"))
    assert ExportSource.open(type(run)(odd)).name == "tiny-?"


def test_a_cell_and_a_tokenizer_that_the_page_lacks_are_refused(make_run: MakeRun) -> None:
    source = ExportSource.open(make_run())
    require_expressible(source)
    model = replace(source.config.model)
    object.__setattr__(model, "cell", "mgu")
    with pytest.raises(ConfigError, match="the page has no cell mgu"):
        require_expressible(replace(source, config=replace(source.config, model=model)))
    source.tokenizer.kind = "external"
    with pytest.raises(ConfigError, match="is from another program"):
        require_expressible(source)
