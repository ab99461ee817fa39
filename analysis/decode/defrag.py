"""IP reassembly (RFC 791 3.2, RFC 8200 4.5): fragments of a datagram in, its payload out when the last gap closes.

In: the notepad of a fragment (addresses, id, protocol, offset, "more"). Out: the datagram's bytes, or nothing and the
fragment noted as `data`. As Wireshark does it: transport is dissected once, in the frame that closes the last gap;
where fragments overlap, the one that begins earlier wins; a fragment cut by the capture is not taken.
Memory is bounded by datagrams and bytes: the oldest unfinished datagram goes first, and a fault says so.
"""

from __future__ import annotations

from typing import Any

from analysis.columns import FRAGMENT_INCOMPLETE, FRAGMENT_OVERLAP
from analysis.decode.state import (
    AT,
    DST_HI,
    DST_LO,
    END,
    FAMILY,
    FAULT,
    FRAGMENT_ID,
    FRAGMENT_LEN,
    FRAGMENT_MORE,
    FRAGMENT_OFFSET,
    LEAF,
    NEXT,
    SRC_HI,
    SRC_LO,
    TRANSPORT,
    TYPE,
)
from analysis.layers import DATA

# RFC 1122 asks hosts for 60-120 s of reassembly; a capture has no such clock, so size bounds it. 64 MiB is a thousand
# datagrams of the greatest length; real captures have a handful unfinished, floods of lone fragments have millions.
MAX_DATAGRAMS = 4096
MAX_BYTES = 64 * 1024 * 1024
MAX_PIECES = 8192  # every 8-byte unit of the longest datagram by itself
MAX_LENGTH = 65535  # RFC 791: total length has 16 bits; longer ones are the "ping of death"

_Key = tuple[int, int, int, int, int, int, int]


class _Datagram:
    """The fragments so far, which 8-byte units they cover, and the length once the last fragment has told it (-1 before)."""

    __slots__ = ("covered", "length", "pieces", "units")

    def __init__(self) -> None:
        self.pieces: dict[tuple[int, int], bytes] = {}  # by offset and size: a repeat of the same fragment adds nothing
        self.units = bytearray()
        self.covered = 0
        self.length = -1

    def add(self, offset: int, piece: bytes) -> bool:
        """Keep a fragment. Returns True where it overlaps an earlier one; the same again (a mirrored copy) does not."""
        if self.pieces.get((offset, len(piece))) == piece:
            return False
        first, behind = offset // 8, (offset + len(piece) + 7) // 8
        if len(self.units) < behind:
            self.units.extend(bytes(behind - len(self.units)))
        new = self.units.count(0, first, behind)
        self.units[first:behind] = b"\1" * (behind - first)
        self.covered += new
        self.pieces.setdefault((offset, len(piece)), piece)
        return new < behind - first

    def whole(self) -> bytes | None:
        """The payload, if no gap is left."""
        if self.length < 0 or self.covered * 8 < self.length:
            return None
        out = bytearray()
        for (offset, _), piece in sorted(self.pieces.items()):
            if offset > len(out):
                return None
            out += piece[len(out) - offset :]
        return bytes(out[: self.length]) if len(out) >= self.length else None


class Fragments:
    """Unfinished datagrams of one capture, in order of their first fragment."""

    def __init__(self) -> None:
        self._unfinished: dict[_Key, _Datagram] = {}
        self._bytes = 0
        self.given_up = 0  # datagrams dropped to stay within the limits

    @property
    def unfinished(self) -> int:
        """Datagrams of which fragments are missing so far."""
        return len(self._unfinished)

    def take(self, data: memoryview, s: Any) -> bytes | None:
        """Take the fragment at s[AT]; returns the datagram's payload where it is complete now.

        Else leaves in s[NEXT] how the frame goes on: `data`, or its transport if the capture cut the first fragment.
        """
        at, end = s[AT], s[END]
        s[NEXT] = LEAF + DATA
        if end - at < s[FRAGMENT_LEN] or end <= at:
            if s[FRAGMENT_OFFSET] == 0:
                s[NEXT] = TRANSPORT
            return None
        if s[FRAGMENT_OFFSET] + end - at > MAX_LENGTH:
            s[FAULT] |= FRAGMENT_OVERLAP
            return None
        key = (s[SRC_HI], s[SRC_LO], s[DST_HI], s[DST_LO], s[FRAGMENT_ID], s[TYPE] if s[FAMILY] == 4 else 0, s[FAMILY])
        return self._add(key, s, s[FRAGMENT_OFFSET], bytes(data[at:end]))

    def _add(self, key: _Key, s: Any, offset: int, piece: bytes) -> bytes | None:
        datagram = self._unfinished.get(key)
        if datagram is None:
            self._make_room(s)
            datagram = self._unfinished[key] = _Datagram()
        before = len(datagram.pieces)
        if datagram.add(offset, piece):
            s[FAULT] |= FRAGMENT_OVERLAP
        if len(datagram.pieces) > before:
            self._bytes += len(piece)
        if not s[FRAGMENT_MORE] and datagram.length < 0:
            datagram.length = offset + len(piece)
        whole = datagram.whole()
        if whole is not None or len(datagram.pieces) > MAX_PIECES:
            self._drop(key)
        return whole

    def _make_room(self, s: Any) -> None:
        while self._unfinished and (len(self._unfinished) >= MAX_DATAGRAMS or self._bytes >= MAX_BYTES):
            self._drop(next(iter(self._unfinished)))
            self.given_up += 1
            s[FAULT] |= FRAGMENT_INCOMPLETE

    def _drop(self, key: _Key) -> None:
        self._bytes -= sum(len(piece) for piece in self._unfinished.pop(key).pieces.values())
