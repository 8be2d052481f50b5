"""The alternatives of a token on the page: by mouse, keyboard and touch."""

from __future__ import annotations

import math
import re

import pytest
from playwright.sync_api import expect

from tests.browser import until
from tests.serving.page.conftest import (
    PROMPT,
    ServePage,
    Visit,
    finished,
    sampled,
    set_slider,
    texts,
    token,
    write,
)


def test_an_alternative_that_is_chosen_is_written_on_from_beside_the_first_text(
    serve_page: ServePage, visit: Visit
) -> None:
    server = serve_page()
    page = visit(server.url)
    write(page, PROMPT, seed=3)
    (before,) = texts(page)
    token(page, 4).click()
    chosen = page.locator(".choices button:not(.actual)").first
    name = page.evaluate(
        "(({tokens}) => tokens[4].alternatives.find(([name]) => name !== tokens[4].name)[0])"
        "(columns.list[0].branch)"
    )
    chosen.click()
    finished(page, 1)
    assert texts(page)[0] == before
    shared = before[: len(PROMPT) + 4]
    assert texts(page)[1].startswith(shared + name)
    ids = server.service.models["tiny"].generator.tokenizer.encode(shared + name)
    assert texts(page)[1] == shared + name + sampled(page, server, prompt=ids, seed=3)
    assert token(page, 4, column=1).get_attribute("class") == "chosen"
    assert page.evaluate("document.activeElement === columns.list[1].text")
    page.click("#undo")
    assert texts(page) == [before]


def test_pointing_at_a_token_shows_what_else_was_likely(serve_page: ServePage, visit: Visit) -> None:
    server = serve_page()
    page = visit(server.url)
    write(page, PROMPT, seed=3)
    box = page.locator("#detail")
    assert not box.is_visible()
    token(page, 3).hover()
    expect(box).to_be_visible()
    ids = page.evaluate("columns.list[0].branch.continued")[: len(PROMPT) + 3]
    body = {"prompt": ids, "max_tokens": 1, "logprobs": 8}
    answer = page.request.post(f"{server.url}v1/completions", data=body).json()
    likely = sorted(map(math.exp, answer["choices"][0]["logprobs"]["top_logprobs"][0].values()), reverse=True)
    shown = [float(share) for share in re.findall(r"([\d.]+)%", box.locator(".choices").inner_text())]
    assert shown[:8] == pytest.approx([100 * share for share in likely[:8]], abs=0.6)
    box.hover()
    page.wait_for_timeout(500)
    assert box.is_visible()
    page.mouse.move(2, 2)
    expect(box).not_to_be_visible()


def test_the_keyboard_writes_moves_between_tokens_chooses_and_undoes(
    serve_page: ServePage, visit: Visit
) -> None:
    page = visit(serve_page().url)
    set_slider(page, "max_tokens", 10)
    page.focus("#prompt")
    page.keyboard.type("The")
    page.keyboard.press("Control+Enter")
    until(page, "columns.list.length === 1")
    finished(page)
    page.locator(".branch .text").focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert "cursor" in str(token(page, 1).get_attribute("class"))
    assert "Others: " in page.locator("#live").inner_text()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement === document.querySelectorAll('.choices button')[1]")
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    assert page.evaluate("document.activeElement === columns.list[0].text")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    until(page, "columns.list.length === 2")
    finished(page, 1)
    page.keyboard.press("Control+Enter")
    until(page, "columns.list[1].branch.tokens.length === 22")
    page.keyboard.press("Control+z")
    assert page.evaluate("columns.list[1].branch.tokens.length") == 12
    page.keyboard.press("Control+z")
    assert len(texts(page)) == 1


def test_the_alternatives_stay_beside_their_token_when_the_text_scrolls(
    serve_page: ServePage, visit: Visit
) -> None:
    page = visit(serve_page().url)
    write(page, PROMPT, seed=3, max_tokens=2000)
    page.locator(".branch .text").focus()
    for key in ("Home", "End", "ArrowLeft"):
        page.keyboard.press(key)
        page.wait_for_timeout(100)
        assert page.locator("#detail").is_visible()
        gap = page.evaluate(
            """(() => {
                const box = byId("detail").getBoundingClientRect();
                const span = document.querySelector(".cursor").getBoundingClientRect();
                return Math.min(Math.abs(box.top - span.bottom), Math.abs(span.top - box.bottom));
            })()"""
        )
        assert gap < 15
    top = "byId('detail').getBoundingClientRect().top"
    before = page.evaluate(top)
    page.evaluate("columns.list[0].text.scrollTop -= 12")
    until(page, f"Math.abs({top} - {before} - 12) < 2")
    page.evaluate("columns.list[0].text.scrollTop = 0")
    expect(page.locator("#detail")).not_to_be_visible()


def test_on_a_phone_a_tap_shows_the_alternatives_and_a_button_closes_them(
    serve_page: ServePage, visit: Visit
) -> None:
    page = visit(serve_page().url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    write(page, PROMPT, seed=3)
    token(page, 4).tap()
    box = page.locator("#detail").bounding_box()
    assert box is not None
    assert (box["x"], box["width"]) == (0, 390)
    sizes = page.locator(".choices button").evaluate_all("all => all.map((each) => each.offsetHeight)")
    assert min(sizes) >= 44
    page.get_by_role("button", name="Close", exact=True).tap()
    assert not page.locator("#detail").is_visible()
    token(page, 4).tap()
    page.locator(".choices button").nth(1).tap()
    until(page, "columns.list.length === 2")
    finished(page, 1)
