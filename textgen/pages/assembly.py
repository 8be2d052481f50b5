"""Assembles a page from its parts into one HTML file, under a content security policy by hashes.

A page has the HTML of its body, with placeholders such as {data}, and style sheets and scripts that are
joined in their order. In this package, frame.html is what stands around the body, style.css and elements.js
are what all pages share, writing.css and sliders.js what those that write text do.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHARED_STYLE = ("textgen.pages", "style.css")
SHARED_SCRIPT = ("textgen.pages", "elements.js")
# Of the pages that write text.
WRITING_STYLE = ("textgen.pages", "writing.css")
SLIDERS = ("textgen.pages", "sliders.js")


_FRAME = ("textgen.pages", "frame.html")
# No text becomes markup or script, and no form or address leads elsewhere.
_DIRECTIVES = (
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)


@dataclass(frozen=True)
class Page:
    """A page as one HTML file, and its content security policy, which the HTML itself states as well."""

    html: str
    policy: str


def assemble(
    body: tuple[str, str],
    *,
    title: str,
    generator: str,
    styles: Sequence[tuple[str, str]],
    scripts: Sequence[tuple[str, str]],
    fields: Mapping[str, str],
    directives: Sequence[str] = (),
    script_sources: Sequence[str] = (),
) -> Page:
    """Assemble a page from its parts, each a package and the name of a file in it.

    title: any text. generator: the command that makes such pages.
    fields: HTML for the placeholders of the body. It is inserted as it is: text must be escaped already, and
        for a JSON block by `json_block`.
    directives: of the content security policy, beside those that allow the page's one style sheet and its one
        script, by hash, and images within the page. Nothing else is allowed, no request to any host.
    script_sources: what else script-src allows.
    """
    style, script = "".join(map(_read, styles)), "".join(map(_read, scripts))
    policy = "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_hash(style)}'",
            " ".join((f"script-src '{_hash(script)}'", *script_sources)),
            *directives,
            *_DIRECTIVES,
        )
    )
    parts = {
        "title": html.escape(title),
        "generator": generator,
        "policy": policy,
        "style": style,
        "body": _filled(_read(body), fields),
        "script": script,
    }
    return Page(_filled(_read(_FRAME), parts), policy)


def _filled(template: str, parts: Mapping[str, str]) -> str:
    # In one pass, so that "{script}" in a part is not replaced.
    return re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], template)


def json_block(json_text: str) -> str:
    """JSON as the content of a script element, where only "<" can end the element or start a comment."""
    return json_text.replace("<", "\\u003c")


def _read(part: tuple[str, str]) -> str:
    package, name = part
    return (importlib.resources.files(package) / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
