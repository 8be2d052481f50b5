"""The form of the page and its links: which request they stand for, and what they refuse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode

import click
import pytest

from tests.browser import until
from tests.export.html.conftest import WRITE, Open, shown
from textgen.cli.sample import ANY_SEED
from textgen.cli.support.options import Number
from textgen.errors import ConfigError
from textgen.settings.config import SampleConfig

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import MakeRun

SLICE = "document.documentElement.outerHTML.length"  # lets the page run on


def fragment_of(page: Page) -> str:
    """The fragment of the link that the page copies."""
    page.click("#share")
    return "#" + page.url.split("#")[1]


def seed_line(page: Page) -> str | None:
    line = page.locator("#seed-problem")
    return line.text_content() if line.is_visible() else None


def problem(page: Page) -> str | None:
    line = page.locator("#problem")
    return line.text_content() if line.is_visible() else None


def test_it_writes_on_a_click_and_its_tokens_are_coloured(make_run: MakeRun, open_page: Open) -> None:
    page = open_page(make_run())
    assert page.locator("#share").is_disabled()  # there is no text yet
    page.fill("#prompt", "The quick")
    page.click("#write")
    text = shown(page)
    assert text.startswith("The quick")
    assert len(text) > 50
    assert page.locator("#text span[style]").count() > 5


def test_a_link_writes_the_text_that_was_shown_whatever_the_form_says_by_then(
    make_run: MakeRun, open_page: Open
) -> None:
    run = make_run(labels=("sad", "glad"), start_id=0)
    page = open_page(run)
    page.fill("#prompt", "The quick\nbrown + fox & 100% é")
    page.select_option("#label", "glad")
    page.evaluate("setSlider('temperature', 1.35)")
    page.evaluate("setSlider('top_k', 20)")
    page.evaluate("setSlider('top_p', 0.95)")
    page.evaluate("setSlider('min_p', 0.01)")
    page.evaluate("setSlider('max_tokens', 200)")
    page.fill("#stop", "\\\\\nqqqq")
    page.click("#write")  # with a seed that is drawn
    text = shown(page)
    page.fill("#prompt", "Another beginning")
    page.fill("#seed", "")
    page.fill("#stop", "e")
    page.select_option("#label", "")
    page.evaluate("for (const { name } of SLIDERS) setSlider(name, data.defaults[name])")
    other = open_page(run, fragment_of(page))
    assert shown(other) == text
    request = "JSON.stringify({ ...sheet.writer.request, seed: String(sheet.writer.request.seed) })"
    assert other.evaluate(request) == page.evaluate(request)
    other.click("#write")  # its form shows that request
    assert shown(other) == text


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_the_link_to_a_text_that_was_stopped_ends_where_it_was_stopped(
    kind: str, make_run: MakeRun, open_page: Open
) -> None:
    run = make_run(kind=kind, text="The tired tiger's café tower.\n" * 30)
    page = open_page(run)
    page.fill("#prompt", "The tir")
    page.evaluate("setSlider('max_tokens', 1e8)")
    page.click("#write")
    page.evaluate(SLICE)
    page.keyboard.press("Escape")
    text = shown(page)
    assert page.evaluate("sheet.writer.ending") == "stopped"
    assert len(text) > len("The tir")
    assert shown(open_page(run, fragment_of(page))) == text
    # Even before the first token, of which the prompt may have the beginning.
    page.evaluate("sheet.begin(new Writer(model, requestOf(3n))), stopWriting(), sheet.update()")
    text = shown(page)
    assert shown(open_page(run, fragment_of(page))) == text


SEEDS = (
    "7", " 7 ", "+7", "007", "-0", "1_000", "4294967296", "18446744073709551617", "9" * 4300,
    "1e3", "-1", "1.5", "1.0", "1__0", "_1", "0x10", "inf", "", " ", "abc", "1 2", "9" * 4301,
)  # fmt: skip


def test_it_takes_the_seeds_that_sample_takes(make_run: MakeRun, open_page: Open) -> None:
    page = open_page(make_run())
    read = "(text) => { try { return String(readSeed(text)); } catch (error) { return error.name; } }"
    for text in SEEDS:
        try:
            expected = str(Number(int, ANY_SEED).convert(text, None, None))
        except click.BadParameter:
            expected = "RangeError"
        assert page.evaluate(read, text) == expected, text


@pytest.mark.parametrize("seed", ["1e3", "-1", "1.5", "abc"])
@pytest.mark.parametrize("way", ["click", "keys"])
def test_a_wrong_seed_is_refused_at_its_field(
    seed: str, way: str, make_run: MakeRun, open_page: Open
) -> None:
    page = open_page(make_run())
    page.fill("#seed", seed)
    page.click("#write") if way == "click" else page.keyboard.press("Control+Enter")
    line = "The seed must be a whole number, 0 or more; empty it for a random one."
    assert seed_line(page) == line
    assert page.evaluate("sheet.writer") is None
    assert page.input_value("#seed") == seed
    page.fill("#seed", "1")
    assert seed_line(page) is None
    page.click("#write")
    shown(page)


def test_large_seeds_write_texts_of_their_own_and_small_ones_do_not_depend_on_their_type(
    make_run: MakeRun, open_page: Open
) -> None:
    run = make_run()
    page = open_page(run)
    keys = page.evaluate("[0n, 1n, 2n ** 64n, 2n ** 64n + 1n, 2n ** 128n, 2n ** 200n].map(keyOf).map(String)")
    assert len(set(keys)) == 6
    assert page.evaluate("String(keyOf(123456789012n)) === String(keyOf(123456789012))")
    assert page.evaluate("keyOf(123456789012)") == [123456789012 % 2**32, 123456789012 // 2**32]
    page.fill("#seed", str(2**100 + 1))
    page.click("#write")
    text = shown(page)
    fragment = fragment_of(page)
    assert parse_qs(fragment[1:])["seed"] == [str(2**100 + 1)]
    assert shown(open_page(run, fragment)) == text


# Settings of hand-made links, by which `textgen sample` would stop as well, or not.
SETTINGS = {
    "temperature": ("0.33", "0", "2.5", "1e-1", ".5", "abc", "-1", "", "inf", "nan", "1e999", "0x1"),
    "top_k": ("7", "1000", "1", "-3", "0", "1.5", "abc", ""),
    "top_p": ("0.123", "1", "0", "1.01", "-0.1", "abc"),
    "min_p": ("0.005", "0", "1", "2"),
    "max_tokens": ("7", "12345", "0", "1.5", "-1"),
}


def python_value(name: str, text: str) -> float | None:
    """The value that `textgen sample` would take; None: it would refuse the text."""
    option = {"max_tokens": "max_new_tokens"}.get(name, name)
    try:
        value = (int if name in ("top_k", "max_tokens") else float)(text)
        SampleConfig(**{option: value})
    except (ValueError, ConfigError):
        return None
    return value


def test_settings_of_a_link_are_taken_exactly_or_refused_as_sample_would(
    make_run: MakeRun, open_page: Open
) -> None:
    page = open_page(make_run())
    for name, texts in SETTINGS.items():
        for text in texts:
            page.evaluate("(fragment) => { location.hash = ''; location.hash = fragment; }", f"{name}={text}")
            value = python_value(name, text)
            if value is None:
                until(page, f"byId('problem').textContent.includes('{name}={text} must be ')")
            else:
                until(page, f"settings.values.{name} === {value}")
                until(page, "byId('problem').hidden")
    page.evaluate("location.hash = 'top_k=off&top_p=off&min_p=off&seed=1'")
    until(page, "sheet.writer?.ending && settings.values.top_k === OFF")
    steps = page.evaluate("SLIDERS.map(({ values }) => values.filter((value) => value !== OFF))")
    assert all(each == sorted(each) for each in steps)
    assert page.evaluate("SLIDERS.map(({ name, values }) => byId(`slider-${name}`).max - values.length)") == [
        -1
    ] * len(steps)


def test_a_link_with_wrong_parts_names_them_all_in_one_line_and_writes_nothing(
    make_run: MakeRun, open_page: Open
) -> None:
    parts = [("prompt", "The"), ("seed", "1e3"), ("label", "mad"), ("temperature", "off"), ("colour", "red"),
             ("stop", ""), ("top_k", "4"), ("top_k", "5")]  # fmt: skip
    page = open_page(make_run(labels=("sad", "glad"), start_id=0), "#" + urlencode(parts))
    assert problem(page) == (
        "This link is wrong, so nothing was written: seed=1e3 must be a whole number, 0 or more; "
        "label=mad is no label of this model; temperature=off must be 0 or more and finite; "
        "colour=red is not known; stop= must not be empty; top_k=5 is given twice."
    )
    assert page.evaluate("sheet.writer") is None
    assert page.input_value("#prompt") == "The"
    page.click("#write")
    assert problem(page) is None
    shown(page)


def test_a_link_to_a_label_of_a_model_without_labels_is_refused(make_run: MakeRun, open_page: Open) -> None:
    page = open_page(make_run(), "#prompt=The&label=" + "x" * 500)
    line = problem(page)
    assert line is not None
    assert re.search("label=x{40}… cannot be used: this model has no labels", line)


def test_what_a_second_link_leaves_out_is_as_on_a_new_page(make_run: MakeRun, open_page: Open) -> None:
    run = make_run(labels=("sad", "glad"), start_id=0)
    page = open_page(run, "#prompt=The&seed=5&label=glad&stop=e&temperature=1.7&max_tokens=20")
    shown(page)
    page.evaluate("location.hash = 'prompt=Why&seed=6'")
    until(page, "sheet.writer.ending && sheet.writer.request.prompt === 'Why'")
    assert shown(page) == shown(open_page(run, "#prompt=Why&seed=6"))
    page.evaluate("location.hash = 'text'")  # a place in the page
    page.evaluate(SLICE)
    assert problem(page) is None


def test_each_line_of_the_stop_field_ends_the_text(make_run: MakeRun, open_page: Open) -> None:
    run = make_run()
    page = open_page(run)
    page.fill("#seed", "5")
    page.click("#write")
    text = shown(page)
    first, second = text[30:33], text[20:23].replace("\\", "\\\\").replace("\n", "\\n")
    page.fill("#stop", f"{first}\n\n{second}\n")
    page.click("#write")
    cut = shown(page)
    assert page.evaluate("sheet.writer.request.stops.length") == 2
    expected = page.evaluate(
        WRITE, {"prompt": "", "seed": 5, "temperature": 0.8, "maxTokens": 500, "stops": [first, text[20:23]]}
    )
    assert cut == expected["text"]
    assert len(cut) <= 20
    fragment = fragment_of(page)
    assert len(parse_qs(fragment[1:])["stop"]) == 2
    assert shown(open_page(run, fragment)) == cut
    # A line end in a hand-made link is the same as \n.
    one, other = (open_page(run, f"#seed=5&stop={stop}") for stop in ("%5Cn", "%0A"))
    assert shown(one) == shown(other)
    assert one.evaluate("sheet.writer.request.stops") == ["\n"]
    assert other.input_value("#stop") == "\\n"
