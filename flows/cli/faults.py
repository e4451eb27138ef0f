"""End of a command that fails: one message, and never a traceback.

Exit code 2 stands for faults that a user can mend, such as bad input or a full disk.
An unforeseen exception ends with exit code 1, one line, and a log file. The log holds traceback,
versions and command line, without passwords and tokens.
"""

import contextlib
import errno
import os
import platform
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from pipeline.errors import InputError, ProjectError, first_line, without_password

UNFORESEEN, BAD_INPUT, STOPPED = 1, 2, 130
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_SUCH_PATH = (
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
)
_LIBRARIES = ("adapter-distill", "torch", "transformers", "tokenizers", "onnxruntime", "prefect")


def run_guarded(command: Callable[[], None]) -> None:
    """Run the command line, and end the process as its outcome says."""
    _make_streams_safe()
    with _stopped_by_signals() as received:
        _run(command, received)


def _run(command: Callable[[], None], received: Sequence[int]) -> None:
    try:
        check_arguments(sys.argv[1:])
        command()
    except SystemExit as stop:
        if stop.code == STOPPED:
            fail_stopped(received)
        _leave(stop.code)
    except KeyboardInterrupt:
        fail_stopped(received)
    except ProjectError as error:
        fail(str(error))
    except OSError as error:
        fail(explain_os_error(error))
    except BaseException as error:  # a library's panic is no Exception
        fail(_explain_unforeseen(error), code=UNFORESEEN)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """Let every signal that asks a process to end act as Ctrl-C; yield the received signals.

    A shell starts background jobs with SIGINT ignored, and then no Python process hears it. Only a
    hangup stays ignored where it was: nohup asks for that.
    """
    received: list[int] = []

    def stop(number: int, _frame: object) -> NoReturn:
        received.append(number)
        raise KeyboardInterrupt

    wanted = [each for each in _STOPPING if not _is_kept_ignored(each)]
    before = {each: signal.signal(each, stop) for each in wanted}
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _is_kept_ignored(number: int) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


def _make_streams_safe() -> None:
    """Keep strange names and closed streams from ending a command."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this process
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - the process ends with it
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):  # also a terminal that is not UTF-8
            stream.reconfigure(errors="backslashreplace")


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse arguments that are no text, which could be neither stored nor shown.

    Raises:
        InputError: naming the first such argument.
    """
    for number, argument in enumerate(arguments, start=1):
        if "\0" in argument:
            raise InputError(f"Argument {number} holds a null byte: {argument!r}. Leave it out.")
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"Argument {number} is not UTF-8 text: {argument!r}. Rename the file, convert the "
                "text, or set a UTF-8 locale (LC_ALL=C.UTF-8)."
            ) from error


def fail(message: str, *, code: int = BAD_INPUT) -> NoReturn:
    """Print a message on standard error and end the process."""
    text = message.encode("utf-8", "backslashreplace").decode()
    with contextlib.suppress(OSError):  # nobody reads
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(text)}")
    _leave(code)


def fail_stopped(received: Sequence[int] = ()) -> NoReturn:
    """End the process with the exit code of the signal that stopped it; 130, as of Ctrl-C, else."""
    code = 128 + received[0] if received else STOPPED
    fail("Stopped. Run the same command again to continue from the last checkpoint.", code=code)


def explain_os_error(error: OSError) -> str:
    """Return a message: what the system refused, on which path, and what to do."""
    where = f" ({error.filename})" if error.filename else ""
    advice = "Check it, and run again."
    if error.errno in _NO_SPACE:
        advice = (
            "No finished result was replaced by a half-written one. Free the disk or choose "
            "another runs_dir, and run again."
        )
    elif error.errno in _NOT_ALLOWED:
        advice = "Allow it, or give another folder."
    elif error.errno in _NO_SUCH_PATH:
        advice = "Give another path."
    return f"{error.strerror or str(error) or type(error).__name__}{where}. {advice}"


def _explain_unforeseen(error: BaseException) -> str:
    story = _story(error)
    for folder in (_state_folder(), Path(tempfile.gettempdir())):
        name = f"adapter-distill-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(story, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        where = f"The full traceback is in {folder / name}; please report it."
        break
    else:
        where = "No log could be written."
    return f"unforeseen {type(error).__name__}: {first_line(error)[:300]} ({where})"


def _story(error: BaseException) -> str:
    """Return traceback, versions and command line, without secrets."""
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        f"command: {' '.join(sys.argv)}",
        f"folder: {os.environ.get('PWD', '')}",
        f"python {platform.python_version()} on {platform.platform()}",
    ]
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            lines.append(f"{name} {version(name)}")
    story = "\n".join([*lines, "", *traceback.format_exception(error)])
    return without_password(re.sub(r"(--token[= ])\S+", r"\1***", story))


def _state_folder() -> Path:
    """Return the folder of this user's logs (XDG_STATE_HOME)."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        return Path(state).expanduser() / "adapter-distill"
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir())


def _leave(code: str | int | None) -> NoReturn:
    """End the process; output that a closed pipe did not take is dropped."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
