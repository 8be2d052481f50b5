"""`textgen export RUN html --inspect`: what the page shows of a text while it is typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser import until
from tests.export.html.conftest import Open
from textgen.export.source import ExportSource

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import MakeRun

TYPED = "The quick dog. Why?"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def type_in(page: Page, text: str) -> None:
    page.fill("#prompt", text)
    until(page, f"reading.tokens.length === {len(text)} && units.values.length === {len(text)}")


def colours(page: Page) -> list[str]:
    return page.evaluate("[...byId('read').children].map((span) => span.style.backgroundColor)")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_units_hold_what_inspect_records(cell: str, make_run: MakeRun, open_page: Open) -> None:
    from textgen.analysis.inspection.gates import record
    from textgen.models.language_model import LanguageModel
    from textgen.text.model_vocab import start_id

    run = make_run(cell=cell, num_layers=2, hidden_size=24)
    page = open_page(run, inspect=True, weights="float32")
    type_in(page, TYPED)
    vocab = ExportSource.open(run).vocab
    ids = vocab.to_model_ids(run.tokenizer.encode(TYPED))
    expected = record(LanguageModel.from_pretrained(run.path), ids, start_id(vocab, run.tokenizer)).state
    found = np.array(page.evaluate("units.values.map((each) => [...each])"))  # (N, L * H)
    assert np.abs(found - np.concatenate(list(expected), axis=1)).max() < 1e-5
    page.fill("#unit", "1:5")
    page.hover("#read span >> nth=4")
    value = expected[1, 4, 5]
    assert page.locator("#unit-value").text_content() == f"Unit 1:5: {value:.2f} after q"
    warm = ["--positive" in colour for colour in colours(page)]
    strong = np.abs(expected[1, :, 5]) > 0.1 * np.abs(expected[1, :, 5]).max()
    assert [each for each, is_strong in zip(warm, strong, strict=True) if is_strong] == (
        expected[1, strong, 5] > 0
    ).tolist()


def test_a_unit_is_chosen_in_the_picture_by_its_name_or_with_the_keys(
    make_run: MakeRun, open_page: Open
) -> None:
    page = open_page(make_run(num_layers=2, hidden_size=150), inspect=True)
    columns = page.evaluate("units.columns")
    assert 50 < columns < 150
    type_in(page, TYPED)
    by_surprisal = colours(page)
    # The second row of the second layer, of two rows per layer.
    page.click("#units", position={"x": 12 * 3 + 6, "y": 12 * 3 + 6})
    assert page.input_value("#unit") == f"1:{columns + 3}"
    assert page.locator("#by-unit").get_attribute("aria-pressed") == "true"
    assert colours(page) != by_surprisal
    assert not any("surprisal" in colour for colour in colours(page))
    page.focus("#units")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#unit") == "1:4"
    type_in(page, "The")  # stays chosen
    assert not any("surprisal" in colour for colour in colours(page))
    page.click("#by-surprisal")
    assert all("surprisal" in colour for colour in colours(page) if colour)
    for wrong in ("2:0", "0:150", "x", ""):
        page.fill("#unit", wrong)
        line = "There is no such unit: they are 0:0 to 1:149."
        assert page.locator("#unit-value").text_content() == line
    page.fill("#unit", "17")
    assert page.evaluate("units.chosen") == 17


def test_a_tap_on_a_phone_shows_what_was_expected_until_it_is_closed(
    make_run: MakeRun, open_page: Open
) -> None:
    page = open_page(make_run(), "#prompt=" + TYPED, PHONE, inspect=True)
    until(page, f"units.values.length === {len(TYPED)}")
    page.locator("#read span >> nth=5").tap()
    until(page, "!byId('detail').hidden && reading.place === 5")
    page.wait_for_timeout(100)
    box = "byId('detail').getBoundingClientRect().top"
    assert page.evaluate(f"byId('read').children[5].getBoundingClientRect().bottom < {box}")
    page.locator("#detail button").tap()
    until(page, "byId('detail').hidden")
    page.locator("#read span >> nth=6").tap()
    until(page, "!byId('detail').hidden && reading.place === 6")
    page.locator("#reading-title").tap()
    until(page, "byId('detail').hidden")


def test_of_a_long_text_it_reads_the_end_and_says_so(make_run: MakeRun, open_page: Open) -> None:
    page = open_page(make_run(), inspect=True)
    page.fill("#prompt", TYPED * 200)
    until(page, "reading.tokens.length === MOST_READ")
    assert page.locator("#read").text_content() == (TYPED * 200)[-2000:]
    bits = str(page.locator("#read-bits").text_content())
    assert bits.endswith("bits per character, in the last 2,000 characters")
