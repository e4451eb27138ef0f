"""The project's exceptions, and the conversion of libraries' exceptions into them.

Every error meant for a user is a `ProjectError`. The command line prints its message alone and
exits with 2. Any other exception is a bug: it exits with 1 and writes the traceback to a log file.
A full disk is an `OSError`, as everywhere. ::

    Exception
    +-- ProjectError              here; flows/cli/faults.py prints it
    |   +-- InputError            here, a ValueError too; raised by readers and checks everywhere:
    |   |   |                     the user changes a file, a setting or an argument
    |   |   +-- UnfitError        pipeline/tasks/columns.py: a table does not fit a task
    |   |   +-- UnreachableError  here; pipeline/checkpoints, stages/data.py, release/registry*.py,
    |   |                         flows/cli/prefect_server.py:
    |   |                         flows/tasks.py tries the hub again
    |   +-- BuildKilledError      pipeline/workers/child.py and training/ranks.py, a RuntimeError
    |   |                         too; flows/building.py starts the build once more
    |   +-- PoolError             flows/pools.py, a RuntimeError too: another work pool did not
    |   |                         build a stage
    |   +-- ClusterError          flows/cluster.py, a RuntimeError too: no worker of a cluster
    |   |                         built a stage
    |   +-- RequestError          pipeline/serving/errors.py; answered with the HTTP status and
    |       |                     gRPC code of its class
    |       +-- UnknownVersionError  a version that is not served: the client asks for another
    |       +-- OverloadedError   too many requests wait: the client tries again later
    |       +-- DeadlineError     it waited too long: the client tries again later
    |       +-- NotReadyError     no champion yet: the client tries again later
    |       +-- _UnreadableError  pipeline/serving/grpc_server.py; a message that cannot be parsed
    +-- ValueError
    |   +-- UnknownArchitectureError  models/architectures/table.py;
    |   |                             checkpoints/pretrained.py makes an InputError of it
    |   +-- RecordError           pipeline/texts/quoting.py; texts/delimited.py names the file
    |   +-- _TwiceError           a key that a JSON object holds twice, caught in
    |                             pipeline/texts/json_tables.py
    +-- _StopForwardError         models/absorption/layerwise.py; ends a forward pass, caught there
    +-- _RefusedHeadError       pipeline/serving/connection.py; ends the parser, caught there
    +-- _RefusedCallError       pipeline/serving/grpc_server.py; becomes the call's status there
    +-- UnknownCodingError, DamagedBodyError, OversizedBodyError
                                  pipeline/serving/coding.py; guard.py answers 415, 400, 413

``models/`` knows nothing of this module. It raises `ValueError` for arguments that do not fit. A
caller that read them from a file adds the file's name (`refusing`).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

_PANIC = "PanicException"
"""Name of the tokenizers library's panic, which is no `Exception`; only its name identifies it."""


class ProjectError(Exception):
    """Error that a user reads as one message, without a traceback."""


class InputError(ProjectError, ValueError):
    """Input that cannot be used: the message says what was expected and found, and what to do."""


class UnreachableError(InputError):
    """Service outside this machine that did not answer: another attempt may help."""


@contextmanager
def refusing(problem: str, advice: str) -> Iterator[None]:
    """Turn every exception of the block, raised for a damaged file, into one `InputError`.

    It is meant for libraries that raise a dozen undocumented kinds of errors for unreadable files.
    An `InputError` passes as it is.

    Args:
        problem: What cannot be done, with the path: ``Cannot read the tokenizer in PATH``.
        advice: A sentence that says what to do about it.
    """
    try:
        yield
    except InputError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InputError(f"{problem}: {said}. {advice}") from error


def first_line(error: object) -> str:
    """Return the first line of an error's message, without the passwords of URIs in it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_password(lines[0]).rstrip(".")


def without_password(text: str) -> str:
    """Return a text with user and password of each URI in it left out."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)
