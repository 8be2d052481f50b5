"""The page of `textgen serve`: one HTML file that talks to the server it came from, and to nothing else.

page.html, page.css and the scripts are its parts, with those that all pages share (textgen/pages). It holds
nothing of a run: what it shows comes from GET /v1/models, POST /v1/completions and GET /health. The scripts
create text nodes only of what the server sends; the policy forbids everything that would parse a text.

    page.server.js         requests, streams, the API key
    page.branch.js         a text and its tokens, as data
    page.column.js         a text and its tokens, as elements
    page.columns.js        all columns; undo, copy, save
    page.settings.js       settings beside the sliders: seed, label, run
    page.preview.js        what the settings do, as bars
    page.alternatives.js   what else was likely at a token, to be chosen
    page.writing.js        writing, going on, branching, stopping
    page.connection.js     errors, and a server that goes away and comes back
    page.start.js          the keyboard, and the start
"""

from __future__ import annotations

import functools
import json

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from textgen.pages.assembly import (
    SHARED_SCRIPT,
    SHARED_STYLE,
    SLIDERS,
    WRITING_STYLE,
    Page,
    assemble,
    json_block,
)
from textgen.settings.config import SampleConfig

_SCRIPTS = (
    "server", "branch", "column", "columns", "settings", "preview", "alternatives", "writing", "connection",
    "start",
)  # fmt: skip


@functools.cache
def serve_page() -> Page:
    """The page, with the defaults of `textgen sample` for its sliders."""
    config = SampleConfig()
    defaults = {
        "temperature": config.temperature,
        "top_p": config.top_p or "off",
        "top_k": config.top_k or "off",
        "min_p": config.min_p or "off",
        "max_tokens": config.max_new_tokens,
    }
    return assemble(
        _part("page.html"),
        title="Write with textgen",
        generator="textgen serve",
        styles=(SHARED_STYLE, WRITING_STYLE, _part("page.css")),
        scripts=(SHARED_SCRIPT, SLIDERS, *(_part(f"page.{name}.js") for name in _SCRIPTS)),
        fields={"defaults": json_block(json.dumps(defaults))},
        directives=("connect-src 'self'",),
    )


def page_route() -> Route:
    """The route of the page, at /."""
    return Route("/", _answer)


async def _answer(request: Request) -> Response:
    page = serve_page()
    headers = {
        # What a <meta> cannot say: that no other page may frame this one and collect its clicks.
        "Content-Security-Policy": f"{page.policy}; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return HTMLResponse(page.html, headers=headers)


def _part(name: str) -> tuple[str, str]:
    return "textgen.serving.page", name
