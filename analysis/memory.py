"""What the C library does with memory that numpy and Python have freed: keep less of it.

In and out: nothing; `keep_little` and `give_back` change the process. A batch of packets takes some 50 MB in large arrays. glibc
learns from their coming and going to keep them on its heap, where small objects then pin them: a third of the
resident memory was free memory of that kind. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes

LARGE_BYTES = 1 << 20  # a block of this size or more is mapped, and unmapped when it is freed
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
TRIM_BYTES = 32 << 20  # free memory at the top of the heap that may stay


def keep_little() -> None:
    """Large blocks outside the heap, and one heap for all threads. To be called before the first batch."""
    _call("mallopt", M_MMAP_THRESHOLD, LARGE_BYTES)
    _call("mallopt", M_TRIM_THRESHOLD, TRIM_BYTES)
    _call("mallopt", M_ARENA_MAX, 1)


def give_back() -> None:
    """Return what is free on the heap to the system, where many small objects have just gone."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*map(ctypes.c_size_t if name == "malloc_trim" else ctypes.c_int, arguments))
