"""The endpoints about models and texts that write none: models, tokenize, detokenize and score."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from textgen.serving.errors import ApiError
from textgen.serving.schema import ModelList
from textgen.serving.service import Service
from textgen.serving.streams import JsonResponse


async def models(request: Request) -> Response:
    """GET /v1/models."""
    service: Service = request.app.state.service
    return JsonResponse(ModelList(data=[model.card for model in service.models.values()]))


async def model(request: Request) -> Response:
    """GET /v1/models/{name}. Raises ApiError (404)."""
    service: Service = request.app.state.service
    name = request.path_params["name"]
    if name not in service.models:
        raise ApiError(404, "model: there is none of that name", param="model", code="model_not_found")
    return JsonResponse(service.models[name].card)
