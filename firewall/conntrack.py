"""Connection states as Linux would give them to the packets of a capture: NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED.

In: per packet conversation, direction, kind, TCP flags and time, and whether it would be dropped if NEW. Out: a state
per packet. The table outlives a chunk. A dropped first packet never makes an entry (nf_conntrack_confirm runs last),
so what follows it is NEW again: state and verdict depend on each other, which is why this one loop is sequential.
Assumed, and said in the report: kernel defaults (tcp_loose=1), checksums good (captures of a sender show unfinished
ones) and a liberal TCP window (be_liberal=1). Must not know rules.

Sources: nf_conntrack_proto_tcp.c (tcp_conntracks, tcp_new, tcp_valid_flags), nf_conntrack_proto_icmp.c, RFC 9293 3.3.2.
"""

from __future__ import annotations

import numpy as np

from analysis.kernel import kernel
from firewall.headers import Array
from firewall.traffic import Marked

# Order of rules.STATES, then UNKNOWN (SCTP and DCCP) and REPLY (ESTABLISHED, against the direction that opened it)
NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED, UNKNOWN, REPLY = range(7)

# TCP states; 0 means no entry. Beyond MAX: refuse (invalid) or ignore.
NO, SS, SR, ES, FW, CW, LA, TW, CL, S2, IV, IG = range(12)
# tcp_conntracks[direction][event][state]; events: SYN, SYN+ACK, FIN, ACK, RST, none
STATES = np.array(
    [
        [
            [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
            [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
            [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
            [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
            [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
        ],
        [
            [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
            [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
            [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
            [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
            [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
        ],
    ],
    dtype=np.int64,
)
# Flag combinations that are not invalid by themselves (tcp_valid_flags; PSH, ECE, CWR do not count)
_SYN, _RST, _FIN, _ACK, _URG = 2, 4, 1, 16, 32
VALID_FLAGS = np.zeros(64, np.int64)
for _flags in (_SYN, _SYN | _URG, _SYN | _ACK, _RST, _RST | _ACK, _FIN | _ACK, _FIN | _ACK | _URG, _ACK, _ACK | _URG):
    VALID_FLAGS[_flags] = 1

SECOND = 1_000_000_000
# Seconds an entry lives after a packet (nf_conntrack_*_timeout_*): TCP by state, then UDP, UDP stream, ICMP, generic
TIMEOUT_S = np.array([0, 120, 60, 432000, 120, 60, 30, 120, 10, 120, 30, 120, 30, 600], dtype=np.int64)
UDP_ONE_WAY, UDP_STREAM, ICMP, OTHER = 10, 11, 12, 13
STREAM_AFTER_NS = 2 * SECOND  # nf_conntrack_udp_packet: a two-way flow older than this is a stream


@kernel
def track(
    marked: Marked,
    flags: Array,
    time_ns: Array,
    drop_new: Array,
    entries: Array,
    tables: Array,
    valid: Array,
    timeouts: Array,
    clock: bool,
) -> Array:
    """States of n packets, in order. `entries` int64[conversations, 6] is updated in place.

    Columns of entries: TCP state or 1 (0: no entry), direction that opened it, answered, expiry ns, opened ns, bits
    (1 a FIN was seen, 2 the last event was a RST by the opener).
    """
    n = len(flags)
    out = np.zeros(n, np.int64)
    for i in range(n):
        kind = marked.kind[i]
        now = time_ns[i]
        if kind == 4:  # NDP and MLD
            out[i] = 4
            continue
        if kind == 5:
            out[i] = 3
            continue
        if kind == 7:
            out[i] = 5
            continue
        if kind == 3:  # ICMP error: about a known conversation?
            inner = marked.quoted[i]
            known = inner >= 0 and entries[inner, 0] > 0 and not (clock and now > entries[inner, 3])
            out[i] = 2 if known else 3
            continue
        c = marked.conversation[i]
        if clock and entries[c, 0] > 0 and now > entries[c, 3]:
            entries[c, 0] = 0
        if kind == 0:
            bits = flags[i]
            if bits < 0 or valid[bits & 0x37] == 0:
                out[i] = 3
                continue
            if bits & 4:
                event = 4
            elif bits & 2:
                event = 1 if bits & 16 else 0
            elif bits & 1:
                event = 2
            else:
                event = 3
            old = entries[c, 0]
            if old == 0:
                fresh = tables[0, event, 0]
                if fresh >= 10:
                    out[i] = 3
                elif drop_new[i] == 0:
                    entries[c, 0] = fresh
                    entries[c, 1] = marked.direction[i]
                    entries[c, 2] = 0
                    entries[c, 3] = now + timeouts[fresh] * 1_000_000_000
                    entries[c, 4] = now
                    entries[c, 5] = 0
                continue
            side = 0 if marked.direction[i] == entries[c, 1] else 1
            fresh = tables[side, event, old]
            if fresh == 1 and old >= 7 and entries[c, 5] != 0:  # reopened: a new connection (RFC 9293 3.6.1)
                entries[c, 0] = 0
                if drop_new[i] == 0:
                    entries[c, 0] = 1
                    entries[c, 1] = marked.direction[i]
                    entries[c, 2] = 0
                    entries[c, 3] = now + timeouts[1] * 1_000_000_000
                    entries[c, 4] = now
                    entries[c, 5] = 0
                continue
            if fresh == 10:
                out[i] = 3
                continue
            out[i] = 6 if side == 1 else (1 if entries[c, 2] == 1 else 0)
            if fresh == 11 or (fresh == 1 and old >= 7):  # ignored: passes, changes nothing
                if side == 1:
                    entries[c, 2] = 1
                continue
            if event == 4 and entries[c, 2] == 0:  # a refusal is the only answer: the entry is gone
                entries[c, 0] = 0
                continue
            entries[c, 0] = fresh
            if fresh == 4 and old != 4:
                entries[c, 5] |= 1
            entries[c, 5] = (entries[c, 5] & 1) | (2 if event == 4 and side == 0 else 0)
            entries[c, 3] = now + timeouts[fresh] * 1_000_000_000
            if side == 1:
                entries[c, 2] = 1
            continue
        answer = kind == 2 and marked.direction[i] == 1
        if entries[c, 0] == 0:
            if answer:
                out[i] = 3
            elif drop_new[i] == 0:
                entries[c, 0] = 1
                entries[c, 1] = marked.direction[i]
                entries[c, 2] = 0
                entries[c, 4] = now
                entries[c, 3] = now + timeouts[10 if kind == 1 else (12 if kind == 2 else 13)] * 1_000_000_000
            continue
        back = marked.direction[i] != entries[c, 1]
        out[i] = 6 if back else (1 if entries[c, 2] == 1 else 0)
        which = 12 if kind == 2 else 13
        if kind == 1:
            which = 11 if entries[c, 2] == 1 and now - entries[c, 4] > 2_000_000_000 else 10
        if back:
            entries[c, 2] = 1
        entries[c, 3] = now + timeouts[which] * 1_000_000_000
    return out


class Tracker:
    """The connection table between chunks."""

    def __init__(self, clock: bool = True) -> None:
        self.clock = clock
        self._entries = np.zeros((64, 6), np.int64)

    def states(self, marked: Marked, flags: Array, time_ns: Array, drop_new: Array, conversations: int) -> Array:
        """States of a chunk's packets, those that go back as REPLY; `drop_new[i]` is 1 where packet i would be dropped if
        it were NEW."""
        while len(self._entries) < conversations:
            self._entries = np.concatenate([self._entries, np.zeros_like(self._entries)])
        out: Array = track(marked, flags, time_ns, drop_new, self._entries, STATES, VALID_FLAGS, TIMEOUT_S, self.clock)
        return out

    def alive(self, conversation: int, now_ns: int) -> bool:
        """True where an entry of this conversation is known and not timed out."""
        if conversation >= len(self._entries):
            return False
        entry = self._entries[conversation]
        return bool(entry[0] > 0 and not (self.clock and now_ns > entry[3]))

    def forget(self, conversation: int) -> None:
        """Undo the entry of a first packet that was dropped after all."""
        self._entries[conversation] = 0
