"""Content codings of answers: gzip or deflate, where a request's Accept-Encoding takes them.

JSON shrinks to half at the fastest level; higher levels gain 4 % for six times the work. Answers
below a kilobyte stay plain. Answers in pieces stay plain too, because a client of a stream wants
the first piece at once.
"""

import asyncio
import zlib
from collections.abc import Mapping, Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_NAMES = {"x-gzip": "gzip", "*": "gzip"}
"""Other spellings of a coding (RFC 9110, section 12.5.3); any coding is taken to be gzip."""
_FEWEST_BYTES = 1024
_BYTES_ON_THE_LOOP = 16_384
"""Larger answers, of more than about 0.3 ms, are compressed beside the event loop."""


def coding_for(accepted: Sequence[bytes]) -> str | None:
    """Return the coding that values of Accept-Encoding prefer, or None for plain answers.

    A coding that cannot be read is not accepted. If two codings weigh the same, gzip is taken.
    """
    weights: dict[str, float] = {}
    for part in b",".join(accepted).decode("latin-1").lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        coding = _NAMES.get(name, name)
        # A coding by its own name counts more than "*".
        if not (name == "*" and coding in weights):
            weights[coding] = _weight(parameters)
    best = max(_WINDOW_BITS, key=lambda coding: weights.get(coding, 0.0))
    return best if weights.get(best, 0.0) > 0 and not _prefers_plain(weights, best) else None


def _prefers_plain(weights: Mapping[str, float], coding: str) -> bool:
    return weights.get("identity", 0.0) > weights[coding]


def _weight(parameters: Sequence[str]) -> float:
    """Return the weight of ``q=0.5``: 1 without one, and 0 for one that is no number."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            number = value.strip()
            return float(number) if number.replace(".", "", 1).isdecimal() else 0.0
    return 1.0


def compress(body: bytes, coding: str) -> bytes:
    """Return a body in a coding."""
    packer = zlib.compressobj(zlib.Z_BEST_SPEED, wbits=_WINDOW_BITS[coding])
    return packer.compress(body) + packer.flush()


class CompressedAnswer:
    """One answer, whose start is held back until its body's first piece is there."""

    def __init__(self, send: Send, coding: str) -> None:
        self._send, self._coding = send, coding
        self._start: Message | None = None

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        start, self._start = self._start, None
        if start is not None:
            start, message = await self._coded(start, message)
            await self._send(start)
        await self._send(message)

    async def _coded(self, start: Message, message: Message) -> tuple[Message, Message]:
        """Return the response's start and first piece, compressed where that makes it smaller."""
        body: bytes = message.get("body", b"")
        headers = MutableHeaders(raw=list(start.get("headers", ())))
        if message.get("more_body", False) or len(body) < _FEWEST_BYTES:
            return start, message
        if len(body) > _BYTES_ON_THE_LOOP:
            packed = await asyncio.to_thread(compress, body, self._coding)
        else:
            packed = compress(body, self._coding)
        if len(packed) < len(body):
            headers["content-encoding"], headers["content-length"] = self._coding, str(len(packed))
            headers.add_vary_header("accept-encoding")
            message = {**message, "body": packed}
        return {**start, "headers": headers.raw}, message
