"""The application: its routes, the start and the end of the engine, and errors as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from textgen.api import TextModel
from textgen.errors import ConfigError
from textgen.serving import generation_routes, text_routes
from textgen.serving.errors import ApiError, failed
from textgen.serving.models import ServedModel
from textgen.serving.page.page import page_route
from textgen.serving.service import Service
from textgen.serving.streams import error_response
from textgen.settings.request_limits import RequestLimits

DEFAULT_LIMITS = RequestLimits()


def app(
    models: Mapping[str, TextModel | Path | str],
    settings: RequestLimits = DEFAULT_LIMITS,
    *,
    middleware: Sequence[Middleware] = (),
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """The ASGI application that serves runs: directories, or models that are loaded, by name.

    The runs are loaded now. The application has no protection of its own against other users of the machine
    or the network: that is `middleware`, the first of which sees a request first. routes: further ones, which
    find what is served in `request.app.state.service`.

    Raises ConfigError, RunError, TokenizerError.
    """
    if not models:
        raise ConfigError("there is no run to serve; name at least one")
    service = Service({name: ServedModel.load(name, source) for name, source in models.items()}, settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await service.stop()

    application = Starlette(
        routes=[*_ROUTES, *routes],
        middleware=middleware,
        exception_handlers={ApiError: _refused, HTTPException: _no_route, Exception: _failed},
        lifespan=lifespan,
    )
    application.state.service = service
    return application


_ROUTES = (
    page_route(),
    Route("/v1/completions", generation_routes.completions, methods=["POST"]),
    Route("/v1/chat/completions", generation_routes.chat, methods=["POST"]),
    Route("/v1/score", text_routes.score, methods=["POST"]),
    Route("/tokenize", text_routes.tokenize, methods=["POST"]),
    Route("/detokenize", text_routes.detokenize, methods=["POST"]),
    Route("/v1/models", text_routes.models),
    Route("/v1/models/{name:path}", text_routes.model),
)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


async def _no_route(request: Request, error: Exception) -> Response:
    """Answer a path or a method that there is not, as every other error."""
    assert isinstance(error, HTTPException)
    path = ascii(request.url.path[:100])
    what = f"{path} does not take {request.method}" if error.status_code == 405 else f"there is no {path}"
    response = error_response(ApiError(error.status_code, what, code="not_found"))
    response.headers.update(error.headers or {})
    return response


async def _failed(request: Request, error: Exception) -> Response:
    """Answer a bug; the server logs its traceback."""
    return error_response(failed())
