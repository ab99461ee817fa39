"""pcap: bytes to record index (draft-ietf-opsawg-pcap). All variants with 16- or 24-byte record headers.

In: the file's bytes, a buffer at a time. Out: `Records` with file-local interface 0, and what the header says. Both
byte orders, microseconds and nanoseconds, Kuznetzov's modified records, IXIA's lcap, files before version 2.4 with
their two lengths exchanged. It must not open files, number frames or look into packets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.columns import BAD_TIME, Array, Records
from analysis.errors import CaptureError
from analysis.kernel import compiles, kernel
from analysis.named_tuples import NamedTuple
from analysis.origin import BlockName, Comment, Interface, Section, largest_packet


class Variant(NamedTuple):
    """What a magic number stands for."""

    name: str
    unit_ns: int  # nanoseconds a unit of the fraction field
    header_len: int  # bytes of the file header
    record_len: int  # bytes of a record header


# The magic number as read in the file's own byte order.
VARIANTS = {
    0xA1B2C3D4: Variant("pcap", 1000, 24, 16),
    0xA1B23C4D: Variant("nsecpcap", 1, 24, 16),
    0xA1B2CD34: Variant("modpcap", 1000, 24, 24),  # + interface index, protocol, packet type, padding
    0x1C0001AC: Variant("lcap-hw", 1000, 28, 16),  # + size of all records behind the file header
    0x1C0001AB: Variant("lcap-sw", 1000, 28, 16),
}
MAGICS = {magic.to_bytes(4, order): (order == "big", v) for magic, v in VARIANTS.items() for order in ("big", "little")}

IN_ORDER, EXCHANGED, MAYBE_EXCHANGED = range(3)  # captured length first; wire length first (before 2.3); either (2.3)
MORE, FULL, DAMAGED = range(3)  # why a walk ends: bytes used up, rows used up, a length that cannot be


class Index(NamedTuple):
    """Output of the walk, one row a record."""

    start: Array  # int64
    cap_len: Array  # int32
    frame_len: Array  # int64
    time_ns: Array  # int64
    fault: Array  # int32


@kernel
def _u32(data: Any, at: int, big: int) -> int:
    """Four bytes as an unsigned number. Factors, not shifts: the sum is a signed 64-bit number compiled, too."""
    if big != 0:
        return 0x1000000 * data[at] + 0x10000 * data[at + 1] + 0x100 * data[at + 2] + 1 * data[at + 3]  # type: ignore[no-any-return]
    return 0x1000000 * data[at + 3] + 0x10000 * data[at + 2] + 0x100 * data[at + 1] + 1 * data[at]  # type: ignore[no-any-return]


@kernel
def walk(
    data: Any, at: int, end: int, big: int, record_len: int, lengths: int, unit_ns: int, max_len: int, index: Index
) -> tuple[int, int, int]:
    """Index the records in data[at:end]; return (rows, offset of the first record not taken, why it ended).

    Record header: seconds, fraction, captured length, length on the wire; 32 bits each.
    """
    rows = index.start.shape[0]
    row = 0
    while row < rows:
        body = at + record_len
        if body > end:
            return row, at, MORE
        cap_len = _u32(data, at + 8, big)
        frame_len = _u32(data, at + 12, big)
        if lengths == EXCHANGED or (lengths == MAYBE_EXCHANGED and cap_len > frame_len):
            cap_len, frame_len = frame_len, cap_len
        if cap_len > max_len:
            return row, at, DAMAGED
        if body + cap_len > end:
            return row, at, MORE
        nanos = _u32(data, at + 4, big) * unit_ns
        fault = 0
        if nanos >= 1000000000:
            # Wireshark keeps the fraction in 32 signed bits; so do we, and say that the time is bad.
            nanos = ((nanos + 0x80000000) & 0xFFFFFFFF) - 0x80000000
            fault = BAD_TIME
        time_ns = _u32(data, at, big) * 1000000000 + nanos
        index.time_ns[row] = max(time_ns, 0)
        index.start[row] = body
        index.cap_len[row] = cap_len
        index.frame_len[row] = frame_len
        index.fault[row] = fault
        row += 1
        at = body + cap_len
    return row, at, FULL


class PcapReader:
    """One pcap file. Feed `read` with buffers; `at` says where the next call has to begin."""

    def __init__(self, head: bytes, name: str) -> None:
        """`head`: the file's first bytes (28 or fewer), `name`: for messages."""
        big, variant = MAGICS[head[:4]]
        if len(head) < variant.header_len:
            raise CaptureError(
                f"{name}: pcap header is cut: got {len(head)} bytes, expected at least {variant.header_len}"
            )
        order = "big" if big else "little"
        major, minor = (int.from_bytes(head[k : k + 2], order) for k in (4, 6))  # type: ignore[arg-type]
        snaplen, network = (int.from_bytes(head[k : k + 4], order) for k in (16, 20))  # type: ignore[arg-type]
        # Bits 16-31: reserved, and the length of the frame check sequence in 16-bit units where bit 26 is set.
        fcs_bytes = (network >> 28) * 2 if network & 0x04000000 else None
        link_type = network & 0xFFFF
        self.format = variant.name
        self.interfaces = [
            Interface(
                link_type=link_type,
                snaplen=snaplen,
                time_digits=9 if variant.unit_ns == 1 else 6,
                fcs_bytes=fcs_bytes,
            )
        ]
        self.sections: list[Section] = []
        self.names: list[BlockName] = []
        self.secrets: list[bytes] = []
        self.comments: list[Comment] = []
        self.row_comments: list[tuple[int, str]] = []
        self.at = variant.header_len
        self.need = variant.record_len  # bytes from `at` that the next record needs at least
        self.damage = ""  # name of the fault that ended reading
        self._big = int(big)
        self._variant = variant
        self._link_type = link_type
        self._max_len = largest_packet(link_type)
        if (major == 2 and minor < 3) or major == 543:  # 543.0: tcpdump of DG/UX
            self._lengths = EXCHANGED
        else:
            self._lengths = MAYBE_EXCHANGED if (major, minor) == (2, 3) else IN_ORDER

    def read(self, data: Array, end: int, limit: int) -> Records:
        """Records in data[self.at : end], at most `limit`; moves `at`. Fewer than that: more bytes, or `damage`."""
        variant = self._variant
        rows = max(0, min(limit, (end - self.at) // variant.record_len))
        index = Index(
            np.empty(rows, np.int64),
            np.empty(rows, np.int32),
            np.empty(rows, np.int64),
            np.empty(rows, np.int64),
            np.empty(rows, np.int32),
        )
        source = data if compiles(__name__) else memoryview(data)  # type: ignore[arg-type]
        n, self.at, why = walk(
            source,
            self.at,
            end,
            self._big,
            variant.record_len,
            self._lengths,
            variant.unit_ns,
            self._max_len,
            index,
        )
        if why == DAMAGED:
            self.damage = "bad_length"
        self.need = variant.record_len
        if self.at + variant.record_len <= end:
            self.need += min(self._max_len, max(_u32(source, self.at + k, self._big) for k in (8, 12)))
        return Records(
            data=data,
            start=index.start[:n],
            cap_len=index.cap_len[:n],
            frame_len=index.frame_len[:n],
            time_ns=index.time_ns[:n],
            interface=np.zeros(n, np.int32),
            link_type=np.full(n, self._link_type, np.int32),
            fault=index.fault[:n],
            number=np.zeros(n, np.int64),
        )
