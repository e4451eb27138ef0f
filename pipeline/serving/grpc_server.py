"""The Open Inference Protocol over gRPC: KServe's service, with checks before it, and the index."""

import asyncio
import hmac
import logging
import time
import uuid
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
from pipeline.serving.log_lines import CallLog
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.protocol import Plane
from pipeline.serving.repository_index import index_handler
from pipeline.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

_STREAMS = 100
"""Calls at a time over one connection; clients let more of them wait."""
_LONGEST_CONNECTION_MS = 300_000
_COMPRESSION = {
    "none": grpc.Compression.NoCompression,
    "deflate": grpc.Compression.Deflate,
    "gzip": grpc.Compression.Gzip,
}
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


class _RefusedCallError(Exception):
    """A call is refused before it is read, with a code of its own."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class _UnreadableError(RequestError):
    """Stands for a message that cannot be parsed, until the guard answers its call."""


def _parser(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a parser that gives what is wrong with a message; gRPC would answer UNKNOWN."""

    def read(message: bytes) -> Any:
        try:
            return parse(message)
        except Exception:  # whichever the implementation of protobuf raises
            return _UnreadableError("The message cannot be parsed: it is not the protocol's.")

    return read


class GrpcGuard(AsyncServerInterceptor):
    """Token, an error code for every fault, metrics and a log line."""

    def __init__(self, settings: ServeSettings, metrics: ServerMetrics) -> None:
        self._token, self._metrics = settings.token, metrics
        self._log = CallLog()

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the handler of a call; it is given also messages that cannot be parsed."""

        async def find(details: Any) -> Any:
            found = await continuation(details)
            if not found:
                return None
            return found._replace(request_deserializer=_parser(found.request_deserializer))

        service = super().intercept_service
        return await service(find, handler_call_details)  # type: ignore[no-untyped-call] # the library's

    async def intercept(
        self, method: Callable[..., Any], request: Any, context: Any, method_name: str
    ) -> Any:
        """Answer one call."""
        started, code = time.perf_counter(), grpc.StatusCode.OK
        try:
            self._check(method_name, context)
            if isinstance(request, _UnreadableError):
                raise request
            return await method(request, context)
        except asyncio.CancelledError:  # by the client, or by its deadline
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            code, message = _status(error)
            await context.abort(code, message)
        finally:
            self._record(method_name, code, time.perf_counter() - started)

    def _check(self, method_name: str, context: Any) -> None:
        name = _short(method_name)
        if name in _CLOSED:
            raise _RefusedCallError(grpc.StatusCode.UNIMPLEMENTED, "Models follow the registry.")
        if self._token is not None and name not in _OPEN:
            expected = f"Bearer {self._token.get_secret_value()}"
            sent = dict(context.invocation_metadata() or ()).get("authorization", "")
            if not hmac.compare_digest(sent.encode(), expected.encode()):
                raise _RefusedCallError(grpc.StatusCode.UNAUTHENTICATED, "Send the server's token.")

    def _record(self, method_name: str, code: grpc.StatusCode, seconds: float) -> None:
        self._metrics.requests.labels(method_name, code.name).observe(seconds)
        self._log.write(
            method="gRPC",
            path=method_name,
            status=code.name,
            seconds=seconds,
            request_id=uuid.uuid4().hex,
            is_health=_short(method_name) in _OPEN,
        )


def _short(method_name: str) -> str:
    return method_name.rpartition("/")[2]


def _status(error: Exception) -> tuple[grpc.StatusCode, str]:
    if isinstance(error, _RefusedCallError):
        return error.code, str(error)
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code, str(error)[:500]
    # KServe decodes tensors before it asks the model: numbers and shapes that don't fit.
    if isinstance(error, ValueError | TypeError | KeyError | IndexError):
        return grpc.StatusCode.INVALID_ARGUMENT, "The request does not fit the protocol."
    logger.error("call failed", exc_info=error)
    return grpc.StatusCode.INTERNAL, "Internal error."


async def start_grpc(
    plane: Plane, settings: ServeSettings, metrics: ServerMetrics
) -> tuple[Any, int]:
    """Start the gRPC server; return it and its port."""
    server = grpc.aio.server(
        interceptors=(GrpcGuard(settings, metrics),),
        compression=_COMPRESSION[settings.grpc_compression],
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_metadata_size", settings.max_head_bytes),
            ("grpc.absolute_max_metadata_size", settings.max_head_bytes),
            ("grpc.max_concurrent_streams", _STREAMS),
            ("grpc.max_allowed_incoming_connections", settings.max_connections),
            ("grpc.server_handshake_timeout_ms", round(1000 * settings.head_s)),
            ("grpc.max_connection_idle_ms", 1000 * settings.keep_alive_s),
            # Ends connections whose calls never come to an end; clients connect again unseen.
            ("grpc.max_connection_age_ms", _LONGEST_CONNECTION_MS),
            ("grpc.max_connection_age_grace_ms", round(1000 * settings.body_s)),
            ("grpc.so_reuseport", 0),
        ],
    )
    service.add_GRPCInferenceServiceServicer_to_server(_Servicer(plane), server)
    server.add_generic_rpc_handlers((index_handler(plane),))
    port = server.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    await server.start()
    return server, port
