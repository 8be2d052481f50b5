"""The page of `textgen serve` in a real browser, with a real server."""

from __future__ import annotations

import json
import math
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.serving.page.conftest import PageServer, ServePage, finished, set_slider, until, write
from tests.serving.process import serving
from textgen.generation.request import Request
from textgen.generation.sampling import keep_min_p, keep_top_k, keep_top_p
from textgen.serving.page.page import serve_page as assembled
from textgen.settings.config import SampleConfig

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.conftest import MakeRun

Visit = Callable[..., "Page"]
PROMPT = "The quick"
NASTY = (
    "</script><script>window.hacked = 1</script> <img src=x onerror=hacked=1> &amp; {script} <!--\n"
    "\tÉtude 中文\u202eabc\x07\r\n"
) * 4
BPE = {"kind": "bpe", "text": "Once upon a time the tired tiger was on top of a tower. " * 30}


def texts(page: Page) -> list[str]:
    """The text of every column, with its prompt."""
    found = page.evaluate("columns.list.map(({ branch }) => branch.text)")
    assert isinstance(found, list)
    return found


def token(page: Page, place: int, column: int = 0) -> Locator:
    return page.locator(".branch .text").nth(column).locator("span > span, div > span").nth(place)


def sampled(page: Page, server: PageServer, num_tokens: int = 20, **request: Any) -> str:
    """What `textgen sample` writes with the run that the page shows."""
    model = server.service.models[page.locator("#name").inner_text()]
    config = SampleConfig(max_new_tokens=num_tokens)
    return "".join(model.generator.stream_request(Request(config=config, **request)))


def test_it_writes_what_sample_writes_with_the_same_seed_coloured_by_probability(
    serve_page: ServePage, visit: Visit
) -> None:
    server = serve_page()
    page = visit(server.url)
    expect(page.locator("#summary")).to_contain_text("1 x 16 LSTM network")
    write(page, PROMPT, seed=3)
    expected = sampled(page, server, prompt=PROMPT, seed=3)
    assert texts(page) == [PROMPT + expected]
    assert page.locator(".branch .text").text_content() == (PROMPT + expected).replace("\n", "↵\n")
    expect(page.locator(".branch .status")).to_have_text("20 tokens. Reached the length.")
    for place in (0, 7):
        bits = page.evaluate(f"bitsOf(columns.list[0].branch.tokens[{place}])")
        strength = re.search(r"/ ([\d.]+)\)", str(token(page, place).get_attribute("style")))
        assert strength is not None
        assert float(strength[1]) == pytest.approx(min(bits / 8, 1), abs=0.001)


def test_the_same_seed_is_taken_again_only_if_it_is_kept(serve_page: ServePage, visit: Visit) -> None:
    page = visit(serve_page().url)
    write(page, PROMPT, seed=3)
    page.click("#write")
    finished(page)
    assert texts(page)[0] == texts(page)[1]
    page.uncheck("#keep")
    page.click("#write")
    finished(page)
    assert page.input_value("#seed") != "3"
    assert f"seed {page.input_value('#seed')}" in page.locator(".branch header").first.inner_text()
    assert texts(page)[0] != texts(page)[1]


@pytest.mark.parametrize("run", [{}, BPE, {"kind": "byte", "text": "中文。Étude\n" * 20}])
def test_going_on_continues_exactly_and_undo_takes_it_back(
    serve_page: ServePage, visit: Visit, run: dict[str, Any]
) -> None:
    server = serve_page(tiny=run)
    page = visit(server.url)
    prompt = {"bpe": "Once upon a ti", "byte": "中"}.get(run.get("kind", ""), PROMPT)
    write(page, prompt, seed=5, max_tokens=10)
    first = texts(page)[0]
    assert first.startswith(prompt)
    page.get_by_role("button", name="Go on: Text 1").click()
    finished(page)
    whole = texts(page)[0]
    ids = page.evaluate("columns.list[0].branch.continued")
    model = server.service.models["tiny"]
    assert whole.rstrip("\ufffd") == model.generator.tokenizer.decode(ids).rstrip("\ufffd")
    assert page.locator(".branch .text").text_content().replace("·", "").replace("↵", "") == whole
    (prompt_ids, drawn) = page.evaluate(
        "(({branch}) => [branch.promptIds, branch.tokens.map((token) => token.ids[0])])(columns.list[0])"
    )
    assert prompt_ids + drawn == ids
    expected = sampled(page, server, prompt=prompt_ids + drawn[: len(drawn) - 10], seed=5, num_tokens=10)
    assert whole.endswith(expected)
    page.click("#undo")
    assert texts(page) == [first]
    page.click("#undo")
    assert texts(page) == []
    expect(page.locator("#undo")).to_be_disabled()


@pytest.mark.parametrize("way", ["Escape", "#write", "Stop: Text 1"])
def test_a_text_can_be_stopped_and_frees_its_place_and_goes_on(
    serve_page: ServePage, visit: Visit, way: str
) -> None:
    server = serve_page()
    page = visit(server.url)
    page.fill("#prompt", PROMPT)
    set_slider(page, "max_tokens", 20000)
    page.click("#write")
    until(page, "columns.list[0].spans.length > 5")
    if way == "Escape":
        page.keyboard.press(way)
    else:
        (page.locator(way) if way[0] == "#" else page.get_by_role("button", name=way)).click()
    until(page, "columns.list[0].branch.ending === 'stopped'")
    finished(page)
    num_tokens = page.evaluate("columns.list[0].branch.tokens.length")
    assert 5 < num_tokens < 20000
    for _ in range(200):
        if not server.running:
            break
        page.wait_for_timeout(10)
    assert not server.running
    expect(page.locator("#write")).to_have_text("Write")
    set_slider(page, "max_tokens", 10)
    page.get_by_role("button", name="Go on: Text 1").click()
    finished(page)
    assert page.evaluate("columns.list[0].branch.tokens.length") == num_tokens + 10


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


def test_undo_while_a_text_is_being_written_stops_it_and_goes_back(
    serve_page: ServePage, visit: Visit
) -> None:
    server = serve_page(tiny={"kind": "byte", "text": "中文字" * 20})
    page = visit(server.url)
    write(page, "中", seed=1, max_tokens=10)
    before = texts(page)
    set_slider(page, "max_tokens", 20000)
    page.get_by_role("button", name="Go on: Text 1").click()
    until(page, "columns.list[0].branch.tokens.length > 30")
    page.click("#undo")
    assert texts(page) == before
    until(page, "columns.list[0].spans.length === columns.list[0].branch.tokens.length")
    expect(page.locator("#write")).to_have_text("Write")


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


def test_a_server_that_goes_away_is_waited_for_and_the_text_goes_on_when_asked(
    make_run: MakeRun, visit: Visit
) -> None:
    run = make_run().path
    with serving(run) as server:
        port = server.port
        page = visit(f"http://127.0.0.1:{port}/", complaints=True)
        page.fill("#prompt", PROMPT)
        set_slider(page, "max_tokens", 20000)
        page.click("#write")
        until(page, "columns.list[0].spans.length > 5")
        server.stop(signal.SIGKILL)
    until(page, "columns.list[0].branch.ending === 'lost'")
    expect(page.locator("#error")).to_contain_text("Waiting for it to come back")
    finished(page)
    (before,) = texts(page)
    expect(page.locator(".branch .status")).to_contain_text("go on when you like")
    with serving(run, "--port", port):
        expect(page.get_by_role("alert")).not_to_be_visible(timeout=30000)
        assert texts(page) == [before]
        set_slider(page, "max_tokens", 10)
        page.get_by_role("button", name="Go on: Text 1").click()
        finished(page)
        assert len(texts(page)[0]) == len(before) + 10


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


def test_a_text_is_copied_and_saved_as_it_is(serve_page: ServePage, visit: Visit, tmp_path: Path) -> None:
    server = serve_page(tiny={"text": NASTY})
    page = visit(server.url, permissions=["clipboard-read", "clipboard-write"])
    write(page, "\tÉtude 中", seed=1, max_tokens=100)
    (text,) = texts(page)
    page.get_by_role("button", name="Copy: Text 1").click()
    expect(page.locator("#live")).to_contain_text("copied")
    assert page.evaluate("navigator.clipboard.readText()").replace("\r", "") == text.replace("\r", "")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save: Text 1").click()
    assert download.value.suggested_filename == "tiny-text-1.txt"
    download.value.save_as(tmp_path / "saved.txt")
    assert (tmp_path / "saved.txt").read_bytes() == text.encode()


FEED = """(numTokens) => {
    const branch = new Branch("tiny", null, "Once");
    const column = columns.add(branch, "");
    const words = [" the", " goat", " came", ".\\n"];
    const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
    const times = [];
    let offset = 4;
    column.setController(new AbortController());
    for (let n = 0; n < numTokens; n += 50) {
        const tokens = Array.from({ length: 50 }, (_, index) => words[(n + index) % 4]);
        const offsets = tokens.map((word) => (offset += word.length) - word.length);
        const changed = branch.read({
            text: tokens.join(""), token_ids: tokens.map(() => 1), prompt_token_ids: [1], finish_reason: null,
            logprobs: {
                tokens, token_logprobs: tokens.map(() => -1), text_offset: offsets,
                top_logprobs: tokens.map((word) => ({ [word]: -1, " a": -2, " b": -3 })),
            },
        });
        const [first, started] = [column.spans[0], performance.now()];
        column._toRender = Math.min(column._toRender, changed);
        column.render();
        times.push(performance.now() - started);
        if (first && first !== column.spans[0]) throw new Error("rendered again");
    }
    column.setController(null);
    const tenth = times.length / 10;
    const ratio = median(times.slice(-tenth)) / median(times.slice(0, tenth));
    return [column.spans.length, column.text.textContent.length, ratio];
}"""


def test_the_ten_thousandth_token_is_shown_as_fast_as_the_first(serve_page: ServePage, visit: Visit) -> None:
    page = visit(serve_page().url)
    num_spans, num_characters, ratio = page.evaluate(FEED, 10_000)
    assert num_spans == 10_000
    assert num_characters > 40_000
    assert ratio < 6  # it would be some 20 if the whole text were laid out or made again


def problems_of(page: Page) -> list[str]:
    """What axe-core finds that is serious or worse."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_axe_finds_nothing_serious(
    serve_page: ServePage, visit: Visit, scheme: str, width: int
) -> None:
    server = serve_page(plain={"text": "word" * 40 + NASTY}, labelled={"labels": ("a", "b"), "start_id": 0})
    # Its own scripts could not run under the page's policy.
    page = visit(server.url, viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True)
    expect(page.locator("#name")).to_have_text("plain")
    assert problems_of(page) == []
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.select_option("#model", "labelled")
    page.select_option("#model", "plain")
    set_slider(page, "copies", 2)
    write(page, "word" * 40, seed=1, max_tokens=100)
    finished(page, 1)
    page.evaluate("showError(new ServerError('This server wants a key.', 401))")
    token(page, 3).click()
    assert problems_of(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


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
