"""Conversations: every addressed layer of a packet becomes a row of one flow table, in order of first packet.

In: decoded batches. Out: `Taps.src_id/dst_id/flow/direction` and `Packets.flow/direction` filled in place, the
reused_ports bit of `Packets.analysis`, and at any time the tables so far (`flows()`, `addresses()`).
Rules are Wireshark's (conversation = unordered pair of address and port, side a sent the first packet, a TCP port pair
that is used again starts a new stream) and Zeek's words for how a connection went (`analysis.connections`).
Addresses are interned to ids by one open-addressing table, conversations by another; both grow outside the kernels,
and memory grows with flows, never with packets. Nothing here knows protocols above transport.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from analysis import columns
from analysis.columns import (
    ICMP,
    ICMPV6,
    NO_TIME,
    SCTP,
    TCP,
    UDP,
    Addresses,
    Array,
    Batch,
    FirstFrames,
    Flows,
    different,
)
from analysis.connections import conn_states, originators
from analysis.kernel import enabled, inner_kernel, lean_kernel
from analysis.quotes import icmp_errors, quoted_streams

FIN, SYN, RST, ACK = 1, 2, 4, 16
QUOTED = 200  # kind of a row that only an ICMP error has named so far: a TCP stream of which no segment was seen
REUSED_PORTS = 1 << columns.TCP_FLAGS.index("reused_ports")
FIRST_ROWS = 1024  # capacity to begin with; a power of two
LARGE_ROWS = 65_536  # from here on tables grow by less than half

# The columns of Flows as the kernel keeps them: one row of ROW_WORDS 64-bit words a flow, so that one packet touches few
# cache lines. A column is a place in the row seen as words of its own width.
WIDE = ("first_ns", "last_ns", "bytes_ab", "bytes_ba", "payload_ab", "payload_ba")  # int64, from byte 0
(FIRST_NS, LAST_NS, BYTES, _, PAYLOAD, _) = range(6)
NARROW = (
    "a_id", "b_id", "a_port", "b_port", "packets_ab", "packets_ba", "stream", "last_number", "syn_ab", "syn_ba", "synack",
)  # fmt: skip
(A_ID, B_ID, A_PORT, B_PORT, PACKETS, _, STREAM, LAST_NUMBER, SYNS, _, SYNACK) = range(12, 23)  # int32, from byte 48
SMALL = ("tcp_flags_ab", "tcp_flags_ba", "first_tcp_flags", "icmp_error", "application")
(UNION_FLAGS, _, FIRST_FLAGS, ICMP_ERROR, APPLICATION) = range(46, 51)  # uint16, from byte 92; ABSENT stands for -1
TINY = ("kind", "originator", "ttl_min")
(KIND, ORIGINATOR, TTL_MIN) = range(102, 105)  # uint8, from byte 102; UNKNOWN stands for -1
MORE = 27  # int32 at byte 108: row of the first frame numbers where there is a second one, else 0
ROW_WORDS = 14
ABSENT, UNKNOWN = 0xFFFF, 0xFF

# The last tap of each kind and direction: what it was, and what was found for it.
(R_SRC_HI, R_SRC_LO, R_DST_HI, R_DST_LO, R_PORTS, R_FAMILY, R_SRC, R_DST, R_ROW, R_DIRECTION) = range(10)

# Counters of a FlowTable, in one array so that the kernel can raise them.
N_ADDRESSES, N_FLOWS, N_TCP, N_FRAMES, N_UDP = range(5)


class _TapColumns(NamedTuple):
    """What the kernel reads and fills of Taps."""

    packet: Any
    kind: Any
    src_hi: Any
    src_lo: Any
    dst_hi: Any
    dst_lo: Any
    src_port: Any
    dst_port: Any
    ip_family: Any
    src_id: Any
    dst_id: Any
    flow: Any
    direction: Any


class _PacketColumns(NamedTuple):
    """What the kernel reads and fills of Packets."""

    number: Any
    time_ns: Any
    frame_len: Any
    fault: Any
    ip_tap: Any
    transport_tap: Any
    payload_len: Any
    tcp_seq: Any
    tcp_ack: Any
    tcp_flags: Any
    ttl: Any
    flow: Any
    direction: Any
    analysis: Any


class _Tables(NamedTuple):
    """The state that kernels share. A slot of a hash table is 0 (empty) or hash << 32 | row + 1."""

    counts: Any  # int64[5]
    room: Any  # int64[4] addresses, flows, TCP streams and rows of frames up to which one tap more, and its quote, fits
    multipliers: Any  # int64[6] odd 30-bit numbers of the hash
    address_slots: Any  # int64[power of two]
    addresses: Any  # int64[rows, 3] family, high word, low word
    flow_slots: Any  # int64[power of two]
    wide: Any  # int64[rows, ROW_WORDS]: the flows
    narrow: Any  # int32[rows, ...]: the same memory in narrower words
    small: Any  # uint16[rows, ...]
    tiny: Any  # uint8[rows, ...]
    frames: Any  # int32[rows, FLOW_FRAMES] of flows with more than one packet: four of five have one; row 0 is nobody's
    recent: Any  # int64[2 * kinds, 10] the last tap of each kind and direction, R_ROW -1 where there is none
    base: Any  # int64[streams, 2] initial sequence number of sides a and b, -1 unknown


@inner_kernel
def _mix(word: int, low_multiplier: int, high_multiplier: int) -> int:
    """Hash one 64-bit word: each half times a 30-bit number stays below 2^62, so both ways of running agree."""
    low = (word & 0xFFFFFFFF) * low_multiplier
    high = ((word >> 32) & 0xFFFFFFFF) * high_multiplier
    return (low >> 17) ^ (low & 0x1FFFF) ^ (high >> 18)


@inner_kernel
def _tag(mixed: int) -> int:
    """Fold a mixed number to the 30 bits that a slot keeps."""
    return (mixed ^ (mixed >> 13) ^ (mixed >> 29)) & 0x3FFFFFFF


@inner_kernel
def _address_id(tables: Any, family: int, high: int, low: int, insert: bool) -> int:
    """Row of an address, made where `insert` is set and it is new; -1 where it is unknown."""
    m = tables.multipliers
    tag = _tag(_mix(low, m[0], m[1]) ^ _mix(high + family, m[2], m[3]))
    last = len(tables.address_slots) - 1
    at = tag & last
    while True:
        slot = tables.address_slots[at]
        if slot == 0:
            break
        if slot >> 32 == tag:
            row: int = (slot & 0xFFFFFFFF) - 1
            if (
                tables.addresses[row, 2] == low
                and tables.addresses[row, 1] == high
                and tables.addresses[row, 0] == family
            ):
                return row
        at = (at + 1) & last
    if not insert:
        return -1
    row = tables.counts[N_ADDRESSES]
    tables.counts[N_ADDRESSES] = row + 1
    tables.addresses[row, 0] = family
    tables.addresses[row, 1] = high
    tables.addresses[row, 2] = low
    tables.address_slots[at] = (tag << 32) | (row + 1)
    return row


@inner_kernel
def _flow_slot(tables: Any, kind: int, src: int, dst: int, src_port: int, dst_port: int) -> tuple[int, int]:
    """(slot of the conversation or of the free place for it, hash tag). The same for both directions."""
    m = tables.multipliers
    one = (src << 16) | src_port
    two = (dst << 16) | dst_port
    extra = kind
    if kind in (ICMP, ICMPV6):  # identifier and type belong to the exchange, not to a side
        one = src << 16
        two = dst << 16
        extra = kind + ((min(src_port, dst_port) << 24) | (max(src_port, dst_port) << 8))
    if one > two:
        one, two = two, one
    tag = _tag(_mix(one, m[0], m[1]) ^ _mix(two, m[2], m[3]) ^ _mix(extra, m[4], m[5]))
    last = len(tables.flow_slots) - 1
    at = tag & last
    while True:
        slot = tables.flow_slots[at]
        if slot == 0:
            return at, tag
        if slot >> 32 == tag and _is_flow(tables, (slot & 0xFFFFFFFF) - 1, kind, src, dst, src_port, dst_port):
            return at, tag
        at = (at + 1) & last


@inner_kernel
def _is_flow(tables: Any, row: int, kind: int, src: int, dst: int, src_port: int, dst_port: int) -> bool:
    """True where flow `row` is this conversation, in either direction."""
    n = tables.narrow
    known = 0 + tables.tiny[row, KIND]
    if known != kind and not (kind == TCP and known == QUOTED):
        return False
    if kind in (ICMP, ICMPV6):
        addresses = (n[row, A_ID] == src and n[row, B_ID] == dst) or (n[row, A_ID] == dst and n[row, B_ID] == src)
        ports = (n[row, A_PORT] == src_port and n[row, B_PORT] == dst_port) or (
            n[row, A_PORT] == dst_port and n[row, B_PORT] == src_port
        )
        return bool(addresses and ports)
    forth = n[row, A_ID] == src and n[row, B_ID] == dst and n[row, A_PORT] == src_port and n[row, B_PORT] == dst_port
    back = n[row, A_ID] == dst and n[row, B_ID] == src and n[row, A_PORT] == dst_port and n[row, B_PORT] == src_port
    return bool(forth or back)


@inner_kernel
def _new_flow(tables: Any, kind: int, src: int, dst: int, src_port: int, dst_port: int, time_ns: int) -> int:
    """Append a conversation and give its row. The caller has made sure that there is room, and room is zero."""
    row: int = tables.counts[N_FLOWS]
    tables.counts[N_FLOWS] = row + 1
    tables.wide[row, FIRST_NS] = time_ns
    tables.wide[row, LAST_NS] = time_ns
    tables.narrow[row, A_ID] = src
    tables.narrow[row, B_ID] = dst
    tables.narrow[row, A_PORT] = src_port
    tables.narrow[row, B_PORT] = dst_port
    tables.tiny[row, KIND] = kind
    stream = -1
    if kind == TCP:
        stream = tables.counts[N_TCP]
        tables.counts[N_TCP] = stream + 1
        tables.base[stream, 0] = -1
        tables.base[stream, 1] = -1
    elif kind == UDP:
        stream = tables.counts[N_UDP]
        tables.counts[N_UDP] = stream + 1
    tables.narrow[row, STREAM] = stream
    tables.tiny[row, ORIGINATOR] = UNKNOWN
    tables.small[row, FIRST_FLAGS] = ABSENT
    tables.small[row, ICMP_ERROR] = ABSENT
    return row


@inner_kernel
def _reserve(tables: Any, quotes: Any, q: int) -> None:
    """Number the TCP stream that an ICMP error quotes: Wireshark gives it its number there, seen before or not."""
    family = quotes[q, 1]
    src = _address_id(tables, family, quotes[q, 2], quotes[q, 3], True)
    dst = _address_id(tables, family, quotes[q, 4], quotes[q, 5], True)
    at, tag = _flow_slot(tables, TCP, src, dst, quotes[q, 6], quotes[q, 7])
    if tables.flow_slots[at] == 0:
        row = _new_flow(tables, TCP, src, dst, quotes[q, 6], quotes[q, 7], NO_TIME)
        tables.tiny[row, KIND] = QUOTED
        tables.flow_slots[at] = (tag << 32) | (row + 1)


@inner_kernel
def _adopt(tables: Any, row: int, src: int, dst: int, src_port: int, dst_port: int, time_ns: int) -> None:
    """The first segment of a stream that was only quoted: its sender is side a."""
    narrow = tables.narrow
    tables.tiny[row, KIND] = TCP
    narrow[row, A_ID] = src
    narrow[row, B_ID] = dst
    narrow[row, A_PORT] = src_port
    narrow[row, B_PORT] = dst_port
    tables.wide[row, FIRST_NS] = time_ns
    tables.wide[row, LAST_NS] = time_ns


@inner_kernel
def _bases(tables: Any, row: int, direction: int, seq: int, ack: int, flags: int) -> bool:
    """Learn the initial sequence numbers of a stream; True where a SYN+ACK shows that the ports are used again.

    Without a SYN the number before the first segment serves, and for the other side the number before the first
    acknowledgement (rules: wireshark-statistics, section 8, "Connection split").
    """
    stream = tables.narrow[row, STREAM]
    known = tables.base[stream, direction]
    reused = False
    if flags & SYN:
        reused = flags & ACK != 0 and known != -1 and known != seq
        if known == -1 or reused:
            tables.base[stream, direction] = seq
    elif known == -1:
        tables.base[stream, direction] = (seq - 1) & 0xFFFFFFFF
    if flags & ACK and tables.base[stream, 1 - direction] == -1:
        tables.base[stream, 1 - direction] = (ack - 1) & 0xFFFFFFFF
    return reused


@inner_kernel
def _count_tcp(tables: Any, row: int, direction: int, flags: int) -> None:
    """Add one segment's flags to its flow."""
    narrow = tables.narrow
    small = tables.small
    tiny = tables.tiny
    if small[row, FIRST_FLAGS] == ABSENT:
        small[row, FIRST_FLAGS] = flags
    small[row, UNION_FLAGS + direction] = small[row, UNION_FLAGS + direction] | flags
    if flags & SYN:
        if flags & ACK:
            narrow[row, SYNACK] = narrow[row, SYNACK] + 1
            if tiny[row, ORIGINATOR] == UNKNOWN:
                tiny[row, ORIGINATOR] = 1 - direction
        else:
            narrow[row, SYNS + direction] = narrow[row, SYNS + direction] + 1
            if tiny[row, ORIGINATOR] == UNKNOWN:
                tiny[row, ORIGINATOR] = direction


@inner_kernel
def _count_packet(tables: Any, row: int, direction: int, number: int, time_ns: int, frame_len: int) -> None:
    """Add one packet to its flow: numbers, times, packets and bytes by direction, the first frame numbers."""
    wide = tables.wide
    narrow = tables.narrow
    seen = narrow[row, PACKETS] + narrow[row, PACKETS + 1]
    if 0 < seen < tables.frames.shape[1]:
        more = narrow[row, MORE]
        if more == 0:
            more = tables.counts[N_FRAMES]
            tables.counts[N_FRAMES] = more + 1
            narrow[row, MORE] = more
            tables.frames[more, 0] = narrow[row, LAST_NUMBER]
        tables.frames[more, seen] = number
    narrow[row, PACKETS + direction] = narrow[row, PACKETS + direction] + 1
    wide[row, BYTES + direction] = wide[row, BYTES + direction] + frame_len
    narrow[row, LAST_NUMBER] = number
    if time_ns != NO_TIME:
        if time_ns > wide[row, LAST_NS]:
            wide[row, LAST_NS] = time_ns
        if time_ns < wide[row, FIRST_NS] or wide[row, FIRST_NS] == NO_TIME:
            wide[row, FIRST_NS] = time_ns


@lean_kernel
def _assign(taps: Any, packets: Any, tables: Any, quotes: Any, first: int) -> int:
    """Give every tap from row `first` on its ids, flow and direction; stops where a table is full.

    `quotes` has a row per ICMP error that quotes TCP, by tap, and one behind the last tap (see quoted_streams). Returns the number of taps that are done: the caller grows the tables and calls again until all are.
    """
    counts = tables.counts
    recent = tables.recent
    packet_of, kinds, families = taps.packet, taps.kind, taps.ip_family
    src_his, src_los, dst_his, dst_los = taps.src_hi, taps.src_lo, taps.dst_hi, taps.dst_lo
    src_ports, dst_ports = taps.src_port, taps.dst_port
    numbers, times, lengths = packets.number, packets.time_ns, packets.frame_len
    n_taps = len(kinds)
    address_room, flow_room, stream_room, frame_room = tables.room[0], tables.room[1], tables.room[2], tables.room[3]
    q = 0
    while quotes[q, 0] < first:
        q += 1
    for t in range(first, n_taps):
        if counts[N_ADDRESSES] > address_room or counts[N_FLOWS] > flow_room or counts[N_TCP] > stream_room:
            return t
        if counts[N_FRAMES] > frame_room:
            return t
        packet = packet_of[t]
        kind = 0 + kinds[t]  # widened, so that every called function is compiled for one type only
        family = 0 + families[t]
        src_hi = src_his[t]
        src_lo = src_los[t]
        dst_hi = dst_his[t]
        dst_lo = dst_los[t]
        src_port = 0 + src_ports[t]
        dst_port = 0 + dst_ports[t]
        number = numbers[packet]
        time_ns = times[packet]
        # Most taps belong to the conversation of the last one of their kind and direction.
        entry = 2 * kind + (1 if src_lo > dst_lo else 0)
        known = (
            recent[entry, R_ROW] >= 0
            and recent[entry, R_SRC_LO] == src_lo
            and recent[entry, R_DST_LO] == dst_lo
            and recent[entry, R_PORTS] == (src_port << 16 | dst_port)
            and recent[entry, R_SRC_HI] == src_hi
            and recent[entry, R_DST_HI] == dst_hi
            and recent[entry, R_FAMILY] == family
        )
        if known:
            src = recent[entry, R_SRC]
            dst = recent[entry, R_DST]
            row = recent[entry, R_ROW]
            direction = recent[entry, R_DIRECTION]
        else:
            src = _address_id(tables, family, src_hi, src_lo, True)
            dst = _address_id(tables, family, dst_hi, dst_lo, True)
            at, tag = _flow_slot(tables, kind, src, dst, src_port, dst_port)
            row = (tables.flow_slots[at] & 0xFFFFFFFF) - 1
            if row < 0:
                row = _new_flow(tables, kind, src, dst, src_port, dst_port, time_ns)
                tables.flow_slots[at] = (tag << 32) | (row + 1)
            elif tables.tiny[row, KIND] == QUOTED:
                _adopt(tables, row, src, dst, src_port, dst_port, time_ns)
            direction = _direction(tables, row, src, src_port)
        if t == packets.transport_tap[packet]:
            flags = packets.tcp_flags[packet]
            if kind == TCP and flags >= 0:
                seq = packets.tcp_seq[packet]
                if flags & SYN and not flags & ACK:
                    base = tables.base[tables.narrow[row, STREAM], direction]
                    if base != -1 and base != seq:
                        at, tag = _flow_slot(tables, kind, src, dst, src_port, dst_port)
                        row = _new_flow(tables, kind, src, dst, src_port, dst_port, time_ns)
                        tables.flow_slots[at] = (tag << 32) | (row + 1)
                        direction = 0
                        known = False
                        recent[2 * TCP, R_ROW] = -1  # the other direction must not go on with the old stream
                        recent[2 * TCP + 1, R_ROW] = -1
                        packets.analysis[packet] = packets.analysis[packet] | REUSED_PORTS
                if _bases(tables, row, direction, seq, packets.tcp_ack[packet], flags):
                    packets.analysis[packet] = packets.analysis[packet] | REUSED_PORTS
                _count_tcp(tables, row, direction, flags)
            tables.wide[row, PAYLOAD + direction] = tables.wide[row, PAYLOAD + direction] + packets.payload_len[packet]
            packets.flow[packet] = row
            packets.direction[packet] = direction
            if direction == 0:
                _count_ttl(tables, row, packets.ttl[packet])
        elif t == packets.ip_tap[packet]:
            packets.flow[packet] = row
            packets.direction[packet] = direction
            if direction == 0:
                _count_ttl(tables, row, packets.ttl[packet])
        if not known:
            recent[entry, R_SRC_HI] = src_hi
            recent[entry, R_SRC_LO] = src_lo
            recent[entry, R_DST_HI] = dst_hi
            recent[entry, R_DST_LO] = dst_lo
            recent[entry, R_PORTS] = src_port << 16 | dst_port
            recent[entry, R_FAMILY] = family
            recent[entry, R_SRC] = src
            recent[entry, R_DST] = dst
            recent[entry, R_ROW] = row
            recent[entry, R_DIRECTION] = direction
        taps.src_id[t] = src
        taps.dst_id[t] = dst
        taps.flow[t] = row
        taps.direction[t] = direction
        _count_packet(tables, row, direction, number, time_ns, lengths[packet])
        if t == quotes[q, 0]:
            _reserve(tables, quotes, q)
            q += 1
    return n_taps


@inner_kernel
def _direction(tables: Any, row: int, src: int, src_port: int) -> int:
    """0 where this source is side a of the flow, else 1."""
    narrow = tables.narrow
    if narrow[row, A_ID] != src:
        return 1
    if narrow[row, B_ID] != src:
        return 0
    # Both sides have one address: the ports decide, except for ICMP, where they belong to the exchange.
    kind = tables.tiny[row, KIND]
    return 0 if kind in (ICMP, ICMPV6) or narrow[row, A_PORT] == src_port else 1


@inner_kernel
def _count_ttl(tables: Any, row: int, ttl: int) -> None:
    """Keep the smallest TTL of side a."""
    tiny = tables.tiny
    if ttl >= 0 and (ttl < tiny[row, TTL_MIN] or tiny[row, TTL_MIN] == 0):
        tiny[row, TTL_MIN] = ttl


@lean_kernel
def _rehash(slots: Any, old_slots: Any) -> None:
    """Move every slot of a hash table into a larger, empty one."""
    last = len(slots) - 1
    for i in range(len(old_slots)):
        slot = old_slots[i]
        if slot != 0:
            at = (slot >> 32) & last
            while slots[at] != 0:
                at = (at + 1) & last
            slots[at] = slot


@inner_kernel
def _word(data: Any, at: int, count: int) -> int:
    """Big-endian number of `count` (at most 8) bytes as a signed 64-bit pattern. The caller has checked the bounds."""
    value: int = data[at] - (256 if data[at] > 127 and count == 8 else 0)
    for i in range(1, count):
        value = value * 256 + data[at + i]
    return value


@lean_kernel
def _quoted(data: Any, start: Any, end: Any, rows: Any, at: Any, kinds: Any, families: Any, tables: Any) -> None:
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
            src = _address_id(tables, 4, 0, _word(data, quote + 12, 4), False)
            dst = _address_id(tables, 4, 0, _word(data, quote + 16, 4), False)
        elif quote + 40 <= stop:
            header = 40
            protocol = 0 + data[quote + 6]
            src = _address_id(tables, 6, _word(data, quote + 8, 8), _word(data, quote + 16, 8), False)
            dst = _address_id(tables, 6, _word(data, quote + 24, 8), _word(data, quote + 32, 8), False)
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
        slot, _ = _flow_slot(tables, kind, src, dst, src_port, dst_port)
        row = (tables.flow_slots[slot] & 0xFFFFFFFF) - 1
        if row >= 0 and tables.small[row, ICMP_ERROR] == ABSENT:
            tables.small[row, ICMP_ERROR] = kinds[i]


class Ends(NamedTuple):
    """The conversations whose TCP payload a batch holds, as far as they were known when the batch had been counted."""

    flows: int  # conversations so far, of every kind
    flow: Array  # int64[k], ascending
    a_port: Array  # int32[k]
    b_port: Array  # int32[k]
    server_port: Array  # int32[k]: the port that a SYN went to or a SYN+ACK came from, 0 unknown


class FlowTable:
    """All conversations of a capture so far. `salt` keeps a crafted capture from aiming at the hash function."""

    def __init__(self, salt: int = 0x5EED) -> None:
        self._multipliers = _multipliers(salt)
        self._counts = np.array((0, 0, 0, 1, 0), dtype=np.int64)
        self._address_slots = np.zeros(2 * FIRST_ROWS, dtype=np.int64)
        self._addresses = np.zeros((FIRST_ROWS, 3), dtype=np.int64)
        self._flow_slots = np.zeros(2 * FIRST_ROWS, dtype=np.int64)
        self._rows = np.zeros((FIRST_ROWS, ROW_WORDS), dtype=np.int64)
        self._frames = np.zeros((FIRST_ROWS, columns.FLOW_FRAMES), dtype=np.int32)
        self._recent = np.full((2 * len(columns.KINDS), 10), -1, dtype=np.int64)
        self._base = np.zeros((FIRST_ROWS, 2), dtype=np.int64)

    def update(self, batch: Batch) -> None:
        """Assign every tap of the batch to its conversation, and each packet to that of its innermost layer."""
        taps = _TapColumns(*(as_kernel_sees(getattr(batch.taps, name)) for name in _TapColumns._fields))
        packets = _PacketColumns(*(as_kernel_sees(getattr(batch.packets, name)) for name in _PacketColumns._fields))
        quotes = as_kernel_sees(quoted_streams(batch))
        done = 0
        total = len(batch.taps.kind)
        while done < total:
            done = _assign(taps, packets, self._tables(), quotes, done)
            if done < total:
                self._grow()
        self._attach_errors(batch)

    def _tables(self) -> _Tables:
        arrays = (
            self._counts, self._room(), self._multipliers, self._address_slots, self._addresses, self._flow_slots,
            self._rows, self.narrow, self._rows.view(np.uint16), self._rows.view(np.uint8),
            self._frames, self._recent, self._base,
        )  # fmt: skip
        return _Tables(*map(as_kernel_sees, arrays))

    def _room(self) -> Array:
        return np.array(
            (
                min(_most(self._address_slots), len(self._addresses)) - 4,
                min(_most(self._flow_slots), len(self._rows)) - 2,
                len(self._base) - 2,
                len(self._frames) - 2,
            )
        )

    @property
    def narrow(self) -> Array:
        """int32[rows, ...]: the flows as `NARROW` columns see them. A view: do not keep it, the table grows."""
        return self._rows.view(np.int32)

    def _grow(self) -> None:
        """Make room in every table that is full."""
        addresses, flows, streams, frames = (self._counts[:4] > self._room()).tolist()
        if addresses and len(self._addresses) <= _most(self._address_slots):
            lengthen(self, "_addresses")
        elif addresses:
            self._address_slots = _wider(self._address_slots)
        if flows and len(self._rows) <= _most(self._flow_slots):
            lengthen(self, "_rows")
        elif flows:
            self._flow_slots = _wider(self._flow_slots)
        if streams:
            lengthen(self, "_base")
        if frames:
            lengthen(self, "_frames")

    def _attach_errors(self, batch: Batch) -> None:
        """ICMP destination unreachable, source quench, time exceeded, parameter problem: mark the quoted flow."""
        packets = batch.packets
        rows, families = icmp_errors(batch)
        if not len(rows):
            return
        kind = packets.icmp_type
        arguments = (
            batch.data,
            packets.start,
            packets.start + packets.cap_len,
            rows,
            packets.transport_start[rows],
            (kind[rows].astype(np.int64) * 256 + packets.icmp_code[rows]) & 0x7FFF,
            families,
        )
        data, start, end, rows, at, error_kinds, families = map(as_kernel_sees, arguments)
        _quoted(data, start, end, rows, at, error_kinds, families, self._tables())

    @property
    def application(self) -> Array:
        """uint16[flows], writable: layer id of the protocol above transport, set by `protocols`. A view: do not keep it."""
        return self._rows.view(np.uint16)[: self.n_flows, APPLICATION]

    @property
    def n_flows(self) -> int:
        """Number of conversations so far."""
        return int(self._counts[N_FLOWS])

    @property
    def n_tcp(self) -> int:
        """Number of TCP streams so far."""
        return int(self._counts[N_TCP])

    def ends(self, batch: Batch) -> Ends:
        """What naming wants to know of the conversations of the batch that was counted last. Copies."""
        packets = batch.packets
        flow = different(packets.flow[(packets.payload_len > 0) & (packets.tcp_flags >= 0) & (packets.flow >= 0)])
        rows = self.narrow[flow]
        a_port, b_port, asked_b, asked_a = (rows[:, i] for i in (A_PORT, B_PORT, SYNS, SYNS + 1))
        answered = np.where(self._rows.view(np.uint8)[flow, ORIGINATOR] == 1, a_port, b_port) * (rows[:, SYNACK] > 0)
        server = np.where(asked_b > 0, b_port, np.where(asked_a > 0, a_port, answered))
        return Ends(self.n_flows, flow.astype(np.int64), a_port, b_port, server)

    def flows(self) -> Flows:
        """The table so far, as views: do not keep it. `state` and what ports say in `originator` come with `finish`."""
        return Flows(**self._columns())

    def finish(self) -> Flows:
        """The table with connection states and originators judged."""
        found = self._columns()
        found["originator"] = originators(found)
        found["state"] = conn_states(found)
        return Flows(**found)

    def _columns(self) -> dict[str, Any]:
        n = self.n_flows
        words = self.narrow
        found: dict[str, Any] = {"frames": FirstFrames(words[:n, LAST_NUMBER], words[:n, MORE], self._frames)}
        for names, dtype, first in (
            (WIDE, np.int64, FIRST_NS), (NARROW, np.int32, A_ID), (SMALL, np.uint16, UNION_FLAGS), (TINY, np.uint8, KIND),
        ):  # fmt: skip
            words = self._rows.view(dtype)
            found.update((name, words[:n, i]) for i, name in enumerate(names, first))
        for column in columns.FLOW_COLUMNS:
            if column.absent == -1 and column.name in found:  # ABSENT and UNKNOWN, signed
                found[column.name] = found[column.name].view(column.dtype)
        found["state"] = np.zeros(n, dtype=np.uint8)
        return found

    def addresses(self) -> Addresses:
        """The address table so far: row = address id."""
        known = self._addresses[: int(self._counts[N_ADDRESSES])]
        return Addresses(known[:, 0].astype(np.uint8), known[:, 1], known[:, 2])


def as_kernel_sees(array: Array) -> Any:
    """The array itself for compiled kernels; a memoryview for interpreted ones, whose items are plain ints."""
    return array if enabled() else memoryview(array)  # type: ignore[arg-type]


def _multipliers(salt: int) -> Array:
    """Six odd 30-bit numbers from a salt (splitmix64)."""
    numbers = []
    state = salt
    for _ in range(6):
        state = (state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        numbers.append((z >> 34) | 0x20000001)
    return np.array(numbers, dtype=np.int64)


def lengthen(owner: object, *names: str, rows: int = 0) -> None:
    """Give these arrays of `owner` more rows, which are zero: `rows`, or half as many again, a sixteenth where that is much.

    A large array keeps its memory (mremap): nothing is copied, and never are there two of it.
    """
    for name in names:
        array = vars(owner).pop(name)  # numpy moves only what nobody else refers to
        n = len(array)
        shape = (rows or n + (n // 2 if n < LARGE_ROWS else max(LARGE_ROWS // 2, n // 16)), *array.shape[1:])
        try:
            array.resize(shape)
        except ValueError:  # somebody still looks at it
            grown = np.zeros(shape, dtype=array.dtype)
            grown[:n] = array
            array = grown
        vars(owner)[name] = array


def _most(slots: Array) -> int:
    """How many entries a hash table may have: at three quarters a search passes one cache line, seldom two."""
    return len(slots) // 4 * 3


def _wider(slots: Array) -> Array:
    """A hash table of twice the size with the same entries."""
    grown = np.zeros(2 * len(slots), dtype=np.int64)
    _rehash(as_kernel_sees(grown), as_kernel_sees(slots))
    return grown
