"""A page is its parts in one file, under a policy that names them by hash."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re

import pytest

from textgen.analysis.inspection import page as inspect_page
from textgen.pages.assembly import SHARED_SCRIPT, SHARED_STYLE, Page, assemble, json_block

PARTS = {
    "title": "{style} <i>",
    "generator": "textgen test",
    "styles": [SHARED_STYLE],
    "scripts": [SHARED_SCRIPT],
}
HTML = (inspect_page.__package__, "page.html")


@pytest.fixture
def page() -> Page:
    data = json_block(json.dumps("</script>{script}"))
    return assemble(
        HTML,
        **PARTS,
        fields={"name": html.escape("{style} <i>"), "data": data},
        directives=["connect-src 'self'"],
    )


def hash_of(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def test_the_policy_allows_this_style_and_this_script_and_no_request(page: Page) -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", page.html, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    assert page.policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src '{hash_of(style)}'",
        f"script-src '{hash_of(script)}'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    assert f'<meta http-equiv="Content-Security-Policy" content="{page.policy}">' in page.html


def test_a_placeholder_in_a_field_is_text_and_a_json_block_cannot_end_its_element(page: Page) -> None:
    assert "<title>{style} &lt;i&gt;</title>" in page.html
    assert "<h1>Inside <em>{style} &lt;i&gt;</em></h1>" in page.html
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.html)
    assert json.loads(block) == "</script>{script}"


def test_a_placeholder_without_a_field_is_an_error() -> None:
    with pytest.raises(KeyError, match="data"):
        assemble(HTML, **PARTS, fields={"name": "x"})
