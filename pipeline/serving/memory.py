"""Settings of the C library's allocator for a server that changes its model.

By default glibc gives every thread its own heap. Once a large block was freed, it takes the next
large blocks from these heaps too. A model's weights are then between small objects that stay, and
the memory of an old model is never returned.
"""

import contextlib
import ctypes

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # malloc.h
_LARGE_BLOCK_BYTES, _ARENAS = 256 * 1024, 2


def return_large_blocks() -> None:
    """Let every large block be mapped by itself, and so be returned when it is freed.

    Setting the threshold also stops glibc from raising it by itself.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
        library.mallopt(_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return freed pages to the system, where glibc would keep the old model's."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
