"""Faults of a request; the protocol's modules give each its HTTP status and gRPC code."""

from pipeline.errors import ProjectError


class RequestError(ProjectError):
    """The answer is an error whose text the client may read."""

    status = 400
    retry_after_s: int | None = None


class UnknownVersionError(RequestError):
    """The request names a version that is not served."""

    status = 404


class OverloadedError(RequestError):
    """The queue is full."""

    status = 503
    retry_after_s = 1


class DeadlineError(RequestError):
    """The request waited too long."""

    status = 504
    retry_after_s = 1


class NotReadyError(RequestError):
    """The student has no champion yet."""

    status = 503
    retry_after_s = 5
