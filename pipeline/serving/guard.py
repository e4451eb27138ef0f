"""What stands before every REST request: size, coding, token, log line, metrics, and faults hidden.

A plain ASGI middleware: nothing of a request's content, no header and no query is ever logged.
"""

import hmac
import json
import logging
import time
import uuid
from collections.abc import Callable

from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.coding import (
    ACCEPTED,
    DamagedBodyError,
    Decoder,
    OversizedBodyError,
    UnknownCodingError,
    decoder_of,
)
from pipeline.serving.metrics import ServerMetrics

logger = logging.getLogger(__name__)

_OPEN = ("/v2/health/live", "/v2/health/ready")


class _Exchange:
    """One request and its response, within the limit, decoded, and with its id."""

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        limit: int,
        is_head: bool,
        is_draining: Callable[[], bool],
    ) -> None:
        self._receive, self._send = receive, send
        self._limit, self._is_head, self._is_draining = limit, is_head, is_draining
        self.decoder: Decoder | None = None
        self.request_id = uuid.uuid4().hex
        self.status, self.has_started = 500, False
        self._size = 0
        self._fault: OversizedBodyError | DamagedBodyError | None = None

    async def receive_decoded(self) -> Message:
        """Return the next part of the body; raise where it is too large or damaged."""
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        body = message.get("body", b"")
        self._size += len(body)
        try:
            if self._size > self._limit:
                raise OversizedBodyError
            if self.decoder is not None:
                is_last = not message.get("more_body", False)
                message = {**message, "body": self.decoder.decode(body, is_last=is_last)}
        except (OversizedBodyError, DamagedBodyError) as fault:
            self._fault = fault
            raise
        return message

    async def send_marked(self, message: Message) -> None:
        """Send a part of the response, its start with the request's id."""
        if message["type"] == "http.response.start":
            self.has_started, self.status = True, message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode())]
            if self._is_draining():
                # The client's next request opens a connection to whoever listens then.
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif self._is_head:
            message = {**message, "body": b""}
        await self._send(message)

    async def send_unless_faulty(self, message: Message) -> None:
        """Send a part of the application's own response."""
        # The framework answers 400 itself to whatever goes wrong while it reads a body.
        if self._fault is not None:
            raise self._fault
        await self.send_marked(message)


class Guard:
    """The outermost layer of the application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: ServerMetrics,
        max_body_bytes: int,
        token: SecretStr | None,
        is_draining: Callable[[], bool],
    ) -> None:
        self._app, self._metrics, self._limit = app, metrics, max_body_bytes
        self._token, self._is_draining = token, is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        is_head = scope["method"] == "HEAD"
        exchange = _Exchange(
            receive, send, limit=self._limit, is_head=is_head, is_draining=self._is_draining
        )
        inner = {**scope, "method": "GET"} if is_head else scope
        try:
            await self._answer(inner, exchange)
        except Exception:
            facts = {"request_id": exchange.request_id}
            logger.exception("request failed", extra={"facts": facts})
            if not exchange.has_started:
                message = f"Internal error; request id {exchange.request_id}."
                await _answer(exchange.send_marked, 500, message)
        finally:
            # The route's pattern and not the path: a metric must not have a series per typo.
            route = getattr(inner.get("route"), "path", "none")
            self._record(scope, route, exchange, time.perf_counter() - started)

    async def _answer(self, scope: Scope, exchange: _Exchange) -> None:
        """Let the application answer, or refuse the request."""
        refusal = self._refuse(scope)
        if refusal is not None:
            await _answer(exchange.send_marked, *refusal)
            return
        try:
            codings = [value for name, value in scope["headers"] if name == b"content-encoding"]
            exchange.decoder = decoder_of(codings, limit=self._limit)
            await self._app(scope, exchange.receive_decoded, exchange.send_unless_faulty)
        except UnknownCodingError as error:
            await _answer(exchange.send_marked, 415, str(error))
        except OversizedBodyError:
            await _answer(exchange.send_marked, 413, self._too_large())
        except DamagedBodyError as error:
            await _answer(exchange.send_marked, 400, str(error), is_unread=True)

    def _too_large(self) -> str:
        return f"The body is larger than {self._limit} bytes."

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        if self._token is not None and scope["path"] not in _OPEN:
            expected = f"Bearer {self._token.get_secret_value()}".encode()
            if not hmac.compare_digest(headers.get(b"authorization", b""), expected):
                return 401, "Send the server's token as Authorization: Bearer."
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit:
            return 413, self._too_large()
        return None

    def _record(self, scope: Scope, route: str, exchange: _Exchange, seconds: float) -> None:
        self._metrics.requests.labels(route, str(exchange.status)).observe(seconds)
        facts = {
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": exchange.status,
            "ms": round(1000 * seconds, 3),
            "request_id": exchange.request_id,
        }
        logger.info("request", extra={"facts": facts})


async def _answer(send: Send, status: int, message: str, *, is_unread: bool = False) -> None:
    """Answer with an error; the connection ends where the rest of the body was not read."""
    body = json.dumps({"error": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 415:
        headers.append((b"accept-encoding", ACCEPTED.encode()))
    if is_unread or status == 413:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
