"""What a command sets up before slow imports, and what it says on the terminal afterwards."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.errors import InputError
from pipeline.workers.child import prepared_child
from pipeline.workers.importing import without_collection

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
    """Let the stages speak on the terminal, and the libraries only when asked."""
    from rich.logging import RichHandler

    handler = RichHandler(
        console=Console(stderr=True), show_path=False, show_level=verbose, rich_tracebacks=False
    )
    handler.addFilter(lambda record: not hasattr(record, "progress"))  # the bar shows it
    handler.setFormatter(logging.Formatter("%(message)s", datefmt="[%X]"))
    logger = logging.getLogger("pipeline")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
    if not verbose:
        import datasets
        from transformers.utils import logging as transformers_logging

        datasets.disable_progress_bars()
        transformers_logging.disable_progress_bar()
        # What goes wrong in a task is told once, by `main`.
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextlib.contextmanager
def beside_imports(*, verbose: bool) -> Iterator[Callable[[], None]]:
    """Start what a flow needs, and let the block import the flow meanwhile: both take long.

    It starts the child that builds, and Prefect's temporary server where no API URL is set. The
    block imports its flow, calls what is yielded, to wait for the server, and then runs the flow.
    """
    prepare_environment(verbose=verbose)
    with contextlib.ExitStack() as importing:
        importing.enter_context(without_collection())
        server = _start_server()  # first, since it takes longest
        with prepared_child(imports=[_SLOW_STAGE]):
            prepare_terminal(verbose=verbose)

            def wait() -> None:
                importing.close()
                server.join()

            yield wait


def _start_server() -> threading.Thread:
    from prefect.client.orchestration import get_client

    def start() -> None:
        # The flow tries again, and tells what is wrong.
        with contextlib.suppress(Exception), get_client(sync_client=True):
            pass

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    return thread


def rows_table(title: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """Return rows with the same columns as a table; the first column names them."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(rows[0]):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(Text, row.values()))  # no markup: a number may stand in brackets
    return table
