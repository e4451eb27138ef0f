"""Guard before every REST request: size, codings, token, log line, metrics, hidden faults.

It is a plain ASGI middleware. No content, no header and no query of a request is ever logged.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import Callable

from pydantic import SecretStr
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.serving.coding import (
    ACCEPTED,
    DamagedBodyError,
    OversizedBodyError,
    UnknownCodingError,
    decoder_of,
)
from pipeline.serving.compression import CompressedAnswer, coding_for
from pipeline.serving.exchange import GONE, Exchange
from pipeline.serving.log_lines import CallLog
from pipeline.serving.metrics import ServerMetrics

logger = logging.getLogger(__name__)

_OPEN = ("/v2/health/live", "/v2/health/ready")


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
        self._log = CallLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        exchange = Exchange(
            receive,
            send,
            limit=self._limit,
            announced=_announced_length(scope),
            is_head=is_head,
            is_draining=self._is_draining,
        )
        inner = {**scope, "method": "GET"} if is_head else scope
        try:
            await self._answer(inner, exchange)
        except ClientDisconnect:  # before its last byte
            exchange.status = GONE
        except asyncio.CancelledError:
            if not exchange.is_gone:
                raise
            exchange.status = GONE
        except Exception:
            facts = {"request_id": exchange.request_id}
            logger.exception("request failed", extra={"facts": facts})
            if not exchange.has_started:
                message = f"Internal error; request id {exchange.request_id}."
                await _answer(exchange.send_marked, 500, message)
        finally:
            exchange.stop_watching()
            # The route's pattern and not the path: a metric must not have a series per typo.
            route = getattr(inner.get("route"), "path", "none")
            self._record(scope, route, exchange)

    async def _answer(self, scope: Scope, exchange: Exchange) -> None:
        """Let the application answer, or refuse the request."""
        refusal = self._refuse(scope)
        if refusal is not None:
            await _answer(exchange.send_marked, *refusal)
            return
        try:
            codings = _values_of(scope, b"content-encoding")
            exchange.decoder = decoder_of(codings, limit=self._limit)
            await self._app(scope, exchange.receive_decoded, _sender(scope, exchange))
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
        if _announced_length(scope) > self._limit:
            return 413, self._too_large()
        return None

    def _record(self, scope: Scope, route: str, exchange: Exchange) -> None:
        self._metrics.requests.labels(route, str(exchange.status)).observe(exchange.seconds)
        self._log.write(
            method=scope["method"],
            path=scope["path"][:200],
            status=exchange.status,
            seconds=exchange.seconds,
            request_id=exchange.request_id,
            is_health=scope["path"] in _OPEN,
        )


def _sender(scope: Scope, exchange: Exchange) -> Send:
    """Return what sends the application's response: coded as the client asks for, or plain."""
    coding = coding_for(_values_of(scope, b"accept-encoding"))
    if coding is None:
        return exchange.send_unless_faulty
    return CompressedAnswer(exchange.send_unless_faulty, coding).send


def _values_of(scope: Scope, name: bytes) -> list[bytes]:
    return [value for each, value in scope["headers"] if each == name]


def _announced_length(scope: Scope) -> int:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return int(length) if length.isdigit() else 0


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
