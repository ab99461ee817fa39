"""What ICMP errors quote, a batch at a time: the header of the packet that caused them (RFC 792, RFC 4443 3).

In: decoded batches, rows of the flow table. Out: which packets are errors, the TCP streams they name, and the rows of
the conversations they are about, marked. Bytes are read only where the capture has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.address_table import address_id
from analysis.columns import ICMP, ICMPV6, NO_TIME, SCTP, TCP, UDP, Array, Batch, among
from analysis.flow_rows import ABSENT, ICMP_ERROR, KIND, QUOTED, SMALL, TINY, flow_slot, new_flow
from analysis.kernel import inner_kernel, lean_kernel

BEHIND = 1 << 62  # behind the last tap of any batch
TCP_QUOTED = 16  # bytes of a quoted TCP header that Wireshark reads before it numbers the stream


def icmp_errors(batch: Batch) -> tuple[Array, Array]:
    """(packet rows, IP versions) of errors that quote a packet: unreachable, source quench, exceeded, parameter."""
    packets = batch.packets
    kind = packets.icmp_type
    asked = np.flatnonzero((kind >= 1) & (kind <= 12) & (packets.transport_tap >= 0))
    if not len(asked):
        return asked, asked
    is_four = batch.taps.kind[packets.transport_tap[asked]] == ICMP
    error = np.where(is_four, among(kind[asked], (3, 4, 11, 12)), kind[asked] <= 4)
    return asked[error], np.where(is_four[error], 4, 6)


def quoted_streams(batch: Batch) -> Array:
    """int64[n + 1, 8]: tap, family, source (2 words), destination (2), ports of the TCP headers in ICMP errors.

    The last row stands behind all taps. Quotes too short to be numbered, and later fragments, are left out.
    """
    packets, data = batch.packets, batch.data
    rows, families = icmp_errors(batch)
    last = np.array([[BEHIND, *[0] * 7]], dtype=np.int64)
    if not len(rows):
        return last
    begin = packets.transport_start[rows] + 8
    stop = packets.start[rows] + packets.cap_len[rows]
    fits = (begin >= packets.start[rows]) & (begin + 20 <= stop)
    rows, families, begin, stop = rows[fits], families[fits], begin[fits], stop[fits]
    four = (families == 4) & (data[begin] >> 4 == 4) & (data[begin + 9] == 6)
    four &= (data[begin + 6] & 0x1F == 0) & (data[begin + 7] == 0)
    six = (families == 6) & (data[begin] >> 4 == 6) & (data[begin + 6] == 6)
    header = np.where(six, 40, (data[begin] & 15).astype(np.int64) * 4)
    good = (four | six) & (header >= 20) & (begin + header + TCP_QUOTED <= stop)
    rows, families, begin, header = rows[good], families[good], begin[good], header[good]
    found = np.zeros((len(rows), 8), dtype=np.int64)
    found[:, 0], found[:, 1] = packets.transport_tap[rows], families
    for family, at, size in ((4, 12, 4), (6, 8, 8)):
        chosen = families == family
        for column in range(0, 4, 1 if size == 8 else 2):
            place = begin[chosen] + at + column * 8 if size == 8 else begin[chosen] + at + column * 2
            found[chosen, 2 + column + (size == 4)] = _words(data, place, size)
    found[:, 6], found[:, 7] = _words(data, begin + header, 2), _words(data, begin + header + 2, 2)
    return np.concatenate((found, last))


def _words(data: Array, at: Array, size: int) -> Array:
    """Big-endian numbers of `size` bytes at offsets `at`, eight bytes as a signed pattern."""
    found = np.zeros(len(at), dtype=np.uint64)
    for step in range(size):
        found = found << np.uint64(8) | data[at + step].astype(np.uint64)
    return found.view(np.int64)


@inner_kernel
def reserve(tables: Any, quotes: Any, q: int) -> None:
    """Number the TCP stream that an ICMP error quotes: Wireshark gives it its number there, seen before or not."""
    family = quotes[q, 1]
    src = address_id(tables.addresses, family, quotes[q, 2], quotes[q, 3], True)
    dst = address_id(tables.addresses, family, quotes[q, 4], quotes[q, 5], True)
    at, tag = flow_slot(tables, TCP, src, dst, quotes[q, 6], quotes[q, 7])
    if tables.slots[at] == 0:
        row = new_flow(tables, TCP, src, dst, quotes[q, 6], quotes[q, 7], NO_TIME)
        tables.tiny[TINY * row + KIND] = QUOTED
        tables.slots[at] = (tag << 32) | (row + 1)


@lean_kernel
def mark_quoted(data: Any, start: Any, end: Any, rows: Any, at: Any, kinds: Any, families: Any, tables: Any) -> None:
    """Attach ICMP errors to the flows they quote (RFC 792, RFC 4443 3): packet rows `rows`, ICMP header at `at`."""
    for i in range(len(rows)):
        packet = rows[i]
        quote = at[i] + 8
        stop = end[packet]
        if quote < start[packet] or quote + 20 > stop:
            continue
        version = data[quote] >> 4
        family = families[i]
        header = 0
        protocol = 0
        if version != family:
            continue
        if version == 4:
            header = (data[quote] & 15) * 4
            protocol = 0 + data[quote + 9]
            src = address_id(tables.addresses, 4, 0, _word(data, quote + 12, 4), False)
            dst = address_id(tables.addresses, 4, 0, _word(data, quote + 16, 4), False)
        elif quote + 40 <= stop:
            header = 40
            protocol = 0 + data[quote + 6]
            src = address_id(tables.addresses, 6, _word(data, quote + 8, 8), _word(data, quote + 16, 8), False)
            dst = address_id(tables.addresses, 6, _word(data, quote + 24, 8), _word(data, quote + 32, 8), False)
        else:
            continue
        ports = quote + header
        if src < 0 or dst < 0 or header < 20 or ports + 8 > stop:
            continue
        kind = -1
        src_port = _word(data, ports, 2)
        dst_port = _word(data, ports + 2, 2)
        if protocol == 6:
            kind = TCP
        elif protocol == 17:
            kind = UDP
        elif protocol == 132:
            kind = SCTP
        elif (protocol == 1 and version == 4) or (protocol == 58 and version == 6):
            kind = ICMP if version == 4 else ICMPV6
            dst_port = 0 + data[ports]
            src_port = _word(data, ports + 4, 2)
        if kind < 0:
            continue
        slot, _ = flow_slot(tables, kind, src, dst, src_port, dst_port)
        row = (tables.slots[slot] & 0xFFFFFFFF) - 1
        if row >= 0 and tables.small[SMALL * row + ICMP_ERROR] == ABSENT:
            tables.small[SMALL * row + ICMP_ERROR] = kinds[i]


@inner_kernel
def _word(data: Any, at: int, count: int) -> int:
    """Big-endian number of `count` (at most 8) bytes as a signed 64-bit pattern. The caller has checked the bounds."""
    value: int = data[at] - (256 if data[at] > 127 and count == 8 else 0)
    for i in range(1, count):
        value = value * 256 + data[at + i]
    return value
