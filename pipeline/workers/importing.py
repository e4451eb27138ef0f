"""Importing large libraries without collecting garbage meanwhile."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Leave what the block imports out of garbage collection, which finds nothing in it.

    Importing torch and transformers makes so many objects that collecting them again and again
    takes a fifth of the time. Afterwards collection goes on without looking at them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
