"""One HTTP connection, with limits on size and time of a client's requests.

Uvicorn limits neither with the fast parser (httptools). With the slow one (h11) it limits only the
size of a request's head. Everything here happens before the application is called.
"""

import asyncio
import json
import time
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline.serving.settings import ServeSettings

_MAX_URL_BYTES = 8192
_FRAMING = 8
"""Bytes on the wire per byte of a body, at most: chunks of one byte take 6."""


class _RefusedHeadError(Exception):
    """Ends the parsing of a request; uvicorn then asks for the answer to a bad request."""


class Connection(HttpToolsProtocol):
    """A connection of uvicorn's, within limits."""

    def __init__(self, *args: Any, settings: ServeSettings, **kwargs: Any) -> None:  # uvicorn's own
        super().__init__(*args, **kwargs)
        self._settings = settings
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._quiet_since = time.monotonic()
        self._refusal = HTTPStatus.BAD_REQUEST
        self._is_in_head = True
        self._message_bytes, self._header_bytes = 0, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn
        """Take a connection; where there are too many, one that does nothing has to go."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            open_ones = [each for each in self.connections if isinstance(each, Connection)]
            idle = [each for each in open_ones if each is not self and _is_idle(each)]
            if not idle:
                self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
                return
            min(idle, key=lambda each: each._quiet_since).transport.close()
        self._expect(self._settings.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._expect(None)
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse what is too much."""
        self._quiet_since = time.monotonic()
        if self._timer is None and _is_idle(self):
            self._expect(self._settings.head_s)
        self._message_bytes += len(data)
        super().data_received(data)
        limit = self._settings.max_head_bytes
        if self._is_in_head:
            if self._message_bytes > limit:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._message_bytes > limit + len(data) + _FRAMING * self._settings.max_body_bytes:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._is_in_head, self._header_bytes = True, 0
        if self._timer is None:
            self._expect(self._settings.head_s)

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        super().on_url(url)
        if len(self.url) > _MAX_URL_BYTES:
            self._stop_parsing(HTTPStatus.REQUEST_URI_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or one that follows the body."""
        self._header_bytes += len(name) + len(value) + 4  # ": " and a line break
        if self._header_bytes > self._settings.max_head_bytes:
            self._stop_parsing(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Call the application; the body has a time of its own."""
        self._is_in_head = False
        self._expect(self._settings.body_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a request."""
        self._message_bytes = 0
        self._is_in_head = True
        self._expect(None)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is none, or was refused."""
        self._refuse(self._refusal)

    def pause_writing(self) -> None:
        """Wait for a client that does not read its answer, but not for ever."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self._settings.body_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        if self.flow is not None:
            super().resume_writing()

    def _expect(self, seconds: float | None) -> None:
        """Let the connection end unless this is called again in time; None: without an end."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = (seconds and self.loop.call_later(seconds, self._time_out)) or None

    def _time_out(self) -> None:
        self._timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _stop_parsing(self, status: HTTPStatus) -> None:
        self._refusal = status
        raise _RefusedHeadError

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer with an error where no other answer has begun, and close."""
        if self.transport.is_closing():
            return
        if _is_idle(self) or not self.cycle.response_started:
            body = json.dumps({"error": f"{status.phrase}."}).encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def _is_idle(connection: HttpToolsProtocol) -> bool:
    """Return whether no request is being answered."""
    return connection.cycle is None or connection.cycle.response_complete
