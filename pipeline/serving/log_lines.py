"""The log of requests: a line per request, for REST and gRPC alike.

Health checks come every few seconds and would drown the rest, so only a changed answer is logged.
"""

import logging

logger = logging.getLogger(__name__)


class CallLog:
    """The log of one server's requests, over one protocol."""

    def __init__(self) -> None:
        self._health: dict[str, int | str] = {}
        """Last status of each health route."""

    def write(
        self,
        *,
        method: str,
        path: str,
        status: int | str,
        seconds: float,
        request_id: str,
        is_health: bool,
    ) -> None:
        """Write a request's line."""
        if is_health:
            if self._health.get(path) == status:
                return
            self._health[path] = status
        facts = {
            "method": method,
            "path": path,
            "status": status,
            "ms": round(1000 * seconds, 3),
            "request_id": request_id,
        }
        logger.info("request", extra={"facts": facts})
