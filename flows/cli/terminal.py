"""Setup of a command before slow imports, and its messages on the terminal."""

import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.prefect_server import lost_server_explained, prepare_server
from pipeline.errors import InputError
from pipeline.workers.child import prepared_child
from pipeline.workers.guardian import start_guardian
from pipeline.workers.heartbeat import heartbeat
from pipeline.workers.importing import without_collection

_SECONDS_BETWEEN_LINES = 8.0
_SLOW_STAGE = "pipeline.stages.finetune"  # imports torch, transformers and datasets


def prepare_environment(*, verbose: bool) -> None:
    """Set what Prefect and transformers read when they are imported."""
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    # No flow here uses blocks, and a new database takes seconds to list them.
    os.environ.setdefault("PREFECT_SERVER_REGISTER_BLOCKS_ON_START", "false")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
        # The temporary server's libraries log the traceback of what its end interrupts.
        os.environ.setdefault("PREFECT_LOGGING_ROOT_LEVEL", "CRITICAL")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def check_writable(folder: Path) -> None:
    """Create the runs folder, and fail before any work where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"Cannot write to runs_dir {folder}: {error.strerror}. Give a folder that can be "
            "written to, with --set runs_dir=PATH."
        ) from error


def prepare_terminal(*, verbose: bool) -> None:
    """Show the log of the stages on the terminal, and that of the libraries if asked."""
    show_log(verbose=verbose)
    if not verbose:
        import datasets
        from transformers.utils import logging as transformers_logging

        datasets.disable_progress_bars()
        transformers_logging.disable_progress_bar()
        # A fault in a task is reported once, by `main`.
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def show_log(*, verbose: bool = False) -> None:
    """Show what the pipeline logs on standard error; before the large imports, at once."""
    from rich.logging import RichHandler

    logger = logging.getLogger("pipeline")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if any(isinstance(handler, RichHandler) for handler in logger.handlers):
        return
    console = Console(stderr=True)
    handler = RichHandler(
        console=console, show_path=False, show_level=verbose, rich_tracebacks=False
    )
    handler.addFilter(_Progress(shown_by_bar=console.is_terminal))
    handler.setFormatter(logging.Formatter("%(message)s", datefmt="[%X]"))
    logger.addHandler(handler)


class _Progress(logging.Filter):
    """Drops records of a training's progress: all where its bar is shown, else most of them."""

    def __init__(self, *, shown_by_bar: bool) -> None:
        super().__init__()
        self._shown_by_bar, self._last_s = shown_by_bar, time.monotonic()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is shown."""
        is_due = time.monotonic() - self._last_s >= _SECONDS_BETWEEN_LINES
        if hasattr(record, "progress") and (self._shown_by_bar or not is_due):
            return False
        self._last_s = time.monotonic()
        return True


def patiently(title: str, command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that prints the time it has worked, whenever it was silent for long."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:  # Any: the command's own
        with heartbeat(title, say=Console(stderr=True, soft_wrap=True, highlight=False).print):
            command(*arguments, **options)

    return run


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose processes all end with it, whatever ends it."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:  # Any: the command's own
        start_guardian()
        command(*arguments, **options)

    return run


@contextlib.contextmanager
def starting(what: str = "starting", *, title: str | None = None) -> Iterator[None]:
    """Log at once that a command starts, and again while the block is silent for long.

    Args:
        what: What is logged at once.
        title: Name of the block in later lines; by default the same.
    """
    show_log()
    logging.getLogger("pipeline.starting").info("%s ...", what)
    with heartbeat(title or what):
        yield


@contextlib.contextmanager
def beside_imports(*, verbose: bool) -> Iterator[Callable[[], None]]:
    """Start a flow's child and server while the block imports the flow; both take long.

    It starts the child that builds, and Prefect's temporary server where no API URL is set. The
    block imports its flow, calls what is yielded, to wait for the server, and then runs the flow.

    Raises:
        UnreachableError: when there is no server, or it goes away meanwhile.
    """
    prepare_environment(verbose=verbose)
    with contextlib.ExitStack() as importing:
        importing.enter_context(starting())
        importing.enter_context(without_collection())
        wait_for_server = prepare_server()  # first, since it takes longest
        with prepared_child(imports=[_SLOW_STAGE]), lost_server_explained():
            prepare_terminal(verbose=verbose)

            def wait() -> None:
                wait_for_server()
                importing.close()

            yield wait


def rows_table(title: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """Return rows with the same columns as a table; the first column names them."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(rows[0]):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(Text, row.values()))  # no markup: a number may stand in brackets
    return table
