"""The route for texts, beside the protocol's for tensors."""

from collections.abc import Sequence
from typing import Any, Union

import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline.serving.errors import RequestError
from pipeline.serving.protocol import Plane
from pipeline.serving.routes import ERRORS, MODEL, VERSION, ModelName, VersionNumber
from pipeline.serving.settings import ServeSettings
from pipeline.tasks.all_tasks import TASKS


class TextsRequest(BaseModel):
    """Texts to answer."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str | tuple[str, str]] = Field(min_length=1)
    """Texts, or pairs of texts."""


class Predictions(BaseModel):
    """The answers, in the texts' order."""

    model_name: str
    model_version: str
    # The tasks' own types, so that the schema names every one: a union that is made at run time,
    # which pydantic reads and mypy cannot.
    predictions: list[Union[*(task.answer_type for task in TASKS.values())]]  # type: ignore[valid-type]


def add_texts(app: FastAPI, plane: Plane, settings: ServeSettings) -> None:
    """Add the route, with and without a version."""
    shown: dict[str, Any] = {
        "response_model": None,
        "responses": {200: {"model": Predictions}, **ERRORS},
    }

    @app.post(f"{MODEL}/texts", **shown)
    async def classify(model_name: ModelName, request: TextsRequest) -> Response:
        return await _classify(plane, settings, model_name, None, request)

    @app.post(f"{VERSION}/texts", **shown)
    async def classify_by_version(
        model_name: ModelName, model_version: VersionNumber, request: TextsRequest
    ) -> Response:
        return await _classify(plane, settings, model_name, model_version, request)


async def _classify(
    plane: Plane, settings: ServeSettings, name: str, version: str | None, request: TextsRequest
) -> Response:
    model = plane.find(name)
    texts: list[tuple[str, ...]] = [
        (text,) if isinstance(text, str) else text for text in request.texts
    ]
    _check_texts(texts, settings)
    answer = await model.classify(texts, version)
    served = answer.served
    content = {
        "model_name": model.name,
        "model_version": str(served.version),
        "predictions": served.classifier.task.answers(answer.outputs, served.labels),
    }
    return Response(orjson.dumps(content), media_type="application/json")


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
