"""The routes of the Open Inference Protocol (v2), with and without a model's version.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol. Routes that load
and unload models are left out: models follow the registry.
"""

from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Path, Request, Response
from pydantic import BaseModel, StrictBool

from pipeline.serving.decoding import decode_request
from pipeline.serving.kserve_parts import (
    InferenceRequest,
    InferenceResponse,
    ListModelsResponse,
    ModelMetadataResponse,
    ModelReadyResponse,
    ServerLiveResponse,
    ServerMetadataResponse,
    ServerNotReady,
    ServerReadyResponse,
)
from pipeline.serving.protocol import Plane

ModelName = Annotated[str, Path(max_length=63, description="Name that a model is served under.")]
VersionNumber = Annotated[
    str, Path(max_length=63, description="Number that the model's metadata give.")
]


class ErrorBody(BaseModel):
    """Fault of the request, in a sentence."""

    error: str


class IndexedModel(BaseModel):
    """A model in the repository's index."""

    name: str
    version: str
    """Empty where none is loaded."""
    state: str
    """``READY`` or ``UNAVAILABLE``."""
    reason: str


class IndexRequest(BaseModel):
    """Models that an index is to name."""

    ready: StrictBool = False
    """Whether only models that are loaded are named."""


class Readiness(ServerReadyResponse):  # type: ignore[misc] # KServe's; it has no types
    """Whether requests can be sent, and the models behind that."""

    models: int
    """Names that are served, or will be once they have a champion."""
    loaded: int
    without_champion: int
    """Names that the registry has no champion for; these are not waited for."""


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 404, 413, 415, 422, 503, 504)
}
MODEL, VERSION = "/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"


def add_protocol(app: FastAPI, plane: Plane) -> None:
    """Add the protocol's routes."""
    _add_server(app, plane)
    _add_models(app, plane)
    _add_inference(app, plane)


def _add_server(app: FastAPI, plane: Plane) -> None:
    @app.get("/v2", responses=ERRORS)
    async def metadata() -> ServerMetadataResponse:
        return ServerMetadataResponse.model_validate(plane.metadata())

    @app.get("/v2/health/live", responses=ERRORS)
    async def live() -> ServerLiveResponse:
        return ServerLiveResponse(live=True)

    @app.get("/v2/health/ready", responses=ERRORS)
    async def ready() -> Readiness:
        state = Readiness(
            ready=await plane.ready(),
            models=len(plane.models),
            loaded=plane.loaded(),
            without_champion=plane.without_champion(),
        )
        if not state.ready:
            raise ServerNotReady(
                f"{state.loaded} of {state.models} models are loaded, and "
                f"{state.without_champion} have no champion."
            )
        return state

    @app.get("/v2/models", responses=ERRORS)
    async def models() -> ListModelsResponse:
        return ListModelsResponse(models=list(plane.models))

    @app.post("/v2/repository/index", responses=ERRORS)
    async def index(asked: IndexRequest | None = None) -> list[IndexedModel]:
        entries = plane.index(only_ready=asked is not None and asked.ready)
        return [IndexedModel.model_validate(each) for each in entries]


def _add_models(app: FastAPI, plane: Plane) -> None:
    @app.get(MODEL, responses=ERRORS)
    async def model_metadata(model_name: ModelName) -> ModelMetadataResponse:
        return ModelMetadataResponse.model_validate(plane.find(model_name).metadata())

    @app.get(VERSION, responses=ERRORS)
    async def version_metadata(
        model_name: ModelName, model_version: VersionNumber
    ) -> ModelMetadataResponse:
        metadata = plane.find(model_name).metadata(model_version)
        return ModelMetadataResponse.model_validate(metadata)

    @app.get(f"{MODEL}/ready", responses=ERRORS)
    async def model_ready(model_name: ModelName) -> ModelReadyResponse:
        plane.find(model_name).served()
        return ModelReadyResponse(name=model_name, ready=True)

    @app.get(f"{VERSION}/ready", responses=ERRORS)
    async def version_ready(
        model_name: ModelName, model_version: VersionNumber
    ) -> ModelReadyResponse:
        plane.find(model_name).served(model_version)
        return ModelReadyResponse(name=model_name, ready=True)


def _add_inference(app: FastAPI, plane: Plane) -> None:
    content = {
        "application/json": {"schema": InferenceRequest.model_json_schema()},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    }
    shown: dict[str, Any] = {
        "response_model": None,
        "responses": {200: {"model": InferenceResponse}, **ERRORS},
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }

    @app.post(f"{MODEL}/infer", **shown)
    async def infer(model_name: ModelName, request: Request) -> Response:
        return await _infer(plane, model_name, None, request)

    @app.post(f"{VERSION}/infer", **shown)
    async def infer_version(
        model_name: ModelName, model_version: VersionNumber, request: Request
    ) -> Response:
        return await _infer(plane, model_name, model_version, request)


async def _infer(plane: Plane, name: str, version: str | None, request: Request) -> Response:
    """Answer an inference request, with tensors in JSON or in binary behind it."""
    plane.find(name).served(version)
    headers = dict(request.headers)
    asked = decode_request(await request.body(), headers, model=name, version=version)
    response, _ = await plane.infer(name, asked, headers)
    encoded, extra = plane.encode(name, response, None, {})
    if isinstance(encoded, bytes):
        return Response(encoded, media_type="application/octet-stream", headers=extra)
    return Response(orjson.dumps(encoded), media_type="application/json")
