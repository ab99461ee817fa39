"""Headers that no sender needs: overlapping fragments, source routing in IPv6, packets from a host to itself.

In: decoded batches. Out: `Payload` facts with the shapes `fragment-overlap`, `routing-header-0` and `land`, at most so
many of each. Everything is judged in columns; Python sees only the packets found. It says what was there, never why.
"""

from __future__ import annotations

import numpy as np

from analysis.columns import FRAGMENT_OVERLAP, Array, Batch
from analysis.facts import Facts, Payload

MOST = 2_000  # facts of one shape
IPV6_HEADER, ROUTING, FRAGMENT = 40, 43, 44  # RFC 8200 3, 4.4, 4.5


class HeaderShapes:
    """One object per analysis; `update` takes every batch in order."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._left = {"fragment-overlap": MOST, "routing-header-0": MOST, "land": MOST}

    def update(self, batch: Batch) -> None:
        """Look at the headers of one batch."""
        packets = batch.packets
        self._add(batch, np.flatnonzero(packets.fault & FRAGMENT_OVERLAP != 0), "fragment-overlap", "fragments overlap")
        self._add(batch, source_routed(batch), "routing-header-0", "IPv6 routing header of type 0")
        self._add(batch, to_itself(batch), "land", "source and destination are the same address and port")

    def _add(self, batch: Batch, rows: Array, shape: str, detail: str) -> None:
        packets = batch.packets
        for row in rows[: self._left[shape]].tolist():
            if packets.flow[row] < 0:
                continue
            self._left[shape] -= 1
            number, time_ns, flow = int(packets.number[row]), int(packets.time_ns[row]), int(packets.flow[row])
            fact = Payload(number, time_ns, flow, shape, detail, int(packets.direction[row]) == 0)
            self._facts.add("payload", fact)


def source_routed(batch: Batch) -> Array:
    """Rows with an IPv6 routing header of type 0 (deprecated by RFC 5095), directly or in a first fragment."""
    packets, data = batch.packets, batch.data
    end = packets.start + packets.cap_len
    rows = np.flatnonzero((packets.ip_start >= 0) & (packets.ip_start + IPV6_HEADER + 12 <= end))
    if not len(rows):
        return rows
    at = packets.ip_start[rows]
    six = data[at] >> 4 == 6
    rows, at = rows[six], at[six]
    following = data[at + 6]
    plain = (following == ROUTING) & (data[at + IPV6_HEADER + 2] == 0)
    first = (data[at + IPV6_HEADER + 2] == 0) & (data[at + IPV6_HEADER + 3] & 0xF8 == 0)
    inner = (following == FRAGMENT) & first & (data[at + IPV6_HEADER] == ROUTING)
    inner &= data[at + IPV6_HEADER + 10] == 0
    return np.asarray(rows[plain | inner])


def to_itself(batch: Batch) -> Array:
    """Rows of TCP or UDP whose source equals their destination, ports too; loopback is left out (RFC 9288 knows none)."""
    packets, taps = batch.packets, batch.taps
    rows = np.flatnonzero((packets.transport_tap >= 0) & (packets.tcp_flags & 2 != 0) & (packets.tcp_flags >= 0))
    if not len(rows):
        return rows
    tap = packets.transport_tap[rows]
    same = (taps.src_lo[tap] == taps.dst_lo[tap]) & (taps.src_hi[tap] == taps.dst_hi[tap])
    same &= taps.src_port[tap] == taps.dst_port[tap]
    loopback = (taps.src_hi[tap] == 0) & ((taps.src_lo[tap] >> 24 == 127) | (taps.src_lo[tap] == 1))
    return np.asarray(rows[same & ~loopback])
