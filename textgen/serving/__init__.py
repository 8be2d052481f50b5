"""Serving runs over HTTP, to clients of OpenAI's API.

import textgen.serving

application = textgen.serving.app({"tales": "runs/tales"})     # any ASGI server runs it

`app` is loaded when it is first used, because it needs the extra `serve`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from textgen.serving.asgi import app

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module 'textgen.serving' has no attribute {name!r}")
    try:
        from textgen.serving.asgi import app
    except ModuleNotFoundError as error:
        from textgen.errors import TextgenError

        raise TextgenError(f"serving needs {error.name}: pip install 'textgen[serve]'") from error
    return app
