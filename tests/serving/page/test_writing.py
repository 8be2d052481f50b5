"""Writing on the page: texts as `sample` gives them, stop, go on, undo, and a server that goes away."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser import until
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
from tests.serving.process import serving

if TYPE_CHECKING:
    from tests.conftest import MakeRun

BPE = {"kind": "bpe", "text": "Once upon a time the tired tiger was on top of a tower. " * 30}


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
    page.mouse.move(0, 0)  # it may rest on a token, whose alternatives would cover the button
    page.get_by_role("button", name="Go on: Text 1").click()
    finished(page)
    assert page.evaluate("columns.list[0].branch.tokens.length") == num_tokens + 10


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
        expect(page.get_by_role("alert")).not_to_be_visible()
        assert texts(page) == [before]
        set_slider(page, "max_tokens", 10)
        page.get_by_role("button", name="Go on: Text 1").click()
        finished(page)
        assert len(texts(page)[0]) == len(before) + 10


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
