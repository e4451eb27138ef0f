"""Bodies that are compressed: read within their limit, or refused."""

import gzip
import json
import zlib

import pytest
from support.serving_requests import ask, tensors

from pipeline.serving.coding import DamagedBodyError, Decoder, OversizedBodyError

MODEL = "/v2/models/tiny"
INFER = f"{MODEL}/infer"


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("GZIP", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
        ("deflate", zlib.compress),
        ("identity", bytes),
    ],
)
@pytest.mark.parametrize("path", [INFER, f"{MODEL}/texts"])
def test_compressed_bodies_are_read(serving, path, coding, compress):
    content = tensors() if path == INFER else {"texts": ["good film"]}
    headers = {"content-encoding": coding, "content-type": "application/json"}
    body = compress(json.dumps(content).encode())

    plain, coded = ask(
        serving,
        ("POST", path, {"json": content | ({"id": "7"} if path == INFER else {})}),
        ("POST", path, {"content": body, "headers": headers}),
    )

    assert coded.status_code == 200
    assert plain.json() == coded.json() | ({"id": "7"} if path == INFER else {})


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("br", b"{}", 415),
        ("gzip, deflate", b"{}", 415),
        ("gzip", b"{}", 400),
        ("gzip", b"", 400),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-3], 400),
        ("gzip", gzip.compress(b"{}", mtime=0) + b"more", 400),
        ("deflate", zlib.compress(b"{}") + b"more", 400),
        ("gzip", gzip.compress(bytes(5_000_000), mtime=0), 413),
        ("deflate", zlib.compress(bytes(5_000_000)), 413),
    ],
)
def test_bodies_that_cannot_be_decoded_are_refused(serving, coding, body, status):
    (answer,) = ask(
        serving, ("POST", INFER, {"content": body, "headers": {"content-encoding": coding}})
    )

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    if status == 415:
        assert answer.headers["accept-encoding"] == "gzip, deflate"


def test_a_body_is_decoded_piece_by_piece_and_no_further_than_its_limit():
    data = gzip.compress(bytes(range(250)) * 4)
    decoder = Decoder("gzip", limit=1000)
    pieces = [data[start : start + 7] for start in range(0, len(data), 7)]

    decoded = b"".join(decoder.decode(piece, is_last=piece is pieces[-1]) for piece in pieces)

    assert decoded == bytes(range(250)) * 4
    with pytest.raises(OversizedBodyError):
        Decoder("gzip", limit=999).decode(data, is_last=True)
    with pytest.raises(DamagedBodyError):
        Decoder("gzip", limit=1000).decode(data[:-1], is_last=True)
