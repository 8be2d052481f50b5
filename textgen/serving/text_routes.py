"""The endpoints about models and texts that write none: models, tokenize, detokenize and score."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence

from starlette.requests import Request
from starlette.responses import Response

from textgen.errors import ConfigError, RunError, TextgenError
from textgen.evaluation.score import ScoredPiece, Scorer
from textgen.evaluation.scored_lines import PlainText
from textgen.evaluation.summary import summarize
from textgen.serving.errors import ApiError, failed, too_many, wrong
from textgen.serving.models import ServedModel
from textgen.serving.schema import DetokenizeRequest, ModelList, ScoreRequest, TokenizeRequest
from textgen.serving.service import Service, service_of
from textgen.serving.streams import CLIENT_GONE, as_json, json_response, when_gone


async def models(request: Request) -> Response:
    """GET /v1/models."""
    service = service_of(request)
    return json_response(as_json(ModelList(data=[model.card for model in service.models.values()])))


async def model(request: Request) -> Response:
    """GET /v1/models/{name}. Raises ApiError (404)."""
    service = service_of(request)
    name = request.path_params["name"]
    if name not in service.models:
        raise ApiError(404, "model: there is none of that name", param="model", code="model_not_found")
    return json_response(as_json(service.models[name].card))


async def tokenize(request: Request) -> Response:
    """POST /tokenize: the token ids of a text, with_pieces with their texts or bytes. Raises ApiError."""
    service = service_of(request)

    def body(asked: TokenizeRequest) -> bytes:
        model = service.model(asked.model)
        text = asked.content if asked.prompt is None else asked.prompt
        if text is None:
            raise wrong("prompt", "give the text to tokenize, here or in `content`")
        try:
            ids = model.generator.tokenizer.encode(model.normalized(text)).tolist()
        except TextgenError as error:
            raise wrong("prompt", str(error)) from error
        tokens = _pieces(model, ids) if asked.with_pieces else ids
        return as_json({"tokens": tokens, "count": len(ids)})

    return json_response(await service.read(request, TokenizeRequest, body))


async def detokenize(request: Request) -> Response:
    """POST /detokenize: the text of token ids, in `prompt` as vLLM's and in `content` as llama.cpp's.

    Bytes that are no valid UTF-8 become U+FFFD there; with_pieces has them. Raises ApiError.
    """
    service = service_of(request)

    def body(asked: DetokenizeRequest) -> bytes:
        model = service.model(asked.model)
        try:
            text = model.prompt(asked.tokens, heal=False).text
        except TextgenError as error:
            raise wrong("tokens", str(error)) from error
        answer: dict[str, object] = {"prompt": text, "content": text}
        if asked.with_pieces:
            answer["tokens"] = _pieces(model, asked.tokens)
        return as_json(answer)

    return json_response(await service.read(request, DetokenizeRequest, body))


def _pieces(model: ServedModel, token_ids: Sequence[int]) -> list[dict[str, object]]:
    return [{"id": token_id, "piece": model.token_names.piece(token_id)} for token_id in token_ids]


async def score(request: Request) -> Response:
    """POST /v1/score: what `textgen score --json` prints, with the model's name. Raises ApiError."""
    service = service_of(request)
    asked, model, scorer = await service.read(request, ScoreRequest, lambda asked: _scorer(service, asked))
    if service.num_scored >= service.limits.max_scored:
        raise too_many("texts wait to be scored")
    gone = threading.Event()
    service.num_scored += 1
    try:
        with when_gone(request.receive, gone.set):
            work = asyncio.get_running_loop().run_in_executor(
                service.scorer, _scored, model, scorer, asked.text, gone
            )
            body = await work
    finally:
        service.num_scored -= 1
    return Response(status_code=CLIENT_GONE) if body is None else json_response(body)


def _scorer(service: Service, asked: ScoreRequest) -> tuple[ScoreRequest, ServedModel, Scorer]:
    model = service.model(asked.model)
    if asked.label is None:
        return asked, model, model.scorer
    try:
        return asked, model, Scorer(model.generator.engine, model.generator.tokenizer, asked.label)
    except ConfigError as error:
        raise wrong("label", str(error)) from error


def _scored(model: ServedModel, scorer: Scorer, text: str, gone: threading.Event) -> bytes | None:
    """The figures of a text; None: the client went away. Raises ApiError."""
    data = model.config.data
    plain = PlainText([model.normalized(text)], data.documents_of_other_text)
    try:
        summary = summarize(_until(gone, scorer.read(plain.stream())), None, plain)
    except RunError as error:
        raise failed() from error
    except TextgenError as error:
        raise wrong("text", str(error)) from error
    if gone.is_set():
        return None
    if not summary.report.loss.tokens:
        raise wrong("text", "there is none; give some")
    about: dict[str, object] = {"run": model.name, "text": "-"}
    if scorer.network_weight is not None:
        about["network_weight"] = scorer.network_weight
    return as_json(about | summary.as_dict())


def _until(gone: threading.Event, pieces: Iterator[ScoredPiece]) -> Iterator[ScoredPiece]:
    """The pieces, until the client goes away."""
    for piece in pieces:
        if gone.is_set():
            return
        yield piece
