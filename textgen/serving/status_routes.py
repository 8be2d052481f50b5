"""The endpoints for those who run the server: /health and /metrics."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from textgen.serving.errors import unavailable
from textgen.serving.metrics import CONTENT_TYPE, Metrics
from textgen.serving.service import service_of
from textgen.serving.streams import as_json, json_response


def status_routes(metrics: Metrics) -> list[BaseRoute]:
    """The routes, for `routes` of the application; `metrics` are those of its guard."""

    async def show_metrics(request: Request) -> Response:
        """GET /metrics."""
        engine = service_of(request).engine
        gauges = {
            "textgen_texts_running": ("Texts that are being written.", float(engine.running)),
            "textgen_texts_waiting": ("Texts that wait for a place.", float(engine.waiting)),
        }
        return Response(metrics.text(gauges), headers={"content-type": CONTENT_TYPE})

    return [Route("/health", health), Route("/metrics", show_metrics)]


async def health(request: Request) -> Response:
    """GET /health. Raises ApiError (503) where no text can be written."""
    if not service_of(request).engine.is_alive:
        raise unavailable("the engine is not running")
    return json_response(as_json({"status": "ok"}))
