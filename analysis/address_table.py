"""Addresses as numbers: every address of a capture gets an id, in order of first appearance.

In: family and two 64-bit words of each layer's addresses, from kernels. Out: ids, and the table of what they stand for.
Open addressing; memory grows with addresses. Knows no flow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.columns import Addresses, Array
from analysis.growing import FIRST_ROWS, as_kernel_sees, fold, lengthen, mix, most, wider
from analysis.kernel import inner_kernel
from analysis.named_tuples import NamedTuple


class KnownAddresses(NamedTuple):
    """The table as kernels see it."""

    count: Any  # int64[1] addresses so far
    slots: Any  # int64[power of two]
    words: Any  # int64[2 * rows] high and low word
    families: Any  # uint8[rows]
    multipliers: Any  # int64[4 or more] odd 30-bit numbers of the hash


@inner_kernel
def address_id(known: Any, family: int, high: int, low: int, insert: bool) -> int:
    """Row of an address, made where `insert` is set and it is new; -1 where it is unknown."""
    m = known.multipliers
    tag = fold(mix(low, m[0], m[1]) ^ mix(high + family, m[2], m[3]))
    last = len(known.slots) - 1
    at = tag & last
    while True:
        slot = known.slots[at]
        if slot == 0:
            break
        if slot >> 32 == tag:
            row: int = (slot & 0xFFFFFFFF) - 1
            if known.words[2 * row + 1] == low and known.words[2 * row] == high and known.families[row] == family:
                return row
        at = (at + 1) & last
    if not insert:
        return -1
    row = known.count[0]
    known.count[0] = row + 1
    known.families[row] = family
    known.words[2 * row] = high
    known.words[2 * row + 1] = low
    known.slots[at] = (tag << 32) | (row + 1)
    return row


class AddressTable:
    """All addresses so far. `multipliers` are those of the hash, see `growing.multipliers`."""

    def __init__(self, multipliers: Array) -> None:
        self._multipliers = multipliers
        self._count = np.zeros(1, dtype=np.int64)
        self._slots = np.zeros(2 * FIRST_ROWS, dtype=np.int64)
        self._words = np.zeros((FIRST_ROWS, 2), dtype=np.int64)
        self._families = np.zeros(FIRST_ROWS, dtype=np.uint8)

    def __len__(self) -> int:
        return int(self._count[0])

    def as_kernels_see(self) -> KnownAddresses:
        """The arrays of now: not to be kept, the table grows."""
        arrays: tuple[Array, ...] = (
            self._count,
            self._slots,
            self._words.reshape(-1),
            self._families,
            self._multipliers,
        )
        return KnownAddresses(*map(as_kernel_sees, arrays))

    @property
    def room(self) -> int:
        """How many addresses fit."""
        return min(most(self._slots), len(self._words))

    def grow(self) -> None:
        """Make room for more."""
        if len(self._words) <= most(self._slots):
            lengthen(self, "_words", "_families")
        else:
            self._slots = wider(self._slots)

    def finish(self) -> Addresses:
        """The table so far: row = address id."""
        n = len(self)
        return Addresses(self._families[:n], self._words[:n, 0], self._words[:n, 1])
