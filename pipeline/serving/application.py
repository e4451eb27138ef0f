"""The REST application: its routes, and its answers to faults.

KServe's data plane and types are used. Its ModelServer is not, because it listens on every address
and lets anyone load and unload models. It also answers faults with their own text.
"""

from importlib.metadata import version
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from pipeline.serving.errors import RequestError
from pipeline.serving.guard import Guard
from pipeline.serving.kserve_parts import ModelNotFound, ModelNotReady, ServerNotReady
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.protocol import Plane
from pipeline.serving.routes import add_protocol
from pipeline.serving.settings import ServeSettings
from pipeline.serving.texts_route import add_texts


def make_application(plane: Plane, settings: ServeSettings, metrics: ServerMetrics) -> FastAPI:
    """Return the application over a data plane."""
    app = FastAPI(
        title="adapter-distill", version=version("adapter-distill"), docs_url=None, redoc_url=None
    )
    add_protocol(app, plane)
    add_texts(app, plane, settings)

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
    async def not_ready(_: Request, error: ServerNotReady) -> Response:
        return _error(503, error.error_msg)

    @app.exception_handler(ModelNotReady)
    async def model_not_ready(_: Request, __: Exception) -> Response:
        return _error(503, "Not ready.")

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return _error(error.status_code, str(error.detail), error.headers)


def _error(status: int, message: str, headers: Any = None) -> Response:
    # Escaped to ASCII: what pydantic cites of a body may be no valid Unicode.
    body = orjson.dumps({"error": message.encode("ascii", "backslashreplace").decode()})
    return Response(body, status_code=status, headers=headers, media_type="application/json")
