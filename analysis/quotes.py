"""What ICMP errors quote, a batch at a time: the header of the packet that caused them (RFC 792, RFC 4443 3).

In: decoded batches. Out: which packets are errors, and the TCP streams they name, for the flow table. Vectorised: a
flood of errors costs no loop. Bytes are read only where the capture has them.
"""

from __future__ import annotations

import numpy as np

from analysis.columns import ICMP, Array, Batch, among


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


BEHIND = 1 << 62  # behind the last tap of any batch
TCP_QUOTED = 16  # bytes of a quoted TCP header that Wireshark reads before it numbers the stream


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
