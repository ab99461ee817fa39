"""One protocol data unit on its way through the dissectors: bytes, what was captured of them, and the layers found.

In: bytes that TCP reassembly (streams.py) hands over. Out: `layers`, the (layer id, bytes) pairs that the frame gets
above transport, and `more`, the wish for further bytes of the stream. Reading past the end raises `Cut` (the capture
stored less than the wire carried: `_ws.short`) or `Malformed` (the unit ends before its fields do: `_ws.malformed`);
only streams.py and `framed` catch them. It must not know any protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.protocols.streams import Stream

ONE_MORE = -1  # wish for the next segment, however long
UNTIL_FIN = -2  # wish for everything until the sender closes

Layer = tuple[int, int]


class Cut(Exception):
    """A field lies behind the captured bytes, but the wire carried it."""


class Malformed(Exception):
    """A field lies behind the end of its protocol data unit, or cannot be."""


class Pdu:
    """Bytes to dissect. `length` is the length on the wire, `data` holds what was captured of it.

    `more` other than 0 asks the stream for more bytes, counted from the end of the unit; what begins at `more_from`
    is dissected again when they are there. A unit with `whole` False can ask for nothing.
    """

    __slots__ = (
        "data",
        "direction",
        "frame_end",
        "layers",
        "least",
        "length",
        "look",
        "more",
        "more_from",
        "number",
        "stream",
        "tail",
        "time_ns",
        "whole",
    )

    def __init__(
        self, data: bytes, length: int, stream: Stream, direction: int, number: int, time_ns: int, whole: bool
    ) -> None:
        self.data = data
        self.length = length
        self.stream = stream
        self.direction = direction
        self.number = number
        self.time_ns = time_ns
        self.whole = whole
        self.layers: list[Layer] = []
        self.more = 0
        self.more_from = 0
        self.least = 0  # with ONE_MORE: bytes that must come before it is worth another look
        self.look = 0  # offset that matters next, and the bytes from there on where `data` does not hold them
        self.tail = b""
        self.frame_end = False  # the segment that ends this unit carries FIN

    def add(self, layer: int, size: int | None = None) -> None:
        """The frame has `layer` with `size` bytes (default: the captured bytes of this unit)."""
        self.layers.append((layer, len(self.data) if size is None else size))

    def wish(self, at: int, count: int, least: int = 0, look: int = 0) -> None:
        """Ask for `count` more bytes (or ONE_MORE, UNTIL_FIN); dissection goes on at offset `at`.

        With ONE_MORE a gap ends the waiting; `least` bytes are known to be missing, so nobody looks before. What stands
        from offset `look` on will be there, however long the unit is.
        """
        self.more_from = at
        self.more = count
        self.least = least
        self.look = look

    def part(self, at: int, length: int | None = None) -> Pdu:
        """The bytes from `at` on (`length` of them) as a unit of their own that adds to the same layers."""
        length = self.length - at if length is None else length
        inner = Pdu(
            self.data[at : at + max(length, 0)],
            max(length, 0),
            self.stream,
            self.direction,
            self.number,
            self.time_ns,
            False,
        )
        inner.layers = self.layers
        return inner

    def fail(self, at: int) -> Exception:
        """The exception for a read that ends at offset `at`."""
        return Cut() if 0 <= at <= self.length else Malformed()

    def need(self, at: int, count: int) -> None:
        """Raise unless `count` bytes from `at` on were captured."""
        if at < 0 or count < 0 or at + count > len(self.data):
            raise self.fail(at + count)

    def u8(self, at: int) -> int:
        """Byte at `at`."""
        if not 0 <= at < len(self.data):
            raise self.fail(at + 1)
        return self.data[at]

    def be16(self, at: int) -> int:
        """Big-endian 16-bit word."""
        self.need(at, 2)
        return int.from_bytes(self.data[at : at + 2], "big")

    def be32(self, at: int) -> int:
        """Big-endian 32-bit word."""
        self.need(at, 4)
        return int.from_bytes(self.data[at : at + 4], "big")

    def le16(self, at: int) -> int:
        """Little-endian 16-bit word."""
        self.need(at, 2)
        return int.from_bytes(self.data[at : at + 2], "little")

    def le32(self, at: int) -> int:
        """Little-endian 32-bit word."""
        self.need(at, 4)
        return int.from_bytes(self.data[at : at + 4], "little")


Dissect = Callable[[Pdu], bool]


def framed(
    pdu: Pdu, header: int, length: Callable[[Pdu, int], int], dissect: Callable[[Pdu], None], at: int = 0
) -> bool:
    """Cut a stream of length-framed units and dissect each one.

    `header` bytes are enough for `length(pdu, at)`, the whole length of the unit at `at`; 0 there means that it
    cannot be told yet, less than `header` that the stream is broken. A unit that fails does not stop the next.
    """
    from analysis.layers import MALFORMED, SHORT

    while at < pdu.length:
        left = pdu.length - at
        if left < header and pdu.whole:
            pdu.wish(at, ONE_MORE)
            return True
        pdu.need(at, header)
        size = length(pdu, at)
        if size == 0:
            if pdu.whole:
                pdu.wish(at, ONE_MORE)
            return True
        if size < header:
            raise Malformed
        if left < size and pdu.whole:
            pdu.wish(at, size - left)
            return True
        inner = pdu.part(at, min(left, size))
        inner.length = size if left < size else inner.length
        try:
            dissect(inner)
        except Cut:
            pdu.add(SHORT, 0)
        except Malformed:
            pdu.add(MALFORMED, 0)
        at += size
    return True
