"""The page: one HTML file that is a model, and asks nothing of any host.

The scripts, in their order:

    matvec.js        products of matrices and vectors, with matvec.wasm, whose text is matvec.wat
    functions.js     exp, log, tanh and random numbers that are the same in every browser
    arrays.js        base64 to arrays
    engine.js        the network
    ngram.js         n-grams beside the network
    sampling.js      logits to a token
    tokenizers.js    text to token ids, and tokens that keep characters whole
    healing.js       prompts that end within a word
    writer.js        a text while it is written
    page.*.js        what is on the page

They create text nodes only of what the model writes; the policy forbids everything that would parse a text.
"""

from __future__ import annotations

import base64
import html
import importlib.resources

from textgen.pages.assembly import (
    SHARED_SCRIPT,
    SHARED_STYLE,
    SLIDERS,
    WRITING_STYLE,
    Page,
    assemble,
    json_block,
)

_PACKAGE = "textgen.export.html"
ENGINE_SCRIPTS = (
    "matvec",
    "functions",
    "arrays",
    "engine",
    "ngram",
    "sampling",
    "tokenizers",
    "healing",
    "writer",
)
_PAGE_SCRIPTS = ("page.form", "page.text", "page.link", "page.reading", "page.units", "page.start")
# By which `textgen export` knows that a file is its own.
GENERATOR = "textgen export html"


def assembled(name: str, data: str) -> Page:
    """The page of a run called `name`, which may be any text, with its data as JSON."""
    return assemble(
        (_PACKAGE, "page.html"),
        title=name,
        generator=GENERATOR,
        styles=(SHARED_STYLE, WRITING_STYLE, (_PACKAGE, "page.css")),
        scripts=(
            SHARED_SCRIPT,
            *((_PACKAGE, f"{script}.js") for script in ENGINE_SCRIPTS),
            SLIDERS,
            *((_PACKAGE, f"{script}.js") for script in _PAGE_SCRIPTS),
        ),
        fields={
            "name": html.escape(name),
            "wasm": base64.b64encode(wasm()).decode(),
            "model": json_block(data),
        },
        # For the product alone; a browser that does not know it goes without.
        script_sources=("'wasm-unsafe-eval'",),
    )


def wasm() -> bytes:
    """The module of matvec.wat."""
    return (importlib.resources.files(_PACKAGE) / "matvec.wasm").read_bytes()
