"""Settings of a server: its addresses, its models and its limits."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from pipeline.config import RegistryPlace
from pipeline.config.provider import Provider

_DAY_S = 86_400
_LARGEST = 2**31 - 1
"""Largest number that the servers below take."""


class ServeSettings(RegistryPlace):
    """A server's settings, and the options of `adapter-distill serve`."""

    champions: tuple[str, ...] = ()
    """Names of registered students; each is served by its name, and follows its champion."""

    bundles: dict[str, Path] = Field(default_factory=dict)
    """Sealed bundles by the name that each is served under; these never change."""

    host: str = "127.0.0.1"
    """Address to listen on; ``0.0.0.0`` inside a container."""

    http_port: int = Field(default=8080, ge=0, le=65535)
    """Port of REST; 0 takes a free one."""

    grpc_port: int | None = Field(default=None, ge=0, le=65535)
    """Port of gRPC; off by default."""

    grpc_compression: Literal["none", "deflate", "gzip"] = "none"
    """Compression of gRPC answers for clients that take it. Floats shrink by 7 % alone, so it is
    off; compressed requests are always read."""

    fd: int | None = Field(default=None, ge=0)
    """File descriptor of an inherited listening socket, instead of host and port."""

    token: SecretStr | None = None
    """API token that clients send as ``Authorization: Bearer ...``; health routes need none. Give
    it in the environment, where no process list shows it."""

    poll_s: float = Field(default=5.0, gt=0, le=_DAY_S)
    """Seconds between two checks of the registry for a new champion."""

    threads: int = Field(default=0, ge=0, le=1024)
    """Threads of onnxruntime per model; 0 takes as many as this process may run at once."""

    provider: Provider = "cpu"
    """Execution provider of onnxruntime. Any but ``cpu`` needs a build of onnxruntime with it, such
    as the package onnxruntime-gpu for ``cuda``."""

    batching: bool = True
    """Whether waiting requests share a call of the model."""

    max_batch_texts: int = Field(default=32, ge=1)
    """Most texts per call of a model."""

    max_batch_tokens: int = Field(default=1024, ge=1)
    """Most padded tokens per call of a model, which limits its memory and its time."""

    mix_rows: bool = False
    """Whether texts share calls of an int8 file too. An answer then depends on the other texts of
    its call, by some thousandths."""

    max_queue_texts: int = Field(default=256, ge=1)
    """Most waiting texts per model; requests beyond them are refused with 503."""

    max_queue_characters: int = Field(default=1_000_000, ge=1)
    """Most waiting characters per model; requests beyond them are refused with 503."""

    deadline_ms: float = Field(default=2000.0, gt=0, le=1000 * _DAY_S)
    """Longest wait of a request, in milliseconds; a longer one is answered with 504."""

    max_body_bytes: int = Field(default=1_048_576, ge=1, le=_LARGEST)
    """Largest request body, in bytes."""

    max_texts: int = Field(default=64, ge=1)
    """Most texts, or rows of a tensor, per request."""

    max_characters: int = Field(default=20_000, ge=1)
    """Most characters per text; tokens beyond the student's own limit are cut off."""

    max_request_characters: int = Field(default=200_000, ge=1)
    """Most characters per request, in all its texts."""

    max_prompt_tokens: int = Field(default=1024, ge=1)
    """Language models: tokens of one prompt."""

    max_completion_tokens: int = Field(default=256, ge=1)
    """Language models: most tokens of one completion, and the default of a request."""

    completion_s: float = Field(default=20.0, gt=0, le=_DAY_S)
    """Language models: seconds for the completions of a request; unfinished ones end then."""

    max_connections: int = Field(default=512, ge=1, le=_LARGEST)
    """Most open HTTP connections, and as many of gRPC. Beyond them an idle connection is closed, or
    the new one is refused."""

    max_head_bytes: int = Field(default=32_768, ge=256, le=_LARGEST)
    """Most bytes of URL and headers per request; a URL may have 8192 of them."""

    head_s: float = Field(default=10.0, gt=0, le=_DAY_S)
    """Seconds in which URL and headers of a request must arrive."""

    body_s: float = Field(default=30.0, gt=0, le=_DAY_S)
    """Seconds in which the body of a request must arrive, and a client must read its answer."""

    keep_alive_s: int = Field(default=65, ge=1, le=_DAY_S)
    """Seconds for which a connection stays open between two requests."""

    drain_s: float = Field(default=5.0, ge=0, le=_DAY_S)
    """Seconds after SIGTERM in which clients and load balancers can move elsewhere."""
