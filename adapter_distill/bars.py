"""Progress bars of other libraries, kept away: transformers shows two for every file it reads."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_foreign_bars() -> Iterator[None]:
    """Show the bars of this project alone while the block runs."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
