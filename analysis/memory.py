"""What the process keeps of memory that nobody needs any more: less.

In and out: nothing; the functions change the process. A batch of packets takes some 50 MB in large arrays. glibc learns
from their coming and going to keep them on its heap, where small objects then pin them: a third of the resident memory
was free memory of that kind. Peak of three million packets: 410 MB with all of it, 530 without (the compiler's pages 55,
large blocks 50, one heap 15). What another system or C library does not have is left out.
"""

from __future__ import annotations

import ctypes

LARGE_BYTES = 1 << 19  # a block of this size or more is mapped, and unmapped when it is freed
TRIM_BYTES = 4 << 20  # free memory at the top of the heap that may stay
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
MADV_DONTNEED = 4  # sys/mman.h


def keep_little() -> None:
    """Large blocks outside the heap, and one heap for all threads. To be called before the first batch."""
    _call("mallopt", M_MMAP_THRESHOLD, LARGE_BYTES)
    _call("mallopt", M_TRIM_THRESHOLD, TRIM_BYTES)
    _call("mallopt", M_ARENA_MAX, 1)


def forget_compiler() -> None:
    """Drop the pages of LLVM's code: 50 MB, needed only while kernels are loaded. A later use reads them again."""
    try:
        with open("/proc/self/maps") as maps:
            for line in maps:
                if "libllvm" in line and " r-xp " in line:  # never written to, so that dropping it loses nothing
                    first, end = (int(word, 16) for word in line.split(" ", 1)[0].split("-"))
                    _call("madvise", first, end - first, MADV_DONTNEED)
    except OSError:
        return


def give_back() -> None:
    """Return what is free on the heap to the system, where many small objects have just gone."""
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    """Call a function of the C library, where it has one of this name."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*map(ctypes.c_int if name == "mallopt" else ctypes.c_size_t, arguments))
