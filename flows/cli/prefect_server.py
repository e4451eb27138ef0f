"""The Prefect server of a command: one that is there already, or a temporary one that it starts."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from pipeline.errors import ProjectError, UnreachableError, first_line, without_password

_SECONDS_TO_ANSWER = 10.0


def prepare_server() -> Callable[[], None]:
    """Check that the named server answers, or start a temporary one beside what comes next.

    Returns:
        A function that waits for it, and raises an `UnreachableError` where it did not start.

    Raises:
        UnreachableError: when ``PREFECT_API_URL`` or the profile names a server that is away.
    """
    url = server_url()
    if url:
        _ask(url)
        return lambda: None
    faults: list[UnreachableError] = []

    def start() -> None:
        # The server inherits this: Ctrl-C is the command's, which ends its server itself.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            _ask(url)
        except UnreachableError as error:
            faults.append(error)

    # A daemon: an interrupted command does not wait for a server that it needs no more.
    thread = threading.Thread(target=start, daemon=True)
    thread.start()

    def wait() -> None:
        thread.join()
        if faults:
            raise faults[0]

    return wait


@contextlib.contextmanager
def lost_server_explained() -> Iterator[None]:
    """Turn what the block raises because the server went away into an `UnreachableError`."""
    import httpx

    try:
        yield
    except (ProjectError, OSError):
        raise
    except Exception as error:
        url = server_url()
        if url:
            _ask(url)  # raises where the server is the reason
        if isinstance(error, httpx.TransportError) or "Failed to reach API" in str(error):
            raise UnreachableError(
                f"The Prefect server stopped answering: {first_line(error)}. Finished stages are "
                "kept: run the same command again."
            ) from error
        raise


def server_url() -> str | None:
    """Return the address of the server that the environment or the profile names."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def _ask(url: str | None) -> None:
    """Raise where the server does not answer, or is of another version than this client."""
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True, httpx_settings={"timeout": _SECONDS_TO_ANSWER}) as client:
            client.raise_for_api_version_mismatch()
    # Whatever the client's libraries and the server's process raise.
    except Exception as error:
        if url is None:
            raise UnreachableError(
                f"Prefect's temporary server did not start: {first_line(error)}. Run again, or "
                "set PREFECT_API_URL to a server that runs."
            ) from error
        reason = error.__cause__ or error
        raise UnreachableError(
            f"No Prefect server at {without_password(url)} ({first_line(reason)}): start it or "
            "unset PREFECT_API_URL; `prefect config view` says where it is set."
        ) from error
