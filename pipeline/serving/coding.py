"""Content codings of request bodies: gzip and deflate, decoded piece by piece within a limit.

Clients of the protocol compress large requests (`tritonclient` by an argument). A few kilobytes can
hold gigabytes, so no more than the limit is ever decoded. ``deflate`` means the zlib format (RFC
9110, section 8.4.1).
"""

import zlib
from collections.abc import Sequence

ACCEPTED = "gzip, deflate"
_GZIP_BITS, _ZLIB_BITS = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS
_WINDOW_BITS = {"gzip": _GZIP_BITS, "x-gzip": _GZIP_BITS, "deflate": _ZLIB_BITS}


class UnknownCodingError(Exception):
    """A body is coded in another way than the accepted ones; answered with 415."""


class DamagedBodyError(Exception):
    """A body does not hold what its coding says; answered with 400."""


class OversizedBodyError(Exception):
    """A body is larger than the limit, as sent or decoded; answered with 413."""


class Decoder:
    """One compressed body."""

    def __init__(self, coding: str, *, limit: int) -> None:
        self._coding, self._bits, self._left = coding, _WINDOW_BITS[coding], limit
        self._member = zlib.decompressobj(self._bits)

    def decode(self, data: bytes, *, is_last: bool) -> bytes:
        """Return the content of the body's next piece.

        Raises:
            OversizedBodyError: when the content passes the limit.
            DamagedBodyError: when the piece is no such data, or the last one ends too early.
        """
        parts = []
        while data:
            if self._member.eof:  # gzip allows several members, one behind the other
                if self._bits == _ZLIB_BITS:
                    raise DamagedBodyError(f"Bytes follow the {self._coding} data of the body.")
                self._member = zlib.decompressobj(self._bits)
            try:
                part = self._member.decompress(data, self._left + 1)
            except zlib.error as error:
                raise DamagedBodyError(f"The body is no {self._coding} data.") from error
            self._left -= len(part)
            if self._left < 0:
                raise OversizedBodyError
            parts.append(part)
            # Input that is kept for lack of room would mean more output than the limit.
            data = self._member.unused_data
        if is_last and not self._member.eof:
            raise DamagedBodyError(f"The body's {self._coding} data ends too early.")
        return b"".join(parts)


def decoder_of(codings: Sequence[bytes], *, limit: int) -> Decoder | None:
    """Return the decoder for the values of a request's Content-Encoding, or None for plain bodies.

    Raises:
        UnknownCodingError: for another coding, or several.
    """
    names = [name.strip().lower() for name in b",".join(codings).decode("latin-1").split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return None
    if len(names) > 1 or names[0] not in _WINDOW_BITS:
        raise UnknownCodingError(
            f"Expected a body that is plain or coded as {ACCEPTED.replace(', ', ' or ')}."
        )
    return Decoder(names[0], limit=limit)
