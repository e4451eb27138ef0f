"""The C library's allocator, told what a server that changes its model needs.

By its defaults glibc gives every thread a heap of its own and, once a large block was freed, takes
the next large ones from these heaps too. A model's weights then come to lie between small objects
that stay, and the memory of each old model is never returned.
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
