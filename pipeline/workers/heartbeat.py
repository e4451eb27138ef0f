"""A sign of life: a log record whenever a long step has been silent for some seconds.

A step that shows a progress bar is not silent, nor one that logs.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

SECONDS_OF_SILENCE = 8.0
_LOOK_EVERY_SECONDS = 1.0


class _LastRecord(logging.Handler):
    """Remembers when something was logged last."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.at_s = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Note the time."""
        self.at_s = time.monotonic()


@contextlib.contextmanager
def heartbeat(
    title: str,
    *,
    say: Callable[[str], None] | None = None,
    seconds: float = SECONDS_OF_SILENCE,
) -> Iterator[None]:
    """Log ``title: 20 s so far`` while the block runs, whenever it was silent for so long.

    Args:
        title: Name of the step.
        say: Takes the line; by default it is logged.
        seconds: Longest silence, in seconds.
    """
    logger = logging.getLogger("pipeline")
    last, started_s = _LastRecord(), time.monotonic()
    is_over = threading.Event()

    def speak() -> None:
        while not is_over.wait(min(seconds, _LOOK_EVERY_SECONDS)):
            if _shows_a_bar():
                last.at_s = time.monotonic()
            elif time.monotonic() - last.at_s >= seconds:
                (say or logger.info)(f"{title}: {time.monotonic() - started_s:.0f} s so far")
                last.at_s = time.monotonic()

    thread = threading.Thread(target=speak, name="heartbeat", daemon=True)
    logger.addHandler(last)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        logger.removeHandler(last)


def _shows_a_bar() -> bool:
    """Return whether a progress bar of this process is on the terminal."""
    tqdm = sys.modules.get("tqdm.std")
    # A bar that is disabled takes itself out of this set.
    return bool(tqdm is not None and tqdm.tqdm._instances)
