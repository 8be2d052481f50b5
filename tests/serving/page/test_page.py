"""The page of `textgen serve` in a real browser, with a real server."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.browser import serious_problems, until
from tests.serving.page.conftest import (
    NASTY,
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
from textgen.generation.sampling import keep_min_p, keep_top_k, keep_top_p
from textgen.serving.page.page import serve_page as assembled
from textgen.settings.config import SampleConfig


def test_another_run_can_be_chosen_and_its_labels_with_it(serve_page: ServePage, visit: Visit) -> None:
    server = serve_page(
        plain={}, labelled={"labels": ("comedy", "tragedy"), "start_id": 0, "hidden_size": 24}
    )
    page = visit(server.url)
    expect(page.locator("#name")).to_have_text("plain")
    expect(page.locator("#label-choice")).not_to_be_visible()
    write(page, PROMPT, seed=1)
    page.select_option("#model", "labelled")
    expect(page.locator("#summary")).to_contain_text("1 x 24 LSTM")
    page.select_option("#label", "tragedy")
    write(page, PROMPT, seed=1)
    expected = sampled(page, server, prompt=PROMPT, seed=1, label="tragedy")
    assert texts(page)[0] == PROMPT + expected
    assert "labelled · seed 1" in page.locator(".branch header").first.inner_text()
    with page.expect_request("**/v1/completions") as sent:
        page.get_by_role("button", name="Go on: Text 1").click()
    assert json.loads(str(sent.value.post_data))["model"] == "plain"
    finished(page, 1)


def test_settings_are_sent_as_they_are_shown_and_say_what_they_do(
    serve_page: ServePage, visit: Visit
) -> None:
    page = visit(serve_page().url)
    values = {"temperature": 1.5, "top_p": 0.9, "top_k": 5, "min_p": 0.05, "max_tokens": 10, "copies": 2}
    before = page.locator(".slider .note").all_inner_texts()
    for name, value in values.items():
        set_slider(page, name, value)
    for slider, old, new in zip(values, before, page.locator(".slider .note").all_inner_texts(), strict=True):
        assert old != new, slider
    assert "1.6 times as often" in page.locator("#slider-temperature-meaning").inner_text()
    sent: list[dict[str, Any]] = []
    page.on("request", lambda request: sent.append(json.loads(request.post_data or "{}")))
    page.fill("#seed", "7")
    page.click("#write")
    until(page, "columns.list.length === 2")
    finished(page, 0)
    finished(page, 1)
    assert sorted(body["seed"] for body in sent) == [7, 8]
    del values["copies"]
    assert all(body.items() >= values.items() for body in sent)
    assert page.locator(".branch h3").all_inner_texts() == ["Text 2", "Text 1"]
    assert "seed 7" in page.locator(".branch header").first.inner_text()
    for name in ("top_p", "top_k", "min_p"):
        set_slider(page, name, "off")
    page.click("#write")
    until(page, "columns.list.length === 4")
    assert not {"top_p", "top_k", "min_p"} & sent[-1].keys()


def test_the_bars_of_the_settings_are_what_sampling_draws(serve_page: ServePage, visit: Visit) -> None:
    page = visit(serve_page().url)
    probabilities = [0.4, 0.2, 0.14, 0.1, 0.08, 0.04, 0.03, 0.01]
    for temperature, top_k, top_p, min_p in [
        (1, None, None, None), (0.5, 3, None, None), (1.3, None, 0.75, None), (0.9, None, None, 0.3),
        (1.6, 6, 0.8, 0.2), (0, None, None, None), (0.05, None, 0.05, None),
    ]:  # fmt: skip
        logits = np.log(probabilities)[None] / max(temperature, 1e-3)
        logits -= logits.max()
        for keep, value in ((keep_top_k, top_k), (keep_top_p, top_p), (keep_min_p, min_p)):
            logits = logits if value is None else keep(logits, value)  # type: ignore[operator]
        expected = np.exp(logits[0]) / np.exp(logits[0]).sum()
        values = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        shown = page.evaluate(
            "([shares, values]) => drawnShares(shares, values)",
            [probabilities, {name: "off" if value is None else value for name, value in values.items()}],
        )
        assert shown == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_request_that_is_refused_says_why_in_one_line(serve_page: ServePage, visit: Visit) -> None:
    page = visit(serve_page().url, complaints=True)
    page.fill("#prompt", "The dog. " * 20_000)
    page.click("#write")
    expect(page.get_by_role("alert")).to_be_visible()
    message = page.locator("#error").inner_text()
    assert message.startswith("prompt: ")
    assert "\n" not in message
    page.get_by_role("button", name="Close the message").click()
    expect(page.get_by_role("alert")).not_to_be_visible()
    write(page, PROMPT, seed=1)
    assert len(texts(page)[0]) == len(PROMPT) + 20


def test_a_key_is_asked_for_where_the_server_wants_one_and_kept_until_the_tab_is_closed(
    serve_page: ServePage, visit: Visit
) -> None:
    page = visit(serve_page(keys=("secret",)).url, complaints=True)
    expect(page.locator("#key")).to_be_focused()
    assert page.locator("#error").inner_text() == "This server needs an API key."
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#error")).to_have_text("The server does not take this key.")
    page.fill("#key", "secret")
    page.keyboard.press("Enter")
    expect(page.locator("#name")).to_have_text("tiny")
    expect(page.locator("#key")).not_to_be_visible()
    write(page, PROMPT, seed=1)
    page.reload()
    expect(page.locator("#name")).to_have_text("tiny")
    assert page.evaluate("localStorage.length + document.cookie.length") == 0


def test_markup_and_control_characters_are_text(serve_page: ServePage, visit: Visit) -> None:
    page = visit(serve_page(tiny={"text": NASTY}).url)
    prompt = NASTY[:150].replace("\r", "")  # which a text field leaves out
    write(page, prompt, seed=1, max_tokens=200)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.scripts.length") == 2
    assert page.locator(".branch .text :is(b, img, script)").count() == 0
    assert texts(page)[0].startswith(prompt)
    shown = str(page.locator(".branch .text").text_content())
    assert shown.startswith("</script><script>window.hacked = 1</script> <img src=x onerror=hacked=1>")
    assert "\x07" not in shown


def test_the_policy_is_sent_with_the_page_and_allows_no_inline_code(
    serve_page: ServePage, visit: Visit
) -> None:
    server = serve_page()
    page = visit(server.url)
    response = page.request.get(server.url)
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy == f"{assembled().policy}; frame-ancestors 'none'"


@pytest.mark.parametrize("way", ["html", "eval", "fetch"])
def test_the_browser_enforces_the_policy(serve_page: ServePage, browser: Any, way: str) -> None:
    context = browser.new_context()
    try:
        page = context.new_page()
        page.goto(serve_page().url)
        attempt = {
            "html": "document.body.innerHTML = '<b>x</b>'",
            "eval": "setTimeout('window.hacked = 1')",
            "fetch": "await fetch('http://127.0.0.1:9/', {mode: 'no-cors'})",
        }[way]
        blocked = page.evaluate(
            f"""async () => {{
                const seen = [];
                addEventListener("securitypolicyviolation", (event) => seen.push(event.violatedDirective));
                try {{ {attempt}; }} catch {{ /* as it should be */ }}
                await new Promise((resolve) => setTimeout(resolve, 50));
                return seen;
            }}"""
        )
        assert blocked
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_axe_finds_nothing_serious(
    serve_page: ServePage, visit: Visit, scheme: str, width: int
) -> None:
    server = serve_page(plain={"text": "word" * 40 + NASTY}, labelled={"labels": ("a", "b"), "start_id": 0})
    # Its own scripts could not run under the page's policy.
    page = visit(server.url, viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True)
    expect(page.locator("#name")).to_have_text("plain")
    assert serious_problems(page) == []
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.select_option("#model", "labelled")
    page.select_option("#model", "plain")
    set_slider(page, "copies", 2)
    write(page, "word" * 40, seed=1, max_tokens=100)
    finished(page, 1)
    page.evaluate("showError(new ServerError('This server wants a key.', 401))")
    token(page, 3).click()
    assert serious_problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_screen_readers_hear_the_end_of_a_text_and_not_every_token(
    serve_page: ServePage, visit: Visit
) -> None:
    page = visit(serve_page().url)
    page.evaluate(
        "heard = []; new MutationObserver(() => heard.push(byId('live').textContent))"
        ".observe(byId('live'), {childList: true, characterData: true, subtree: true})"
    )
    write(page, PROMPT, seed=3)
    assert page.evaluate("heard") == ["Text 1: 20 tokens. Reached the length."]
    assert page.locator(".branch [aria-live]").count() == 0


def test_without_javascript_the_page_says_that_it_needs_it(serve_page: ServePage, visit: Visit) -> None:
    page = visit(serve_page().url, java_script_enabled=False)
    assert "JavaScript" in page.locator("noscript").inner_text()


def test_the_page_starts_with_the_defaults_of_sample(serve_page: ServePage, visit: Visit) -> None:
    page = visit(serve_page().url)
    config = SampleConfig()
    assert page.evaluate("settings.sampling()") == {
        "temperature": config.temperature,
        "max_tokens": config.max_new_tokens,
    }
