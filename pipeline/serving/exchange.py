"""One request and its response: within the limit, decoded, timed, and with an id.

The client's connection is watched only once the answer takes long: a watch costs a tenth of a small
request. If the client is gone, its work is dropped. Refusals of large requests are answered
after a pause, against clients that ask in a loop.
"""

import asyncio
import time
import uuid
from collections.abc import Callable

from starlette.types import Message, Receive, Send

from pipeline.serving.coding import DamagedBodyError, Decoder, OversizedBodyError

GONE = 499
"""Status in logs and metrics of a request whose client went before the answer; never sent."""
_WATCHED_AFTER_S = 0.1
_LARGE_BODY_BYTES = 16_384
_PAUSE_S = 0.25


class Exchange:
    """One request and its response."""

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        limit: int,
        announced: int,
        is_head: bool,
        is_draining: Callable[[], bool],
    ) -> None:
        self._receive, self._send = receive, send
        self._limit, self._is_head, self._is_draining = limit, is_head, is_draining
        self.decoder: Decoder | None = None
        self.request_id = uuid.uuid4().hex
        self.status, self.has_started, self.is_gone = 500, False, False
        self._announced, self._size = announced, 0
        self._fault: OversizedBodyError | DamagedBodyError | None = None
        self._received_s = time.perf_counter()
        self._answered_s: float | None = None
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        """Time from the request's last byte to its answer's first."""
        return (self._answered_s or time.perf_counter()) - self._received_s

    async def receive_decoded(self) -> Message:
        """Return the next part of the body; raise where it is too large or damaged."""
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        body = message.get("body", b"")
        is_last = not message.get("more_body", False)
        self._size += len(body)
        try:
            if self._size > self._limit:
                raise OversizedBodyError
            if self.decoder is not None:
                message = {**message, "body": self.decoder.decode(body, is_last=is_last)}
        except (OversizedBodyError, DamagedBodyError) as fault:
            self._fault = fault
            raise
        if is_last:
            self._received_s = time.perf_counter()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_WATCHED_AFTER_S, self._start_watching)
        return message

    async def send_marked(self, message: Message) -> None:
        """Send a part of the response, its start with the request's id."""
        if message["type"] == "http.response.start":
            self.stop_watching()
            self.has_started, self.status = True, message["status"]
            self._answered_s = time.perf_counter()
            if self.status >= 400 and max(self._size, self._announced) > _LARGE_BODY_BYTES:
                await asyncio.sleep(_PAUSE_S)
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

    def stop_watching(self) -> None:
        """Stop looking whether the client is still there."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _start_watching(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Cancel the request when its client goes."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.has_started:
            self.is_gone = True
            if self._task is not None:
                self._task.cancel()
