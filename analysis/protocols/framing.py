"""Dissectors of protocols whose units carry their length in a fixed place: a table row makes a dissector.

In: where the length stands. Out: a function that cuts a stream into units of one layer each. Checks that make
Wireshark's dissector refuse are given as functions of the first bytes. It must not know any protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from analysis.named_tuples import NamedTuple
from analysis.protocols.pdu import Dissect, Pdu, framed

LONGEST_UNIT = 1 << 28  # a length beyond this is nonsense: the unit is malformed


class Framing(NamedTuple):
    """`width` bytes at `at` hold the length in byte order `order`; `add` makes it the whole unit's."""

    header: int
    at: int
    width: int
    order: Literal["big", "little"] = "big"
    add: int = 0

    def size(self, pdu: Pdu, at: int) -> int:
        """Whole length of the unit at `at`."""
        pdu.need(at, self.header)
        field = pdu.data[at + self.at : at + self.at + self.width]
        return min(int.from_bytes(field, self.order) + self.add, LONGEST_UNIT)


Check = Callable[[Pdu], bool]
Look = Callable[[Pdu], None]


def units(layer: int, framing: Framing, check: Check | None = None, look: Look | None = None) -> Dissect:
    """A dissector: refuses where `check` does, else one `layer` per unit; `look` sees each whole unit (for facts)."""

    def one(pdu: Pdu) -> None:
        pdu.add(layer)
        if look is not None:
            look(pdu)

    def dissect(pdu: Pdu) -> bool:
        if check is not None and not check(pdu):
            return False
        return framed(pdu, framing.header, framing.size, one)

    return dissect


def segments(layer: int, look: Look | None = None) -> Dissect:
    """A dissector without framing: every segment is one unit of `layer`."""

    def dissect(pdu: Pdu) -> bool:
        pdu.add(layer)
        if look is not None:
            look(pdu)
        return True

    return dissect


def recognised(dissect: Dissect, check: Check) -> Dissect:
    """A heuristic: where `check` holds, the conversation is `dissect` from then on."""

    def heuristic(pdu: Pdu) -> bool:
        if not check(pdu):
            return False
        kept = pdu.stream.dissector
        pdu.stream.dissector = dissect
        if dissect(pdu):
            return True
        pdu.stream.dissector = kept
        return False

    return heuristic
