"""The page of `textgen inspect` in a real browser with the network off."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from textgen.analysis.inspection.gates import Record
from textgen.analysis.inspection.inspection import Inspection
from textgen.analysis.inspection.page import encode_series, page_data, render_page, write_page
from textgen.analysis.inspection.selectivity import measure_selectivity

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Inspect = Callable[..., Inspection]
MEGABYTE = 10**6


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """show(inspection, wanted, **browser options) opens the page from disk; errors in it fail the test."""
    problems: list[str] = []
    contexts = []

    def open_page(inspection: Inspection, wanted: str | None = None, **options: Any) -> Page:
        path = tmp_path / "page.html"
        write_page(inspection, inspection.units(wanted), path)
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_timeout(50)
        assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def token(page: Page, index: int) -> Any:
    return page.locator(f"#text span[data-token='{index}']")


@pytest.mark.parametrize(
    ("cell", "kind"), [("lstm", "char"), ("gru", "byte"), ("rnn", "bpe"), ("lstm", "word")]
)
def test_every_cell_and_tokenizer_loads_without_a_network_or_an_error(
    show: Callable[..., Page], inspect_text: Inspect, cell: str, kind: str
) -> None:
    inspection = inspect_text(cell=cell, kind=kind, num_layers=2, residual=True, layer_norm=True)
    page = show(inspection)
    assert page.locator("h1").inner_text() == "Inside tiny"
    assert page.locator("#text span").count() == len(inspection.excerpt.token_ids)
    assert page.locator("#heats canvas").count() == len(inspection.record.series)
    assert page.locator("#scatters canvas").count() == len(inspection.record.gates)
    assert page.locator("#saturation").is_visible() == (cell != "rnn")
    assert ("A plain RNN has no gates" in page.locator("#heat-note").inner_text()) == (cell == "rnn")


@pytest.mark.parametrize("text", ["x", "\n", "ab"])
def test_a_text_of_one_or_two_tokens_loads(
    show: Callable[..., Page], inspect_text: Inspect, text: str
) -> None:
    page = show(inspect_text(text, known="abx\n"))
    assert page.get_by_text("may be chance").is_visible()
    token(page, 0).hover()
    assert "bits" in page.locator("#detail").inner_text()


def test_markup_in_the_text_is_shown_as_text(show: Callable[..., Page], inspect_text: Inspect) -> None:
    page = show(inspect_text(name="<i>a&b"))
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.scripts.length") == 2
    assert "reads </script><script>window.hacked = 2</script>: " in page.locator("#summary").inner_text()
    assert page.locator("#text b, #text img").count() == 0
    assert "</script><script>window.hacked = 1</script>" in page.locator("#text").text_content()
    assert page.locator("h1").inner_text() == "Inside <i>a&b"
    assert page.title() == "Inside <i>a&b"


def test_hovering_shows_the_surprisal_and_the_most_likely_tokens(
    show: Callable[..., Page], inspect_text: Inspect
) -> None:
    inspection = inspect_text()
    page = show(inspection)
    detail = page.locator("#detail")
    assert not detail.is_visible()
    token(page, 3).hover()
    shown = detail.inner_text()
    assert f"{inspection.surprisal.bits[3]:.2f} bits" in shown
    likeliest = [round(100 * share, 1) for share in inspection.surprisal.probabilities[3]]
    bars = [float(share) for share in re.findall(r"([\d.]+)%", detail.locator(".bars").inner_text())]
    assert bars == pytest.approx(likeliest, abs=0.1)
    names = [inspection.run.tokenizer.token_text(int(i)) for i in inspection.alternative_ids[3]]
    assert detail.locator(".bars bdi").all_inner_texts() == [name.replace(" ", "␣") for name in names]
    page.mouse.move(2, 2)
    assert not detail.is_visible()


def colour(page: Page, place: int) -> str:
    return str(token(page, place).evaluate("span => span.style.backgroundColor"))


def test_the_text_is_coloured_by_surprisal_and_then_by_the_selected_unit(
    show: Callable[..., Page], inspect_text: Inspect
) -> None:
    inspection = inspect_text(num_layers=2)
    page = show(inspection)
    bits = inspection.surprisal.bits
    few, many = int(bits.argmin()), int((bits * (bits < np.quantile(bits, 0.9))).argmax())
    strengths = [
        float(colour(page, place).removeprefix("rgb(var(--surprisal) / ")[:-1]) for place in (few, many)
    ]
    assert strengths[0] / strengths[1] == pytest.approx(bits[few] / bits[many], abs=0.01)
    page.locator("#units button").nth(2).click()
    layer, unit = inspection.selectivity.ranking[2]
    assert f"Unit {layer}:{unit}: " in page.locator("#card h3").inner_text()
    assert page.locator("#modes [aria-pressed=true]").inner_text() == "Cell state"
    series = inspection.record.series["cell"][layer, :, unit]
    for place in (0, 7, 31):
        hue, strength = re.findall(r"--(\w+)\) / ([\d.]+)", colour(page, place))[0]
        assert hue == ("positive" if series[place] > 0 else "negative")
        assert float(strength) == pytest.approx(abs(series[place]) / np.abs(series).max(), abs=0.01)
    page.get_by_role("button", name="Forget gate").click()
    hue, strength = re.findall(r"--(\w+)\) / ([\d.]+)", colour(page, 7))[0]
    assert hue == "gate"
    assert float(strength) == pytest.approx(inspection.record.series["forget"][layer, 7, unit], abs=0.01)


def test_a_unit_shows_where_it_peaks_and_how_often_its_gates_are_shut_and_open(
    show: Callable[..., Page], inspect_text: Inspect
) -> None:
    inspection = inspect_text()
    page = show(inspection)
    page.locator("#units button").nth(1).click()
    layer, unit = inspection.selectivity.ranking[1]
    shut, is_open = inspection.saturation["output"]
    bars = page.locator("#card .bars").inner_text()
    assert re.search(r"Output gate\s+(?P<shut>[\d.]+)% shut, (?P<open>[\d.]+)% open", bars)
    figures = re.findall(r"([\d.]+)% shut, ([\d.]+)% open", bars)[-1]
    expected = 100 * shut[layer, unit], 100 * is_open[layer, unit]
    assert [float(figure) for figure in figures] == pytest.approx(expected, abs=0.51)
    page.locator("#card .high").first.click()
    highest = int(inspection.record.state[layer, :, unit].argmax())
    assert token(page, highest).get_attribute("class") == "cursor"
    assert page.locator("#detail").is_visible()


def test_arrows_move_between_tokens_and_units(show: Callable[..., Page], inspect_text: Inspect) -> None:
    inspection = inspect_text()
    page = show(inspection)
    token(page, 10).click()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert token(page, 21).get_attribute("class") == "cursor"
    assert f"{inspection.surprisal.bits[21]:.2f} bits" in page.locator("#live").inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.locator("#units button").nth(1).get_attribute("aria-pressed") == "true"
    assert page.locator("#units [aria-pressed=true]").count() == 1
    page.keyboard.press("1")
    assert page.locator("#modes [aria-pressed=true]").inner_text() == "Surprisal"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()


def test_text_and_units_can_be_searched(show: Callable[..., Page], inspect_text: Inspect, nasty: str) -> None:
    page = show(inspect_text())
    page.keyboard.press("/")
    page.keyboard.type("ÉTUDE")
    page.keyboard.press("Enter")
    places = [match.start() for match in re.finditer("Étude", nasty)]
    assert token(page, places[0]).get_attribute("class") == "cursor"
    page.keyboard.press("Enter")
    assert token(page, places[1]).get_attribute("class") == "cursor"
    page.locator("#filter").fill("0:3")
    names = page.locator("#units li:visible .name").all_text_contents()
    assert names == ["0:3"]
    assert page.locator("#count").inner_text() == "1 of 16 units"


def test_a_heat_map_shows_the_value_under_the_pointer_and_a_click_selects_its_unit(
    show: Callable[..., Page], inspect_text: Inspect
) -> None:
    inspection = inspect_text()
    page = show(inspection)
    canvas = page.locator("#heats canvas").nth(3)  # cell, hidden, input, forget
    canvas.hover(position={"x": 3, "y": 18 + 4 * 5 + 2})  # the first token, the sixth unit
    layer, unit = inspection.selectivity.ranking[5]
    readout = page.locator("#heats figcaption small").nth(3).inner_text()
    value = float(re.fullmatch(rf"H in unit {layer}:{unit}: ([\d.]+)", readout)[1])  # type: ignore[index]
    assert value == pytest.approx(inspection.record.series["forget"][layer, 0, unit], abs=0.01)
    canvas.click(position={"x": 3, "y": 18 + 4 * 5 + 2})
    assert f"Unit {layer}:{unit}: " in page.locator("#card h3").inner_text()


def test_only_the_units_asked_for_are_shown_at_every_token_and_the_others_say_how(
    show: Callable[..., Page], inspect_text: Inspect
) -> None:
    inspection = inspect_text(num_layers=2)
    page = show(inspection, "1:4-6")
    assert "3 of 32" in page.locator("#heat-note").inner_text()
    page.locator("#filter").fill("0:2")
    page.locator("#units button:visible").first.click()
    card = page.locator("#card").inner_text()
    assert "textgen inspect --units 0:2" in card
    assert "where it is lowest" in card.lower()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_screen_and_the_text_contrasts_with_its_background(
    show: Callable[..., Page], inspect_text: Inspect, nasty: str, scheme: str, width: int
) -> None:
    text = "word" * 100 + " " + nasty
    page = show(inspect_text(text), viewport={"width": width, "height": 844}, color_scheme=scheme)
    for mode in ("Surprisal", "Cell state", "Input gate"):
        page.get_by_role("button", name=mode).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)(byId('text'))") <= 0
    light = page.evaluate("getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0]
    assert (int(light) > 128) == (scheme == "light")
    # The strongest backgrounds behind text; WCAG 2 asks for a contrast of at least 4.5.
    for name in ("surprisal", "gate", "positive", "negative"):
        assert page.evaluate(CONTRAST, name) >= 4.5, name


CONTRAST = """name => {
    const probe = document.body.appendChild(document.createElement("i"));
    const luminance = (colour) => {
        probe.style.color = colour;
        const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map((c) => {
            const part = c / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [ink, ground] = [luminance("var(--ink)"), luminance(`rgb(var(--${name}))`)];
    probe.remove();
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
}"""


def test_on_a_phone_a_tap_shows_the_details_and_a_button_closes_them(
    show: Callable[..., Page], inspect_text: Inspect
) -> None:
    inspection = inspect_text()
    page = show(inspection, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    token(page, 4).tap()
    assert f"{inspection.surprisal.bits[4]:.2f} bits" in page.locator("#detail").inner_text()
    page.get_by_role("button", name="Close", exact=True).tap()
    assert not page.locator("#detail").is_visible()


def test_all_controls_have_accessible_names(show: Callable[..., Page], inspect_text: Inspect) -> None:
    page = show(inspect_text())
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, canvas, [tabindex]')].filter((control) =>"
        " !(control.getAttribute('aria-label') || control.textContent).trim()).map((c) => c.outerHTML)"
    )
    assert unnamed == []


def test_without_javascript_the_page_says_that_it_needs_it(
    show: Callable[..., Page], inspect_text: Inspect
) -> None:
    page = show(inspect_text(), java_script_enabled=False)
    assert "JavaScript" in page.locator("noscript").inner_text()


# ---- without a browser


def large(inspect_text: Inspect, text: str, **options: Any) -> Inspection:
    """An inspection of a 2 x 384 LSTM with random values, as computing real ones would take minutes."""
    inspection = inspect_text(text, num_layers=1, **options)
    rng = np.random.default_rng(0)
    length = len(inspection.excerpt.token_ids)
    values = rng.normal(size=(2, length, 384)).astype(np.float32)
    recorded = Record(dict.fromkeys(inspection.record.series, values), inspection.record.outputs)
    return dataclasses.replace(
        inspection, record=recorded, selectivity=measure_selectivity(values, inspection.features)
    )


@pytest.mark.parametrize(
    ("text", "kind", "fewest_units"), [("Some words.\n" * 420, "char", 64), ("中文字。\n" * 1000, "byte", 16)]
)
def test_the_page_of_a_large_network_and_5000_characters_is_below_5_megabytes(
    inspect_text: Inspect, text: str, kind: str, fewest_units: int
) -> None:
    inspection = large(inspect_text, text[:5000], kind=kind)
    units = inspection.units(None)
    assert len(units) >= fewest_units
    assert len(render_page(inspection, units).encode()) < 5 * MEGABYTE


@pytest.mark.parametrize("signed", [False, True])
def test_quantized_series_are_off_by_at_most_half_a_step_and_0_is_exact(signed: bool) -> None:
    values = np.random.default_rng(0).uniform(-3 if signed else 0, 3 if signed else 1, (4, 500))
    values[:, 0] = 0
    values[3] = 0
    codes, scales = encode_series(values.astype(np.float32), signed=signed)
    assert codes.dtype == np.uint8
    decoded = (codes - 128.0) / 127 * scales[:, None] if signed else codes / 255
    steps = np.maximum(scales, 1e-9)[:, None] / (127 if signed else 255)
    assert (np.abs(decoded - values) <= 0.501 * steps + 1e-7).all()
    assert (decoded[:, 0] == 0).all()


def test_the_data_cannot_end_its_element_and_is_complete(inspect_text: Inspect) -> None:
    inspection = inspect_text()
    units = inspection.units(None)
    page = render_page(inspection, units)
    block = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert json.loads(block) == json.loads(json.dumps(page_data(inspection, units)))
    assert "<" not in block
    assert page.count("<script") == 2
