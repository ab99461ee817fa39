"""Arrays that grow while a capture streams through, and hash tables in them: what all tables of state have in common.

In: arrays whose rows stay where they are. Out: the same arrays with more rows, and 30-bit hashes of 64-bit words for
open addressing. A slot of a hash table is 0 (empty) or hash << 32 | row + 1. Nothing here knows what the rows hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.columns import Array
from analysis.kernel import enabled, inner_kernel, lean_kernel

FIRST_ROWS = 1024  # capacity to begin with; a power of two
LARGE_ROWS = 65_536  # from here on tables grow by less than half


def as_kernel_sees(array: Array) -> Any:
    """The array itself for compiled kernels; a memoryview for interpreted ones, whose items are plain ints."""
    return array if enabled() else memoryview(array)  # type: ignore[arg-type]


def lengthen(owner: object, *names: str, rows: int = 0) -> None:
    """Give these arrays of `owner` more rows, which are zero: `rows`, or half as many again, a thirty-second where that is much.

    A large array keeps its memory (mremap): nothing is copied, and never are there two of it.
    """
    for name in names:
        array = vars(owner).pop(name)  # numpy moves only what nobody else refers to
        n = len(array)
        shape = (rows or n + (n // 2 if n < LARGE_ROWS else max(LARGE_ROWS // 4, n // 32)), *array.shape[1:])
        try:
            array.resize(shape)
        except ValueError:  # somebody still looks at it
            grown = np.zeros(shape, dtype=array.dtype)
            grown[:n] = array
            array = grown
        vars(owner)[name] = array


def multipliers(salt: int) -> Array:
    """Six odd 30-bit numbers from a salt (splitmix64)."""
    numbers = []
    state = salt
    for _ in range(6):
        state = (state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        numbers.append((z >> 34) | 0x20000001)
    return np.array(numbers, dtype=np.int64)


@inner_kernel
def mix(word: int, low_multiplier: int, high_multiplier: int) -> int:
    """Hash one 64-bit word: each half times a 30-bit number stays below 2^62, so both ways of running agree."""
    low = (word & 0xFFFFFFFF) * low_multiplier
    high = ((word >> 32) & 0xFFFFFFFF) * high_multiplier
    return (low >> 17) ^ (low & 0x1FFFF) ^ (high >> 18)


@inner_kernel
def fold(mixed: int) -> int:
    """Fold a mixed number to the 30 bits that a slot keeps."""
    return (mixed ^ (mixed >> 13) ^ (mixed >> 29)) & 0x3FFFFFFF


def most(slots: Array) -> int:
    """How many entries a hash table may have: at three quarters a search passes one cache line, seldom two."""
    return len(slots) // 4 * 3


def wider(slots: Array) -> Array:
    """A hash table of twice the size with the same entries."""
    grown = np.zeros(2 * len(slots), dtype=np.int64)
    _rehash(as_kernel_sees(grown), as_kernel_sees(slots))
    return grown


@lean_kernel
def _rehash(slots: Any, old_slots: Any) -> None:
    """Move every slot of a hash table into a larger, empty one."""
    last = len(slots) - 1
    for i in range(len(old_slots)):
        slot = old_slots[i]
        if slot != 0:
            at = (slot >> 32) & last
            while slots[at] != 0:
                at = (at + 1) & last
            slots[at] = slot
