"""What stands before every REST request: size, token, log line, metrics, and faults hidden.

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

from pipeline.serving.metrics import ServerMetrics

logger = logging.getLogger(__name__)

_OPEN = ("/v2/health/live", "/v2/health/ready")


class _TooLargeError(Exception):
    pass


class _Exchange:
    """One request and its response, within the limit and with its id."""

    def __init__(
        self, receive: Receive, send: Send, *, limit: int, is_draining: Callable[[], bool]
    ) -> None:
        self._receive, self._send = receive, send
        self._limit, self._is_draining = limit, is_draining
        self.request_id = uuid.uuid4().hex
        self.status, self.has_started = 500, False
        self._size, self._is_too_large = 0, False

    async def receive_limited(self) -> Message:
        """Return the next part of the body; raise once it is too large."""
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            self._is_too_large = True
            raise _TooLargeError
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
        await self._send(message)

    async def send_unless_too_large(self, message: Message) -> None:
        """Send a part of the application's own response."""
        # The framework answers 400 itself to whatever goes wrong while it reads a body.
        if self._is_too_large:
            raise _TooLargeError
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
        exchange = _Exchange(receive, send, limit=self._limit, is_draining=self._is_draining)
        request_id = exchange.request_id
        try:
            refusal = self._refuse(scope)
            if refusal is not None:
                await _answer(exchange.send_marked, *refusal)
            else:
                await self._app(scope, exchange.receive_limited, exchange.send_unless_too_large)
        except _TooLargeError:
            message = f"The body is larger than {self._limit} bytes."
            await _answer(exchange.send_marked, 413, message)
        except Exception:
            logger.exception("request failed", extra={"facts": {"request_id": request_id}})
            if not exchange.has_started:
                message = f"Internal error; request id {request_id}."
                await _answer(exchange.send_marked, 500, message)
        finally:
            self._record(scope, exchange.status, time.perf_counter() - started, request_id)

    def _refuse(self, scope: Scope) -> tuple[int, str] | None:
        headers = dict(scope["headers"])
        if self._token is not None and scope["path"] not in _OPEN:
            expected = f"Bearer {self._token.get_secret_value()}".encode()
            if not hmac.compare_digest(headers.get(b"authorization", b""), expected):
                return 401, "Send the server's token as Authorization: Bearer."
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit:
            return 413, f"The body is larger than {self._limit} bytes."
        return None

    def _record(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        # The route's pattern and not the path: a metric must not have a series per typo.
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(route, str(status)).observe(seconds)
        facts = {
            "method": scope["method"],
            "path": scope["path"][:200],
            "status": status,
            "ms": round(1000 * seconds, 3),
            "request_id": request_id,
        }
        logger.info("request", extra={"facts": facts})


async def _answer(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 413:  # the rest of the body was not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
