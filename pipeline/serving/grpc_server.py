"""The same protocol over gRPC: KServe's service with our checks before it."""

import hmac
import logging
from collections.abc import Callable
from typing import Any

import grpc
from grpc_interceptor import AsyncServerInterceptor

from pipeline.serving.errors import (
    DeadlineError,
    NotReadyError,
    OverloadedError,
    RequestError,
    UnknownVersionError,
)
from pipeline.serving.kserve_parts import (
    InferenceServicer,
    InvalidInput,
    ModelNotFound,
    messages,
    service,
)
from pipeline.serving.protocol import Plane
from pipeline.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

_OPEN = ("ServerLive", "ServerReady")
_CLOSED = ("RepositoryModelLoad", "RepositoryModelUnload")
_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DeadlineError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (NotReadyError, grpc.StatusCode.UNAVAILABLE),
    (UnknownVersionError, grpc.StatusCode.NOT_FOUND),
    (RequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (ModelNotFound, grpc.StatusCode.NOT_FOUND),
)


class _Servicer(InferenceServicer):  # type: ignore[misc] # KServe's; it has no types
    """KServe's service, which also heeds the versions that requests name."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane, None)
        self._plane = plane

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802 # gRPC's name
        """Return whether the model is loaded."""
        model = self._plane.find(request.name)
        if model.ready:
            model.served(request.version)
        return messages.ModelReadyResponse(ready=model.ready)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 # gRPC's name
        """Return the model's versions, inputs and outputs."""
        metadata = self._plane.find(request.name).metadata(request.version)
        return messages.ModelMetadataResponse(**metadata)

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 # gRPC's name
        """Return the model's output."""
        self._plane.find(request.model_name).served(request.model_version)
        return await super().ModelInfer(request, context)


class GrpcGuard(AsyncServerInterceptor):
    """Token, and an error code for every fault."""

    def __init__(self, settings: ServeSettings) -> None:
        self._token = settings.token

    async def intercept(
        self, method: Callable[..., Any], request: Any, context: Any, method_name: str
    ) -> Any:
        """Answer one call."""
        name = method_name.rpartition("/")[2]
        if name in _CLOSED:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Models follow the registry.")
        if self._token is not None and name not in _OPEN:
            expected = f"Bearer {self._token.get_secret_value()}"
            sent = dict(context.invocation_metadata() or ()).get("authorization", "")
            if not hmac.compare_digest(sent.encode(), expected.encode()):
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Send the server's token.")
        try:
            return await method(request, context)
        except Exception as error:
            await context.abort(*_status(error))


def _status(error: Exception) -> tuple[grpc.StatusCode, str]:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code, str(error)[:500]
    # KServe decodes tensors before it asks the model: numbers and shapes that don't fit.
    if isinstance(error, ValueError | TypeError | KeyError | IndexError):
        return grpc.StatusCode.INVALID_ARGUMENT, "The request does not fit the protocol."
    logger.error("call failed", exc_info=error)
    return grpc.StatusCode.INTERNAL, "Internal error."


async def start_grpc(plane: Plane, settings: ServeSettings) -> tuple[Any, int]:
    """Start the gRPC server; return it and its port."""
    server = grpc.aio.server(
        interceptors=(GrpcGuard(settings),),
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.so_reuseport", 0),
        ],
    )
    service.add_GRPCInferenceServiceServicer_to_server(_Servicer(plane), server)
    port = server.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    await server.start()
    return server, port
