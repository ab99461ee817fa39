"""What a slow dissector sees of a packet: bounds-checked reads relative to where the walk stands, and its verbs.

In: the chunk's bytes and the notepad of state.py. Out: the same notepad, as the kernels would have left it.
A read behind the captured bytes raises `Cut`, which `dissect` (slow.py) turns into Wireshark's `_ws.short` (the capture
cut it) or `_ws.malformed` (the sender did). It never reads outside the packet's content.
"""

from __future__ import annotations

from typing import Any

from analysis import layers
from analysis.columns import MAX_LAYERS, TOO_MANY_LAYERS, TRUNCATED
from analysis.decode.state import (
    AT,
    BYTES,
    DONE,
    END,
    FAULT,
    LAYERS,
    LEAF,
    LIMIT,
    N_LAYERS,
    NEXT,
    PAYLOAD_CAP,
    PAYLOAD_LEN,
    PAYLOAD_START,
    PDUS,
    TRAILER,
    TYPE,
)


class Cut(Exception):
    """A header goes beyond the bytes there are."""


class Walk:
    """One packet's content from `s[AT]` on."""

    __slots__ = ("data", "s")

    def __init__(self, data: memoryview, s: Any) -> None:
        self.data = data
        self.s = s

    @property
    def left(self) -> int:
        """Captured bytes from here to the end of the content."""
        return max(0, self.s[END] - self.s[AT])  # type: ignore[no-any-return]

    @property
    def wire_left(self) -> int:
        """Bytes on the wire from here to the end of the content."""
        return max(0, self.s[LIMIT] - self.s[AT])  # type: ignore[no-any-return]

    @property
    def type(self) -> int:
        """The number by which the layer below chose this dissector."""
        return self.s[TYPE]  # type: ignore[no-any-return]

    def need(self, size: int) -> None:
        """Raise `Cut` unless `size` bytes are there."""
        if size > self.left:
            raise Cut

    def octets(self, at: int, size: int) -> bytes:
        """`size` bytes from `at` behind here."""
        self.need(at + size)
        start = self.s[AT] + at
        return bytes(self.data[start : start + size])

    def u8(self, at: int) -> int:
        self.need(at + 1)
        return self.data[self.s[AT] + at]  # type: ignore[no-any-return]

    def u16(self, at: int) -> int:
        return int.from_bytes(self.octets(at, 2), "big")

    def u32(self, at: int) -> int:
        return int.from_bytes(self.octets(at, 4), "big")

    def le16(self, at: int) -> int:
        return int.from_bytes(self.octets(at, 2), "little")

    def le32(self, at: int) -> int:
        return int.from_bytes(self.octets(at, 4), "little")

    def name(self, layer: int, size: int) -> None:
        """Note a layer of `size` own bytes without moving."""
        s = self.s
        n = s[N_LAYERS]
        if n and s[LAYERS + n - 1] == layer:
            s[BYTES + n - 1] += size
            s[PDUS + n - 1] += 1
        elif n >= MAX_LAYERS:
            s[FAULT] |= TOO_MANY_LAYERS
        else:
            s[LAYERS + n], s[BYTES + n], s[PDUS + n] = layer, size, 1
            s[N_LAYERS] = n + 1

    def layer(self, layer: int, size: int) -> None:
        """A header of `size` bytes: note it and step behind it; a cut one is noted with what is there."""
        self.name(layer, min(size, self.left))
        if size > self.left:
            raise Cut
        self.s[AT] += size

    def skip(self, size: int) -> None:
        """Step over bytes of the layer noted before."""
        self.need(size)
        self.s[AT] += size

    def more(self, size: int) -> None:
        """Step over bytes and count them to the layer noted last."""
        self.skip(size)
        self.s[BYTES + self.s[N_LAYERS] - 1] += size

    def trim(self, size: int) -> None:
        """The content is only `size` more bytes; what stands behind is the Ethernet layer's trailer."""
        s = self.s
        limit = s[AT] + size
        if limit < s[LIMIT]:
            if limit < s[END]:
                if s[TRAILER] >= 0:
                    s[BYTES + s[TRAILER]] += s[END] - limit
                s[END] = limit
            s[LIMIT] = limit
        s[TRAILER] = -1

    def go(self, code: int, number: int = 0) -> None:
        """Let `code` (see state.py) go on from here; nothing left: done."""
        self.s[NEXT] = code if self.left or self.wire_left else DONE
        self.s[TYPE] = number

    def rest(self, layer: int) -> None:
        """One layer takes all that is left, even if that is nothing; where the capture cut it, `_ws.short` follows."""
        self.name(layer, self.left)
        self.s[NEXT] = DONE
        if self.s[END] < self.s[LIMIT]:
            self.cut(0)

    def data_rest(self) -> None:
        """Nobody knows the rest: `data`, or nothing where nothing is left."""
        self.go(LEAF + layers.DATA)

    def done(self) -> None:
        self.s[NEXT] = DONE

    def payload(self) -> None:
        """Tell the next stage what stands behind the last layer."""
        s = self.s
        s[PAYLOAD_START], s[PAYLOAD_LEN], s[PAYLOAD_CAP] = s[AT], self.wire_left, self.left

    def cut(self, fault: int) -> None:
        """End the walk at a header that does not fit."""
        if self.s[END] < self.s[LIMIT]:
            self.s[FAULT] |= TRUNCATED
            self.name(layers.SHORT, 0)
        else:
            self.s[FAULT] |= fault
            self.name(layers.MALFORMED, 0)
        self.s[NEXT] = DONE
