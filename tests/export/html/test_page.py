"""The page of `textgen export RUN html` in a real browser: the same network, the same text."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.browser import serious_problems, until
from tests.export.html.conftest import LOGITS, WRITE, Open, shown
from textgen.export.html.page import ENGINE_SCRIPTS, wasm
from textgen.export.source import ExportSource
from textgen.generation.generator import Generator
from textgen.ngram.companion import Companion
from textgen.ngram.model import NGramModel
from textgen.settings.config import SampleConfig
from textgen.weights.quantized import rounded

if TYPE_CHECKING:
    from tests.conftest import MakeRun
    from textgen.run import Run

NETWORKS: dict[str, dict[str, Any]] = {
    "lstm": {},
    "gru of two layers": {"cell": "gru", "num_layers": 2, "hidden_size": 33},
    "rnn": {"cell": "rnn", "hidden_size": 40, "embedding_dim": 5},
    "tied": {"tie_weights": True, "embedding_dim": 16, "hidden_size": 16},
    "tied, projected": {"tie_weights": True, "embedding_dim": 7, "hidden_size": 20},
    "residual gru": {"cell": "gru", "num_layers": 3, "residual": True},
    "residual, norm": {"num_layers": 2, "residual": True, "layer_norm": True},
    "norm, tied, projected": {"num_layers": 2, "layer_norm": True, "tie_weights": True, "hidden_size": 24},
    "labels": {"labels": ("sad", "glad"), "start_id": 0},
}


def ids_of(run: Run) -> list[int]:
    """Model ids to read: known tokens, the unseen one, and labels."""
    source = ExportSource.open(run)
    most = source.vocab.size + len(source.config.model.labels)
    return [int(each) for each in np.random.default_rng(0).integers(0, most + 1, 40)]


def expected_logits(run: Run, ids: list[int]) -> np.ndarray:
    engine = ExportSource.open(run).engine()
    engine.reset_state(1)
    return engine.read(np.array([ids]))[0]


def python_text(run: Run, prompt: str, label: str | None = None, **settings: Any) -> str:
    config = SampleConfig(**settings)
    return Generator.from_run(run).generate(prompt, config=config, label=label)[0].text


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_greedy_text_are_those_of_the_numpy_engine(
    name: str, make_run: MakeRun, open_page: Open
) -> None:
    run = make_run(**NETWORKS[name])
    page = open_page(run, weights="float32")
    ids = ids_of(run)
    assert np.abs(np.array(page.evaluate(LOGITS, ids)) - expected_logits(run, ids)).max() < 1e-4
    label = "glad" if name == "labels" else None
    written = page.evaluate(WRITE, {"prompt": "The", "temperature": 0, "maxTokens": 500, "label": label})
    assert written["text"] == python_text(run, "The", label, temperature=0, max_new_tokens=500)
    assert written["ending"] == "length"


def add_companion(run: Run, start_id: int | None = None) -> Run:
    """n-grams of a text that the run's tokens can write, kept beside the network."""
    vocab = ExportSource.open(run).vocab
    ids = vocab.to_model_ids(
        run.tokenizer.encode("The quick dog. Why? The lazy fox was not known; Why? " * 20)
    )
    ids[::97] = vocab.size  # and tokens that no n-gram reaches across
    model = NGramModel.train(ids, vocab.size, order=5, start_id=start_id)
    run.save_companion(Companion(model, 0.6), vocab)
    return run


@pytest.mark.parametrize("name", ["lstm", "labels"])
def test_with_n_grams_logits_and_greedy_text_are_those_of_the_mixture(
    name: str, make_run: MakeRun, open_page: Open
) -> None:
    run = make_run(**NETWORKS[name])
    add_companion(run, run.config.model.start_id)
    page = open_page(run, weights="float32")
    source, text = ExportSource.open(run), "The quick dog. Why? Thezy"
    ids = [*ids_of(run), *source.vocab.to_model_ids(run.tokenizer.encode(text)).tolist()]
    found = np.array(page.evaluate(LOGITS, ids))
    assert np.abs(found - expected_logits(run, ids)).max() < 1e-4
    alone = source.engine(ngram=False)
    alone.reset_state(1)
    assert np.abs(found - alone.read(np.array([ids]))[0]).max() > 0.1
    label = "glad" if name == "labels" else None
    written = page.evaluate(WRITE, {"prompt": "The", "temperature": 0, "maxTokens": 300, "label": label})
    assert written["text"] == python_text(run, "The", label, temperature=0, max_new_tokens=300)
    assert "n-grams" in str(page.locator("#summary").text_content())
    bare = open_page(run, weights="float32", ngram=False)
    assert "n-grams" not in str(bare.locator("#summary").text_content())
    assert np.abs(np.array(bare.evaluate(LOGITS, ids)) - found).max() > 0.1


def test_float16_is_close_and_int8_computes_with_the_weights_that_were_measured(
    make_run: MakeRun, open_page: Open
) -> None:
    run = make_run(num_layers=2)
    source, ids = ExportSource.open(run), ids_of(run)
    logits = np.array(open_page(run, weights="float16").evaluate(LOGITS, ids))
    assert 0 < np.abs(logits - expected_logits(run, ids)).max() < 5e-3
    engine = source.engine(rounded(source.weights, "int8"))
    engine.reset_state(1)
    logits = np.array(open_page(run, weights="int8").evaluate(LOGITS, ids))
    assert np.abs(logits - engine.read(np.array([ids]))[0]).max() < 1e-4
    assert np.abs(logits - expected_logits(run, ids)).max() > 1e-4


def test_without_webassembly_the_logits_are_the_same_to_the_last_bit(
    make_run: MakeRun, open_page: Open
) -> None:
    run = make_run(hidden_size=37, num_layers=2)
    page = open_page(run, weights="float32")
    ids = ids_of(run)
    assert page.evaluate("model.network.products.isFast")
    fast = page.evaluate(LOGITS, ids)
    assert not page.evaluate("(model = new TextModel(data, null)).network.products.isFast")
    assert page.evaluate(LOGITS, ids) == fast


def test_the_module_is_what_its_text_assembles_to() -> None:
    wasmtime = pytest.importorskip("wasmtime")
    import importlib.resources

    text = (importlib.resources.files("textgen.export.html") / "matvec.wat").read_text()
    # The names of variables, which the assembler adds in a section of its own at the end, are left out.
    assert bytes(wasmtime.wat2wasm(text)).startswith(wasm())
    assert len(wasm()) < 400


KINDS = ("char", "byte", "bpe", "word")
TEXT = (
    "The tired tiger's tower; the tigers' 42 towers. Don’t! naïve café 中文字 ends.\n\n"
    "\tSo\u00a0it was, it was.\n"
) * 20


@pytest.mark.parametrize("kind", KINDS)
def test_any_text_has_the_same_token_ids_as_in_python(kind: str, make_run: MakeRun, open_page: Open) -> None:
    run = make_run(kind=kind, text=TEXT)
    page = open_page(run)
    alphabet = st.one_of(
        st.sampled_from("The tired's’ 42.\n\t\r\u00a0\u0085\u2003\ufeff中é\u0301"),
        st.characters(codec="utf-8"),
    )
    texts: list[str] = []

    @given(st.lists(st.text(alphabet, max_size=60), min_size=1, max_size=5))
    def collect(drawn: list[str]) -> None:
        texts.extend(drawn)

    collect()
    texts += ["tower" * 60, " " * 70 + "x", "'" * 40, TEXT]
    found = page.evaluate("(texts) => texts.map((text) => model.tokenizer.encode(text))", texts)
    for text, ids in zip(texts, found, strict=True):
        assert ids == run.tokenizer.encode(text).tolist(), repr(text)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_text_of_every_tokenizer_continues_a_prompt_within_a_word_as_in_python(
    kind: str, make_run: MakeRun, open_page: Open
) -> None:
    run = make_run(kind=kind, text=TEXT)
    page = open_page(run, weights="float32")
    for prompt in ("The ti", "", "Don’t the tow", "中"):
        written = page.evaluate(WRITE, {"prompt": prompt, "temperature": 0})
        assert written["text"] == python_text(run, prompt, temperature=0, max_new_tokens=50), prompt


def test_filters_keep_the_tokens_that_python_keeps(make_run: MakeRun, open_page: Open) -> None:
    from textgen.generation.sampling import choose

    page = open_page(make_run())
    rng = np.random.default_rng(1)
    for settings in (
        {"temperature": 1.0}, {"temperature": 0.5, "top_k": 5}, {"temperature": 1.3, "top_p": 0.7},
        {"temperature": 1.0, "min_p": 0.2}, {"temperature": 0.8, "top_k": 9, "top_p": 0.9, "min_p": 0.1},
    ):  # fmt: skip
        logits = np.round(rng.normal(size=(60, 30)) * 3, 1)  # rounded, so that some are equal
        uniforms = rng.random(60)
        expected = choose(logits, SampleConfig(**settings), uniforms)
        off = {"top_k": None, "top_p": None, "min_p": None}
        found = page.evaluate(
            "([rows, settings, uniforms]) => rows.map((row, i) => choose(row, settings, uniforms[i]))",
            [logits.tolist(), off | settings, uniforms.tolist()],
        )
        assert found == expected.tolist()


def test_random_numbers_are_those_that_threefry_is_published_with(make_run: MakeRun, open_page: Open) -> None:
    page = open_page(make_run())
    assert page.evaluate("threefry(0, 0, 0, 0)") == [0x6B200159, 0x99BA4EFE]
    assert page.evaluate("threefry(0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3)") == [
        0xC4923A9C,
        0x483DF7A0,
    ]


def test_exp_log_and_tanh_are_exact_enough(make_run: MakeRun, open_page: Open) -> None:
    page = open_page(make_run())
    points = np.concatenate([np.linspace(-30, 30, 400), [-699.0, 0.0, 1e-9, 690.0]])
    found = np.array(
        page.evaluate("(points) => points.map((x) => [exp(x), log(exp(x)), tanh(x)])", points.tolist())
    )
    np.testing.assert_allclose(found[:, 0], np.exp(points), rtol=1e-13)
    np.testing.assert_allclose(found[:, 1], points, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[:, 2], np.tanh(points), atol=1e-15)


def test_the_same_seed_writes_the_same_text_and_a_stop_string_ends_it(
    make_run: MakeRun, open_page: Open
) -> None:
    page = open_page(make_run())
    one = page.evaluate(WRITE, {"prompt": "The", "seed": 5})
    assert page.evaluate(WRITE, {"prompt": "The", "seed": 5}) == one
    assert page.evaluate(WRITE, {"prompt": "The", "seed": 6}) != one
    stop = one["text"][10:13]
    cut = page.evaluate(WRITE, {"prompt": "The", "seed": 5, "stops": [stop, one["text"][11:13]]})
    assert cut["ending"] == "stop"
    assert cut["text"] == one["text"][: min(one["text"].index(stop), 10)]


NASTY = "</script><script>window.hacked=1</script><img src=x onerror=hacked=1>{script} <!-- &amp;"


def test_a_hostile_name_and_text_stay_text(make_run: MakeRun, open_page: Open) -> None:
    run = make_run(name="x", text=NASTY * 3)
    # A name cannot have a slash.
    hostile = run.path.rename(run.path.with_name("<script><img src=x onerror=hacked=1>{model}&amp;<!--"))
    page = open_page(type(run)(hostile), inspect=True)
    page.fill("#prompt", NASTY)
    page.click("#write")
    assert shown(page).startswith(NASTY)
    until(page, "reading.tokens.length > 50 && byId('read').childElementCount > 50")
    assert page.locator("#name").text_content() == hostile.name
    assert page.title() == hostile.name
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, script:not([type])").count() == 1


def test_its_policy_forbids_the_network(make_run: MakeRun, open_page: Open) -> None:
    run = make_run()
    page = open_page(run)
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert "unsafe-inline" not in policy


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_axe_finds_nothing_serious(
    make_run: MakeRun, open_page: Open, scheme: str, width: int
) -> None:
    run = make_run(labels=("sad", "glad"), start_id=0, text="word" * 40 + NASTY)
    # Axe's own scripts could not run under the page's policy.
    options = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme, "bypass_csp": True}
    page = open_page(run, "#prompt=" + "word" * 40 + "&seed=1", options, inspect=True)
    shown(page)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    until(page, "reading.tokens.length > 50")
    assert serious_problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_with_inspect_it_shows_the_surprise_of_what_is_typed(make_run: MakeRun, open_page: Open) -> None:
    from textgen.evaluation.score import Scorer

    run = make_run(kind="bpe", text=TEXT)
    page = open_page(run, inspect=True, weights="float32")
    page.fill("#prompt", "The tired tower é")
    until(page, "reading.tokens.length > 3")
    bits = page.evaluate("reading.tokens.reduce((sum, token) => sum + token.bits, 0)")
    (piece,) = Scorer.from_run(run).read(["The tired tower é"])
    assert bits == pytest.approx(piece.nats.sum() / np.log(2), abs=1e-3)
    page.hover("#read span >> nth=2")
    assert page.locator("#detail .bars bdi").count() == 8


def test_the_scripts_run_in_node_as_well(make_run: MakeRun, open_page: Open) -> None:
    import importlib.resources
    import shutil

    if shutil.which("node") is None:
        pytest.skip("needs node")
    run = make_run()
    page = open_page(run, weights="float32")
    data = page.evaluate("JSON.stringify(data)")
    ids = ids_of(run)
    folder = importlib.resources.files("textgen.export.html")
    scripts = "".join((folder / f"{name}.js").read_text() for name in ENGINE_SCRIPTS)
    scripts += f"const model = new TextModel({data}, null);"
    scripts += f"console.log(JSON.stringify(({LOGITS})({json.dumps(ids)})));"
    done = subprocess.run(["node", "-"], input=scripts, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == page.evaluate(LOGITS, ids)


def test_it_is_written_without_torch(make_run: MakeRun) -> None:
    run = make_run()
    code = (
        "import sys; from pathlib import Path; from textgen.export.formats import export;"
        f"from textgen.run import Run; export(Run({str(run.path)!r}), 'html', Path(sys.argv[1]));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, run.path.parent / "a.html"]).returncode == 0
