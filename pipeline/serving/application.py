"""The REST application: the routes of the Open Inference Protocol, and one for texts.

Of KServe's server, its routes, data plane and types are used. Its ModelServer is not: it listens on
every address, lets anyone load and unload models, and answers faults with their own text.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any, Union

import orjson
from fastapi import FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from pipeline.serving.errors import RequestError
from pipeline.serving.guard import Guard
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.protocol import Plane, Student
from pipeline.serving.settings import ServeSettings
from pipeline.tasks.table import TASKS

from kserve.errors import ModelNotFound, ModelNotReady, ServerNotReady  # isort: skip # after protocol
from kserve.protocol.rest.v2_datamodels import (  # isort: skip # after protocol
    InferenceRequest,
    InferenceResponse,
    ListModelsResponse,
    ModelMetadataResponse,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerReadyResponse,
)
from kserve.protocol.rest.v2_endpoints import V2Endpoints  # isort: skip # after protocol

ModelName = Annotated[str, Path(max_length=63)]


class TextsRequest(BaseModel):
    """Texts to answer."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str | tuple[str, str]] = Field(min_length=1)
    """Texts, or pairs of texts."""


class Predictions(BaseModel):
    """The answers, in the texts' order."""

    model_name: str
    model_version: str
    # The tasks' own types, so that the schema names every one.
    predictions: list[Union[*(task.answer_type for task in TASKS.values())]]  # type: ignore[valid-type]


class ErrorBody(BaseModel):
    """What went wrong."""

    error: str


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 404, 413, 422, 503, 504)
}


def make_application(plane: Plane, settings: ServeSettings, metrics: ServerMetrics) -> FastAPI:
    """Return the application over a data plane."""
    app = FastAPI(
        title="adapter-distill", version=version("adapter-distill"), docs_url=None, redoc_url=None
    )
    _add_protocol(app, plane)
    _add_texts(app, plane, settings)

    @app.get("/metrics", include_in_schema=False)
    async def show_metrics() -> Response:
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    _add_errors(app)
    app.add_middleware(
        Guard,
        metrics=metrics,
        max_body_bytes=settings.max_body_bytes,
        token=settings.token,
        is_draining=lambda: plane.is_draining,
    )
    return app


def _add_protocol(app: FastAPI, plane: Plane) -> None:
    """Add KServe's v2 routes, without those that load and unload."""
    routes = V2Endpoints(plane)
    for path, route, model in (
        ("/v2", routes.metadata, ServerMetadataResponse),
        ("/v2/health/live", routes.live, ServerLiveResponse),
        ("/v2/health/ready", routes.ready, ServerReadyResponse),
        ("/v2/models", routes.models, ListModelsResponse),
    ):
        app.add_api_route(path, route, response_model=model, methods=["GET"], responses=_ERRORS)

    @app.get("/v2/models/{model_name}", responses=_ERRORS)
    async def model_metadata(model_name: ModelName) -> ModelMetadataResponse:
        model = plane.find(model_name)
        facts = {"inputs": model.get_input_types(), "outputs": model.get_output_types()}
        versions = [str(model.served().version)]
        return ModelMetadataResponse.model_validate(
            {"name": model_name, "versions": versions, "platform": "onnxruntime_onnx", **facts}
        )

    @app.get("/v2/models/{model_name}/ready", responses=_ERRORS)
    async def model_ready(model_name: ModelName) -> ModelReadyResponse:
        plane.find(model_name).served()
        return ModelReadyResponse(name=model_name, ready=True)

    @app.post(
        "/v2/models/{model_name}/infer",
        response_model=None,
        responses={200: {"model": InferenceResponse}, **_ERRORS},
        openapi_extra={"requestBody": _body(InferenceRequest, binary=True)},
    )
    async def infer(model_name: ModelName, request: Request) -> Response:
        plane.find(model_name)
        return await _infer(plane, model_name, await request.body(), dict(request.headers))


def _add_texts(app: FastAPI, plane: Plane, settings: ServeSettings) -> None:
    @app.post(
        "/v2/models/{model_name}/texts",
        response_model=None,
        responses={200: {"model": Predictions}, **_ERRORS},
    )
    async def classify(model_name: ModelName, request: TextsRequest) -> Response:
        model = plane.find(model_name)
        texts: list[tuple[str, ...]] = [
            (text,) if isinstance(text, str) else text for text in request.texts
        ]
        _check_texts(texts, settings)
        return await _classify(model, texts)


async def _classify(model: Student, texts: Sequence[tuple[str, ...]]) -> Response:
    answer = await model.classify(texts)
    served = answer.served
    content = {
        "model_name": model.name,
        "model_version": str(served.version),
        "predictions": served.classifier.task.answers(answer.outputs, served.labels),
    }
    return Response(orjson.dumps(content), media_type="application/json")


async def _infer(plane: Plane, name: str, body: bytes, headers: dict[str, str]) -> Response:
    """Answer a v2 request, with tensors in JSON or in binary after it."""
    try:
        content: InferenceRequest | bytes = body
        if "inference-header-content-length" not in headers:
            content = InferenceRequest.model_validate_json(body)
        request = plane.decode_inference_request(content, headers, name)
        (request.id or "").encode()
    # KServe's decoder raises bare exceptions of many kinds for bodies that don't fit.
    except Exception as error:
        raise RequestError("The body is no inference request of the protocol's v2.") from error
    response, _ = await plane.infer(name, request, headers)
    encoded, extra = plane.encode(name, response, None, {})
    if isinstance(encoded, bytes):
        return Response(encoded, media_type="application/octet-stream", headers=extra)
    return Response(orjson.dumps(encoded), media_type="application/json")


def _check_texts(texts: Sequence[tuple[str, ...]], settings: ServeSettings) -> None:
    if len(texts) > settings.max_texts:
        raise RequestError(f"At most {settings.max_texts} texts per request.")
    for text in texts:
        if sum(map(len, text)) > settings.max_characters:
            raise RequestError(f"At most {settings.max_characters} characters per text.")
        try:
            "".join(text).encode()
        except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
            raise RequestError("A text is not valid Unicode.") from error


def _add_errors(app: FastAPI) -> None:
    """Answer every fault with one sentence, and nothing of what the client sent."""

    @app.exception_handler(RequestError)
    async def request_error(_: Request, error: RequestError) -> Response:
        headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s else None
        return _error(error.status, str(error), headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        problems = [
            f"{'.'.join(map(str, each['loc']))[:100]}: {each['msg']}" for each in error.errors()
        ]
        return _error(422, "; ".join(problems[:5]))

    @app.exception_handler(ModelNotFound)
    async def not_found(_: Request, __: Exception) -> Response:
        return _error(404, "No such model.")

    @app.exception_handler(ServerNotReady)
    @app.exception_handler(ModelNotReady)
    async def not_ready(_: Request, __: Exception) -> Response:
        return _error(503, "Not ready.")

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return _error(error.status_code, str(error.detail), error.headers)


def _error(status: int, message: str, headers: Any = None) -> Response:
    # Escaped to ASCII: what pydantic cites of a body may be no valid Unicode.
    body = orjson.dumps({"error": message.encode("ascii", "backslashreplace").decode()})
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _body(model: type[BaseModel], *, binary: bool) -> dict[str, object]:
    content: dict[str, object] = {"application/json": {"schema": model.model_json_schema()}}
    if binary:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {"required": True, "content": content}
