"""Work in batches on a device with limited memory: batches that do not fit become smaller.

A smaller batch is the largest divisor of the size before that is at most its half. A training can
therefore gather several smaller batches before each step, and the step stays the same.
"""

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from pipeline.errors import InputError, first_line

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def in_smaller_batches(what: str, size: int, attempt: Callable[[int], Result]) -> Result:
    """Return ``attempt(size)``, with smaller sizes as long as memory runs out.

    Args:
        what: Name of the work, for messages.
        size: Texts per batch.
        attempt: (texts per batch) -> the result. Each call begins anew.

    Raises:
        InputError: when memory runs out with a single text per batch.
    """
    while True:
        try:
            return attempt(size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            said = first_line(error)
        # Outside of the block above, because the error keeps the attempt's tensors alive.
        clear_device_cache(garbage_collection=True)
        size = _smaller(what, size, said)


def run_in_batches(
    what: str, rows: np.ndarray, size: int, run: Callable[[np.ndarray], Result]
) -> Iterator[tuple[np.ndarray, Result]]:
    """Yield some rows and the result of ``run`` for them, in order, until all are done.

    Batches stay small once memory ran out.

    Args:
        what: Name of the work, for messages.
        rows: Numbers of the rows.
        size: Rows per batch.
        run: (some of the rows) -> the result.

    Raises:
        InputError: when memory runs out with a single row.
    """
    start = 0
    while start < len(rows):
        left = rows[start:]

        def attempt(count: int, left: np.ndarray = left) -> tuple[int, Result]:
            return count, run(left[:count])

        size, result = in_smaller_batches(what, min(size, len(left)), attempt)
        yield left[:size], result
        start += size


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device's memory is used up."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, Exception) and should_reduce_batch_size(error)


def _smaller(what: str, size: int, said: str) -> int:
    if size == 1:
        raise InputError(
            f"{what}: memory ran out with a single text per batch ({said}). Lower "
            "data.max_length, or set compute.device to one with more memory."
        )
    fewer = max(part for part in range(1, size // 2 + 1) if size % part == 0)
    logger.warning(
        "%s: memory ran out with %d texts per batch (%s); continuing with %d",
        what,
        size,
        said,
        fewer,
    )
    return fewer
