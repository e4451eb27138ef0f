"""The route for texts, beside the protocol's for tensors.

Pydantic itself reads the body, a megabyte in 0.3 ms. FastAPI would take 5 ms, and keep all others
waiting.
"""

from collections.abc import Sequence
from typing import Any, Union

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.serving.errors import RequestError
from pipeline.serving.protocol import Plane
from pipeline.serving.routes import ERRORS, MODEL, VERSION, ModelName, VersionNumber
from pipeline.serving.settings import ServeSettings
from pipeline.tasks.all_tasks import TASKS


class ContextQuestion(BaseModel):
    """A question to a context: a pair by its names."""

    model_config = ConfigDict(extra="forbid")

    question: str
    context: str


class TextsRequest(BaseModel):
    """Texts to answer."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str | tuple[str, str] | ContextQuestion] = Field(min_length=1)
    """Texts, pairs of texts, or questions with their contexts."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Language models alone: most tokens of each completion."""


class Predictions(BaseModel):
    """The answers, in the texts' order."""

    model_name: str
    model_version: str
    # Of the tasks' own types, so that the schema names every one.
    predictions: list[
        Union[*(task.answer_type for task in TASKS.values())]  # type: ignore[valid-type] # pydantic reads it at run time
    ]
    truncated: list[int]
    """Positions of texts that are longer than the model reads: a part of them was cut."""


def add_texts(app: FastAPI, plane: Plane, settings: ServeSettings) -> None:
    """Add the route, with and without a version."""
    content = {"application/json": {"schema": TextsRequest.model_json_schema()}}
    shown: dict[str, Any] = {
        "response_model": None,
        "responses": {200: {"model": Predictions}, **ERRORS},
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }

    @app.post(f"{MODEL}/texts", **shown)
    async def classify(model_name: ModelName, request: Request) -> Response:
        return await _classify(plane, settings, model_name, None, request)

    @app.post(f"{VERSION}/texts", **shown)
    async def classify_by_version(
        model_name: ModelName, model_version: VersionNumber, request: Request
    ) -> Response:
        return await _classify(plane, settings, model_name, model_version, request)


async def _classify(
    plane: Plane, settings: ServeSettings, name: str, version: str | None, request: Request
) -> Response:
    model = plane.find(name)
    asked = await _read(request)
    texts = [_as_text(each) for each in asked.texts]
    _check_texts(texts, settings)
    if asked.max_tokens is not None or model.served(version).classifier.task.continues:
        served, completions = await model.complete(texts, asked.max_tokens, version)
        task = served.classifier.task
        predictions = task.answers(completions, served.labels, texts)
        truncated: Sequence[int] = ()  # longer prompts are refused
    else:
        answer = await model.classify(texts, version)
        served = answer.served
        predictions = served.classifier.answers(answer.outputs, texts)
        truncated = answer.truncated
    content = {
        "model_name": model.name,
        "model_version": str(served.version),
        "predictions": predictions,
        "truncated": truncated,
    }
    return Response(orjson.dumps(content), media_type="application/json")


def _as_text(given: str | tuple[str, str] | ContextQuestion) -> tuple[str, ...]:
    if isinstance(given, ContextQuestion):
        return given.question, given.context
    return (given,) if isinstance(given, str) else given


async def _read(request: Request) -> TextsRequest:
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind == "application/json" or kind.endswith("+json")):
        raise RequestError("Expected a body of the type application/json.")
    try:
        return TextsRequest.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        for each in problems:
            each["loc"] = ("body", *each["loc"])
        raise RequestValidationError(problems) from error


def _check_texts(texts: Sequence[tuple[str, ...]], settings: ServeSettings) -> None:
    if len(texts) > settings.max_texts:
        raise RequestError(f"At most {settings.max_texts} texts per request.")
    if sum(len(part) for text in texts for part in text) > settings.max_request_characters:
        raise RequestError(f"At most {settings.max_request_characters} characters per request.")
    for text in texts:
        if sum(map(len, text)) > settings.max_characters:
            raise RequestError(f"At most {settings.max_characters} characters per text.")
        try:
            "".join(text).encode()
        except UnicodeEncodeError as error:  # JSON can spell half a surrogate pair
            raise RequestError("A text is not valid Unicode.") from error
