"""Models, tokenize, detokenize and score."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import openai
import pytest

from textgen.serving.text_routes import _scored

if TYPE_CHECKING:
    from tests.conftest import Invoke, MakeRun
    from tests.serving.conftest import Serve, Served
    from textgen.generation.generator import Generator
    from textgen.run import Run


@pytest.fixture(scope="module")
def several(serve: Serve, run: Run, module_run: MakeRun) -> Served:
    """A server of two runs, one with a slash in its name."""
    return serve({"fox": run, "more/dogs": module_run("dogs", cell="gru", num_layers=2)})


def test_the_client_lists_and_finds_models(several: Served) -> None:
    cards = list(several.openai.models.list())
    assert [card.id for card in cards] == ["fox", "more/dogs"]
    assert several.openai.models.retrieve("more/dogs").created == cards[1].created
    with pytest.raises(openai.NotFoundError):
        several.openai.models.retrieve("cats")


def test_a_model_comes_with_what_is_to_be_known_of_the_run(several: Served) -> None:
    facts = several.http.get("/v1/models/more/dogs").json()["textgen"]
    assert facts["network"] == "2 x 16 GRU"
    assert facts["tokenizer"] == "char"
    assert facts["parameters"] > 1000
    assert (facts["labels"], facts["chat"], facts["ngrams"]) == ([], False, False)
    assert facts["bits_per_character"] is None  # it was never trained


def test_of_several_models_one_must_be_named(several: Served) -> None:
    status, error = several.error(prompt="The ", model="cats")
    assert (status, error["param"], error["code"]) == (404, "model", "model_not_found")
    assert several.error(prompt="The ")[0] == 400
    assert several.post(prompt="The ", model="more/dogs")["model"] == "more/dogs"


def test_text_becomes_ids_and_ids_become_text(served: Served, generator: Generator) -> None:
    text = "Why? 語"
    ids = generator.tokenizer.encode(text).tolist()
    assert served.post("/tokenize", prompt=text) == {"tokens": ids, "count": len(ids)}
    assert served.post("/tokenize", content=text)["tokens"] == ids
    found = served.post("/detokenize", tokens=ids)
    assert found == {"prompt": text, "content": text}


def test_pieces_that_are_no_characters_are_bytes(served: Served) -> None:
    pieces = served.post("/tokenize", prompt="y語", with_pieces=True)["tokens"]
    assert [piece["piece"] for piece in pieces] == ["y", [0xE8], [0xAA], [0x9E]]
    broken = served.post("/detokenize", tokens=[0xE8, 0xAA], with_pieces=True)
    assert broken["prompt"] == "�"
    assert [piece["piece"] for piece in broken["tokens"]] == [[0xE8], [0xAA]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}),
        ("/detokenize", {"tokens": [10**6]}),
        ("/detokenize", {"tokens": [-1]}),
        ("/v1/score", {"text": ""}),
        ("/v1/score", {"text": "a", "label": "b"}),
    ],
)
def test_what_cannot_be_read_is_refused(served: Served, path: str, body: dict[str, object]) -> None:
    assert served.error(path, **body)[0] == 400


@pytest.mark.parametrize("text", ["The dog.\nWhy? Ω\n\nIt is not known whether.\n", "x"])
def test_a_score_is_what_the_command_prints(served: Served, run: Run, invoke: Invoke, text: str) -> None:
    printed = json.loads(invoke("score", str(run.path), "--json", input=text).stdout)
    assert served.post("/v1/score", text=text) == printed | {"run": "fox"}


def test_scoring_ends_when_the_client_goes_away(served: Served) -> None:
    model, gone = served.service.model("fox"), threading.Event()
    gone.set()
    assert _scored(model, model.scorer, "The dog.\n" * 2_000, gone) is None


def test_too_many_texts_to_score_are_refused(serve: Serve, run: Run) -> None:
    served = serve({"fox": run}, max_scored=1)
    served.service.num_scored = 1
    answer = served.http.post("/v1/score", json={"text": "The dog"})
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    served.service.num_scored = 0
    served.post("/v1/score", text="The dog")
    assert served.service.num_scored == 0
