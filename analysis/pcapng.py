"""pcapng: bytes to record index (draft-ietf-opsawg-pcapng). Sections, interfaces, clocks, names, drops, comments, keys.

In: the file's bytes, a buffer at a time. Out: `Records` with file-local interfaces, and what the blocks say. Packet
blocks (enhanced, simple, obsolete) are walked by a kernel; the rare blocks between them are read in plain Python;
unknown blocks are skipped. A block whose length cannot be ends the file there, as in Wireshark. It must not open
files, number frames or look into packets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis.columns import BAD_INTERFACE, BAD_TIME, NO_TIME, Array, Records, different
from analysis.errors import CaptureError
from analysis.kernel import compiles, inner_kernel, kernel
from analysis.named_tuples import NamedTuple
from analysis.origin import (
    CUSTOM_LINK,
    JOURNAL_LINK,
    MAX_PACKET_BYTES,
    NO_INTERFACE,
    BlockName,
    Comment,
    Interface,
    Section,
    largest_packet,
)
from analysis.patterns import pattern

MAGIC = b"\x0a\x0d\x0d\x0a"
SECTION, INTERFACE, NAMES, STATISTICS, SECRETS = 0x0A0D0D0A, 1, 4, 5, 10
TLS_KEY_LOG = 0x544C534B
LITTLE, BIG = b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"
MORE, FULL, BLOCK, DAMAGED = range(4)  # why a walk ends

MAX_BLOCK_BYTES = 136 << 20  # the largest packet of any link type with its options; a longer block is damage
# A file of nothing but tiny blocks must not fill memory with their contents.
MAX_INTERFACES = 1 << 16
MAX_NAMES = 200_000
MAX_COMMENTS = 10_000
MAX_TEXT = 65_535  # an option's length field has 16 bits
LAST_NS = 2**63 - 1
JOURNAL_TIME = pattern(rb"(?:^|\n)__REALTIME_TIMESTAMP=(\d{1,16})\n")  # microseconds


class Index(NamedTuple):
    """Output of the walk, one row a record."""

    start: Array  # int64
    cap_len: Array  # int32
    frame_len: Array  # int64
    ticks: Array  # int64 bit pattern of the unsigned time stamp
    interface: Array  # int32, file-local; negative where the record has none
    link: Array  # int32, 0 = that of the interface
    timed: Array  # uint8, 1 where ticks is a time
    comment: Array  # int64, offset of the first comment option, 0 = none


@kernel
def _u32(data: Any, at: int, big: int) -> int:
    """Four bytes as an unsigned number. Factors, not shifts: the sum is a signed 64-bit number compiled, too."""
    if big != 0:
        return 0x1000000 * data[at] + 0x10000 * data[at + 1] + 0x100 * data[at + 2] + 1 * data[at + 3]  # type: ignore[no-any-return]
    return 0x1000000 * data[at + 3] + 0x10000 * data[at + 2] + 0x100 * data[at + 1] + 1 * data[at]  # type: ignore[no-any-return]


@inner_kernel
def _u16(data: Any, at: int, big: int) -> int:
    """Two bytes as an unsigned number."""
    if big != 0:
        return 0x100 * data[at] + 1 * data[at + 1]  # type: ignore[no-any-return]
    return 0x100 * data[at + 1] + 1 * data[at]  # type: ignore[no-any-return]


@inner_kernel
def _comment(data: Any, at: int, end: int, big: int) -> int:
    """Offset of the first comment (option 1) among the options in data[at:end], 0 where there is none."""
    while at + 4 <= end:
        code = _u16(data, at, big)
        size = _u16(data, at + 2, big)
        if code == 0 or at + 4 + size > end:
            return 0
        if code == 1:
            return at
        at += 4 + (size + 3) // 4 * 4
    return 0


@kernel
def walk(
    data: Any, at: int, end: int, big: int, row: int, base: int, count: int, snaplen: int, max_cap: int, index: Index
) -> tuple[int, int, int]:
    """Index the packet blocks in data[at:end] from `row` on; return (rows, first offset not taken, why it ended).

    `base`: file-local number of the section's interface 0; `count`: its interfaces; `snaplen`: of interface 0;
    `max_cap`: most bytes that a packet may have.
    Every block: type, total length, body, total length again; 32 bits each.
    """
    rows = index.start.shape[0]
    while row < rows:
        if at + 12 > end:
            return row, at, MORE
        kind = _u32(data, at, big)
        if kind == 0x0A0D0D0A:  # its length is in the byte order of the section that begins
            return row, at, BLOCK
        length = _u32(data, at + 4, big)
        if length < 12 or length > MAX_BLOCK_BYTES:
            return row, at, DAMAGED
        padded = (length + 3) // 4 * 4
        if at + padded > end:
            return row, at, MORE
        if _u32(data, at + padded - 4, big) != length:
            return row, at, DAMAGED
        if kind == 6 or kind == 2:
            # Enhanced packet, section 4.3: interface 32, time high 32, low 32, captured 32, original 32, data, options.
            # Obsolete packet, appendix A: interface 16, drops 16, then the same.
            if length < 32:
                return row, at, DAMAGED
            cap_len = _u32(data, at + 20, big)
            if cap_len > length - 32 or cap_len > max_cap:
                return row, at, DAMAGED
            if kind == 6:
                interface = _u32(data, at + 8, big)
            else:
                interface = _u16(data, at + 8, big)
            high = _u32(data, at + 12, big)
            if high >= 0x80000000:
                high -= 0x100000000
            index.start[row] = at + 28
            index.cap_len[row] = cap_len
            index.frame_len[row] = _u32(data, at + 24, big)
            index.ticks[row] = high * 0x100000000 + _u32(data, at + 16, big)
            index.interface[row] = base + interface if interface < count else -1
            index.link[row] = 0
            index.timed[row] = 1
            options = at + 28 + (cap_len + 3) // 4 * 4
            end_of_options = at + padded - 4
            index.comment[row] = _comment(data, options, end_of_options, big) if options + 4 <= end_of_options else 0
            row += 1
        elif kind == 3:
            # Simple packet, section 4.4: original length 32, data. Interface 0, no time; cut at its snapshot length.
            if length < 16:
                return row, at, DAMAGED
            frame_len = _u32(data, at + 8, big)
            cap_len = frame_len
            if snaplen != 0 and cap_len > snaplen:
                cap_len = snaplen
            if cap_len > length - 16 or cap_len > max_cap:
                return row, at, DAMAGED
            index.start[row] = at + 12
            index.cap_len[row] = cap_len
            index.frame_len[row] = frame_len
            index.ticks[row] = 0
            index.interface[row] = base if count > 0 else -1
            index.link[row] = 0
            index.timed[row] = 0
            index.comment[row] = 0
            row += 1
        elif kind == 9 or kind == 0xBAD or kind == 0x40000BAD:
            # Journal entry (section 4.7) and custom block (4.8: enterprise number 32, data): frames in Wireshark.
            body = at + 8 if kind == 9 else at + 12
            size = at + length - 4 - body
            if size < 0:
                return row, at, DAMAGED
            if kind == 9:  # text: its padding does not count
                for _ in range(3):
                    if size > 0 and data[body + size - 1] == 0:
                        size -= 1
            index.start[row] = body
            index.cap_len[row] = size
            index.frame_len[row] = size
            index.ticks[row] = 0
            index.interface[row] = -1
            index.link[row] = JOURNAL_LINK if kind == 9 else CUSTOM_LINK
            index.timed[row] = 0
            index.comment[row] = 0
            row += 1
        elif kind == 1 or kind == 4 or kind == 5 or kind == 10:
            return row, at, BLOCK
        at += padded
    return row, at, FULL


class Clock(NamedTuple):
    """Time stamps of an interface: units a second as base ** exponent (if_tsresol), seconds to add (if_tsoffset)."""

    base: int = 10
    exponent: int = 6
    offset_s: int = 0


def to_ns(ticks: Array, clock: Clock) -> tuple[Array, Array]:
    """Unix time in ns of unsigned 64-bit `ticks`, and where it is outside 0 .. 2**63-1 (kept at that edge)."""
    units = ticks.view(np.uint64)
    exponent = clock.exponent
    if clock.base == 10 and exponent <= 9:
        factor = 10 ** (9 - exponent)
        bad = units > LAST_NS // factor
        ns = np.where(bad, np.uint64(LAST_NS), units) if bad.any() else units
        ns = np.where(bad, ns, ns * np.uint64(factor)) if bad.any() else units * np.uint64(factor)
    elif clock.base == 10:
        ns = units // np.uint64(10 ** min(exponent - 9, 19))
        bad = np.full(len(units), exponent > 28)
    else:
        shift = np.uint64(min(exponent, 63))
        seconds = units >> shift
        fraction = units & np.uint64((1 << int(shift)) - 1)
        kept = min(int(shift), 33)  # 33 bits of fraction are finer than a nanosecond, and times 10**9 fit in 64
        fraction >>= shift - np.uint64(kept)
        nanos = (fraction * np.uint64(10**9)) >> np.uint64(kept)
        bad = seconds > (LAST_NS - 999_999_999) // 10**9
        ns = np.where(bad, np.uint64(0), seconds) * np.uint64(10**9) + nanos
        ns = np.where(bad, np.uint64(LAST_NS), ns)
        bad |= exponent > 63
    bad = bad | (ns > np.uint64(LAST_NS))
    result = np.minimum(ns, np.uint64(LAST_NS)).view(np.int64)
    if clock.offset_s == 0:
        return result, bad
    offset = max(-LAST_NS, min(LAST_NS, clock.offset_s * 10**9))
    if offset > 0:
        late = result > LAST_NS - offset
        return np.where(late, LAST_NS, np.where(late, 0, result) + offset), bad | late
    moved = result + offset
    return np.maximum(moved, 0), bad | (moved < 0)


class PcapngReader:
    """One pcapng file. Feed `read` with buffers; `at` says where the next call has to begin."""

    def __init__(self, head: bytes, name: str) -> None:
        """`head`: the file's first bytes (12 or more), `name`: for messages."""
        if len(head) < 12 or head[8:12] not in (LITTLE, BIG):
            raise CaptureError(
                f"{name}: pcapng section header: got byte-order magic {head[8:12].hex() or 'nothing'}, expected 1a2b3c4d"
            )
        self.format = "pcapng"
        self.interfaces: list[Interface] = []
        self.sections: list[Section] = []
        self.names: list[BlockName] = []
        self.secrets: list[bytes] = []
        self.comments: list[Comment] = []
        self.row_comments: list[tuple[int, str]] = []
        self.at = 0
        self.need = 28
        self.damage = ""
        self._clocks: list[Clock] = []
        self._base = 0  # file-local number of the section's first interface
        self._big = 0
        self._max_cap = MAX_PACKET_BYTES

    def read(self, data: Array, end: int, limit: int) -> Records:
        """Records in data[self.at : end], at most `limit`; moves `at`. Fewer than that: more bytes, or `damage`."""
        rows = max(1, min(limit, (end - self.at) // 16 + 1))
        index = Index(
            np.empty(rows, np.int64),
            np.empty(rows, np.int32),
            np.empty(rows, np.int64),
            np.empty(rows, np.int64),
            np.empty(rows, np.int32),
            np.empty(rows, np.int32),
            np.empty(rows, np.uint8),
            np.empty(rows, np.int64),
        )
        view = memoryview(data)  # type: ignore[arg-type]
        source = data if compiles(__name__) else view
        row = 0
        while True:
            count = len(self.interfaces) - self._base
            snaplen = self.interfaces[self._base].snaplen if count else 0
            row, at, why = walk(source, self.at, end, self._big, row, self._base, count, snaplen, self._max_cap, index)
            self.at = at
            if why == BLOCK:
                if not self._take_block(view, end):
                    break
            else:
                break
        if why == DAMAGED:
            self.damage = "bad_length"
        if why == MORE:
            self.need = max(12, _u32(source, at + 4, self._big) + 3) if at + 8 <= end else 12
        self._take_comments(view, index.comment[:row])
        return self._records(data, index, row)

    def _records(self, data: Array, index: Index, n: int) -> Records:
        """Rows of the index with clocks and link types of their interfaces."""
        interface, link, timed = index.interface[:n], index.link[:n], index.timed[:n]
        fault = np.zeros(n, np.int32)
        time_ns = np.full(n, NO_TIME, np.int64)
        link_type = np.where(link < 0, link, NO_INTERFACE)
        for k in different(interface).tolist():
            rows = slice(None) if n and (interface == k).all() else interface == k
            clock = self._clocks[k] if k >= 0 else Clock()
            ns, bad = to_ns(index.ticks[:n][rows], clock)
            has_time = timed[rows] == 1
            time_ns[rows] = np.where(has_time, ns, NO_TIME)
            fault[rows] |= np.where(bad & has_time, BAD_TIME, 0).astype(np.int32)
            if k >= 0:
                link_type[rows] = self.interfaces[k].link_type
        for row in np.flatnonzero(link == JOURNAL_LINK).tolist():
            start = int(index.start[row])
            entry = data[start : start + int(index.cap_len[row])].tobytes()
            if found := JOURNAL_TIME.search(entry):
                time_ns[row] = min(int(found[1]) * 1000, LAST_NS)
        fault[link_type == NO_INTERFACE] |= BAD_INTERFACE
        return Records(
            data=data,
            start=index.start[:n],
            cap_len=index.cap_len[:n],
            frame_len=index.frame_len[:n],
            time_ns=time_ns,
            interface=interface,
            link_type=link_type.astype(np.int32),
            fault=fault,
            number=np.zeros(n, np.int64),
        )

    def _take_block(self, view: memoryview, end: int) -> bool:
        """Read the block at `at` that the kernel left to us; False where bytes are missing or it is damaged."""
        at = self.at
        if bytes(view[at : at + 4]) == MAGIC:
            return self._take_section(view, end)
        kind, length = self._number(view[at : at + 4]), self._number(view[at + 4 : at + 8])
        padded = (length + 3) // 4 * 4
        body = bytes(view[at + 8 : at + padded - 4])
        if kind == INTERFACE:
            self._take_interface(body)
        elif kind == NAMES:
            self._take_names(body)
        elif kind == SECRETS:
            self._take_secrets(body)
        else:
            self._take_statistics(body)
        self.at = at + padded
        return True

    def _number(self, octets: bytes | memoryview) -> int:
        return int.from_bytes(octets, "big" if self._big else "little")

    def _take_section(self, view: memoryview, end: int) -> bool:
        """Section header, section 4.1: byte-order magic, version 16+16, section length 64, options."""
        at = self.at
        if at + 12 > end:
            self.need = 12
            return False
        magic = bytes(view[at + 8 : at + 12])
        big = magic == BIG
        length = int.from_bytes(view[at + 4 : at + 8], "big" if big else "little")
        if magic not in (LITTLE, BIG) or length < 28 or length > MAX_BLOCK_BYTES:
            self.damage = "bad_length" if magic in (LITTLE, BIG) else "bad_section"
            return False
        padded = (length + 3) // 4 * 4
        if at + padded > end:
            self.need = padded
            return False
        self._big = int(big)
        major = self._number(view[at + 12 : at + 14])
        if self._number(view[at + padded - 4 : at + padded]) != length or major != 1:
            self.damage = "bad_length" if major == 1 else "bad_version"
            return False
        values: dict[int, str] = {}
        for code, value in self._options(bytes(view[at + 24 : at + padded - 4])):
            if code == 1:
                self._comment_of(0, value)
            else:
                values.setdefault(code, _text(value))
        if len(self.sections) < MAX_INTERFACES:
            self.sections.append(Section(values.get(2, ""), values.get(3, ""), values.get(4, "")))
        self._base = len(self.interfaces)
        self.at = at + padded
        return True

    def _take_interface(self, body: bytes) -> None:
        """Interface description, section 4.2: link type 16, reserved 16, snapshot length 32, options."""
        if len(body) < 8 or len(self.interfaces) >= MAX_INTERFACES:
            return
        interface = Interface(link_type=self._number(body[:2]), snaplen=self._number(body[4:8]))
        base, exponent, offset = 10, 6, 0
        for code, value in self._options(body[8:]):
            if code == 1:
                self._comment_of(0, value)
            elif code == 2:
                interface.name = _text(value)
            elif code == 3:
                interface.description = _text(value)
            elif code == 9 and len(value) == 1:
                base, exponent = (2 if value[0] & 0x80 else 10), value[0] & 0x7F
            elif code == 11 and value[:1] == b"\x00":  # 0: text; 1: BPF program
                interface.filter = _text(value[1:])
            elif code == 12:
                interface.os = _text(value)
            elif code == 13 and len(value) == 1:
                interface.fcs_bytes = value[0]
            elif code == 14 and len(value) == 8:
                offset = int.from_bytes(value, "big" if self._big else "little", signed=True)
            elif code == 15:
                interface.hardware = _text(value)
        interface.time_digits = min(9, exponent if base == 10 else -(-exponent * 3 // 10))
        self.interfaces.append(interface)
        self._clocks.append(Clock(base, exponent, offset))
        self._max_cap = max(self._max_cap, largest_packet(interface.link_type))

    def _take_names(self, body: bytes) -> None:
        """Name resolution, section 4.5: records (type 16, length 16, value padded), ended by type 0."""
        at = 0
        while at + 4 <= len(body) and len(self.names) < MAX_NAMES:
            kind, size = self._number(body[at : at + 2]), self._number(body[at + 2 : at + 4])
            value = body[at + 4 : at + 4 + size]
            width = {1: 4, 2: 16}.get(kind, 0)
            if kind == 0 or len(value) < size:
                return
            if width and size > width:
                address = str(ipaddress.ip_address(value[:width]))
                self.names += [BlockName(address, _text(n)) for n in value[width:].split(b"\x00") if n]
            at += 4 + (size + 3) // 4 * 4

    def _take_secrets(self, body: bytes) -> None:
        """Decryption secrets, section 4.7: type 32, length 32, the secrets; those of TLS are used."""
        if len(body) >= 8 and self._number(body[:4]) == TLS_KEY_LOG:
            self.secrets.append(body[8 : 8 + self._number(body[4:8])])

    def _take_statistics(self, body: bytes) -> None:
        """Interface statistics, section 4.6: interface 32, time 64, options; the last block of an interface counts."""
        if len(body) < 12:
            return
        number = self._base + self._number(body[:4])
        if number >= len(self.interfaces):
            return
        for code, value in self._options(body[12:]):
            if code == 4 and len(value) == 8:
                self.interfaces[number].received = self._number(value)
            elif code == 5 and len(value) == 8:
                self.interfaces[number].drops = self._number(value)

    def _take_comments(self, view: memoryview, offsets: Array) -> None:
        """Comments of the packets just indexed: (row, text), the first comment of a packet."""
        self.row_comments = []
        for row in np.flatnonzero(offsets)[:MAX_COMMENTS].tolist():
            at = int(offsets[row])
            size = self._number(view[at + 2 : at + 4])
            self.row_comments.append((row, _text(bytes(view[at + 4 : at + 4 + size]))))

    def _comment_of(self, number: int, value: bytes) -> None:
        if len(self.comments) < MAX_COMMENTS:
            self.comments.append(Comment(number, _text(value)))

    def _options(self, octets: bytes) -> Iterator[tuple[int, bytes]]:
        """Options, section 3.5: code 16, length 16, value padded to 32 bits; ended by code 0 or the block."""
        at = 0
        while at + 4 <= len(octets):
            code, size = self._number(octets[at : at + 2]), self._number(octets[at + 2 : at + 4])
            if code == 0 or at + 4 + size > len(octets):
                return
            yield code, octets[at + 4 : at + 4 + size]
            at += 4 + (size + 3) // 4 * 4


def _text(value: bytes) -> str:
    """UTF-8 text of an option, without padding zeros; what is not UTF-8 is replaced."""
    return value[:MAX_TEXT].split(b"\x00", 1)[0].decode("utf-8", "replace")
