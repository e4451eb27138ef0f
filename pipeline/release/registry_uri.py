"""The address of a registry: which are taken, and what becomes of the errors behind one."""

import contextlib
import re
from collections.abc import Iterator
from urllib.parse import urlparse

from pipeline.errors import (
    InputError,
    ProjectError,
    UnreachableError,
    first_line,
    without_password,
)

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # each with or without +DRIVER
_MANAGED = ("databricks", "databricks-uc", "uc")
_SECONDS_TO_ANSWER = 10.0


def check_uri(uri: str) -> None:
    """Refuse a text that is no address of a registry, and a server that does not answer.

    MLflow's own client accepts the folders of its old file store until the first request. It tries
    for minutes to reach a server that does not exist.

    Raises:
        InputError: naming the accepted kinds of URIs.
        UnreachableError: when no server listens.
    """
    scheme = (urlparse(uri).scheme or uri).partition("+")[0]
    if scheme in ("http", "https"):
        _check_answers(uri)
    elif scheme not in (*_DATABASES, *_MANAGED):
        hint = " MLflow's file store is no registry: leave the URI out to use runs_dir/mlflow.db."
        if re.fullmatch(r"[A-Za-z0-9._-]+:[0-9]+(/.*)?", uri):
            hint = f" Did you mean http://{uri}?"
        raise InputError(
            f"{without_password(uri)!r} is not the URI of a registry. Expected an MLflow server as "
            "http://HOST:PORT or https://, or a database as sqlite:///PATH, postgresql://, "
            f"mysql:// or mssql://.{hint}"
        )


def _check_answers(uri: str) -> None:
    import requests

    try:
        requests.head(uri, timeout=_SECONDS_TO_ANSWER, allow_redirects=False)
    except requests.exceptions.ReadTimeout:  # it is there, and busy
        return
    except requests.RequestException as error:
        raise UnreachableError(
            f"No MLflow server answers at {without_password(uri)} ({_reason(error)}). Start it, "
            "or give another --registry (MLFLOW_TRACKING_URI)."
        ) from error


@contextlib.contextmanager
def talking_to(uri: str) -> Iterator[None]:
    """Turn whatever MLflow, its database and its driver raise into one clear error."""
    try:
        yield
    except ProjectError:
        raise
    except Exception as error:
        raise UnreachableError(
            f"The registry {without_password(uri)} failed: "
            f"{first_line(error)}. Check its URI, its server and its log."
        ) from error


def _reason(error: Exception) -> str:
    """Return the last cause of a failed connection: requests and urllib3 quote their objects."""
    cause: object = error
    while isinstance(cause, BaseException):
        inner = getattr(cause, "reason", None) or next(iter(cause.args), None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return re.sub(r"^.*(?:0x[0-9a-f]+>|\)): ", "", first_line(cause))
