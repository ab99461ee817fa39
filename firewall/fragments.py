"""IP defragmentation as connection tracking does it: rules of a stateful program see one packet a datagram, or none.

In: `Headers` of fragments and the batch's bytes. Out: headers without fragments, whole datagrams in the place of the
fragment that completed them. As Linux (ip_frag_queue, nf_ct_frag6_queue): an overlap throws the datagram away, a repeat
is ignored, what stays incomplete never reaches a rule. Memory: the first bytes and the covered ranges of unfinished
datagrams, the oldest forgotten beyond a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from firewall.headers import MINIMUM, NONE, SHORT, WHOLE, Array, Headers

SECOND = 1_000_000_000
TIMEOUT_NS = 30 * SECOND  # IP_FRAG_TIME
QUEUES_MAX = 10_000  # unfinished datagrams kept; a flood of lone fragments ends here
HEAD = 60  # bytes kept of the first fragment: the longest transport header that is looked at


@dataclass
class _Queue:
    began_ns: int
    ranges: list[tuple[int, int]] = field(default_factory=list)  # disjoint (first, end), sorted
    total: int = -1
    head: bytes = b""
    header: int = 0


class Defragmenter:
    """Unfinished datagrams between chunks."""

    def __init__(self) -> None:
        self._queues: dict[tuple[int, ...], _Queue] = {}

    def apply(self, headers: Headers, data: Array) -> Headers:
        """The same chunk as a stateful rule set sees it."""
        at = np.flatnonzero(headers.fragment > 0)
        if not len(at):
            return headers
        columns = {name: column.copy() for name, column in zip(Headers._fields, headers)}
        keep = np.ones(len(headers.row), bool)
        for i in at.tolist():
            if headers.family[i] == 6 and headers.fragment[i] == 1 and headers.transport[i] == SHORT:
                continue  # its header chain is cut: nf_ct_frag6_gather lets it through as it is (RFC 8200 4.5)
            whole = self._take(headers, data, i)
            if whole is None:
                keep[i] = False
            else:
                _put(columns, i, *whole)
        return Headers(*(column[keep] for column in columns.values()))

    def _take(self, h: Headers, data: Array, i: int) -> tuple[int, bytes] | None:
        """One fragment; (length of the whole packet, first transport bytes) where it completes its datagram."""
        start, at, length = int(h.start[i]), int(h.payload_at[i]), int(h.length[i])
        four = h.family[i] == 4
        identity = int.from_bytes(bytes(data[start + 4 : start + 6]) if four else bytes(data[at - 4 : at]), "big")
        word = int.from_bytes(bytes(data[start + 6 : start + 8]) if four else bytes(data[at - 6 : at - 4]), "big")
        offset = (word & 0x1FFF) * 8 if four else word & 0xFFF8
        more = bool(word & 0x2000) if four else bool(word & 1)
        size = start + length - at
        key = (
            int(h.family[i]),
            int(h.src_hi[i]),
            int(h.src_lo[i]),
            int(h.dst_hi[i]),
            int(h.dst_lo[i]),
            identity,
            int(h.proto[i]) if four else 0,
        )
        now = int(h.time_ns[i])
        queue = self._queues.get(key)
        if queue is None or not 0 <= now - queue.began_ns <= TIMEOUT_NS:
            if len(self._queues) >= QUEUES_MAX:
                self._queues.pop(next(iter(self._queues)))
            queue = self._queues[key] = _Queue(now)
        if more and size % 8:
            if not four:
                return None  # a fragment but the last must be whole units: answered with an error, not kept
            size -= size % 8
        if not self._add(queue, offset, offset + size, more):
            self._queues.pop(key, None)
            return None
        if offset == 0:
            head = at - start if four else at - start - 8
            queue.header = head
            queue.head = bytes(data[at : at + min(size, HEAD)])
        if queue.total < 0 or queue.ranges != [(0, queue.total)]:
            return None
        self._queues.pop(key, None)
        whole = queue.header + queue.total
        return (whole, queue.head) if whole <= 65535 + (0 if four else 40) else None

    @staticmethod
    def _add(queue: _Queue, first: int, end: int, more: bool) -> bool:
        """Note a range. False: the datagram is thrown away."""
        if end <= first:
            return False
        reach = queue.ranges[-1][1] if queue.ranges else 0
        if not more:
            if end < reach or queue.total not in (-1, end):
                return False
            queue.total = end
        elif queue.total >= 0 and end > queue.total:
            return False
        for low, high in queue.ranges:
            if low <= first and end <= high:
                return True  # a repeat
            if first < high and low < end:
                return False
        merged: list[tuple[int, int]] = []
        for low, high in sorted([*queue.ranges, (first, end)]):
            if merged and merged[-1][1] == low:
                merged[-1] = (merged[-1][0], high)
            else:
                merged.append((low, high))
        queue.ranges = merged
        return True


def _put(columns: dict[str, Array], i: int, length: int, head: bytes) -> None:
    """The row becomes the whole datagram."""
    proto = int(columns["proto"][i])
    need = MINIMUM.get(proto, 0)
    columns["length"][i] = length
    columns["transport_at"][i] = -1  # its bytes are not together anywhere
    columns["fragment"][i] = 0
    columns["transport"][i] = NONE if not need else WHOLE if len(head) >= need else SHORT
    for name in ("sport", "dport", "icmp", "flags", "icmp_id"):
        columns[name][i] = -1
    if len(head) < need or not need:
        return
    if proto in (6, 17, 33, 132, 136):
        columns["sport"][i] = int.from_bytes(head[:2], "big")
        columns["dport"][i] = int.from_bytes(head[2:4], "big")
    if proto == 6:
        columns["flags"][i] = int.from_bytes(head[12:14], "big") & 0x1FF
    if proto in (1, 58):
        columns["icmp"][i] = int.from_bytes(head[:2], "big")
        columns["icmp_id"][i] = int.from_bytes(head[4:6], "big")
