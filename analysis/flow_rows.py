"""One row a conversation, as kernels keep it: its columns as places in the row, look-up, and what a packet changes.

In: numbers of one tap or packet at a time. Out: rows made and changed. Open addressing by kind, addresses and ports, the
same for both directions. Rules are Wireshark's: side a sent the first packet, a TCP port pair that is used again starts
a new stream. Whoever calls has made sure that there is room.
"""

from __future__ import annotations

from typing import Any

from analysis.columns import ICMP, ICMPV6, NO_TIME, TCP, UDP
from analysis.growing import fold, mix
from analysis.kernel import inner_kernel
from analysis.named_tuples import NamedTuple

SYN, ACK = 2, 16
QUOTED = 200  # kind of a row that only an ICMP error has named so far: a TCP stream of which no segment was seen

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

# Counters, in one array so that kernels can raise them.
N_FLOWS, N_TCP, N_FRAMES, N_UDP = range(4)


class FlowRows(NamedTuple):
    """The tables of flows and of addresses as kernels see them."""

    counts: Any  # int64[4]
    room: Any  # int64[4] flows, TCP streams, rows of frames and addresses up to which one tap more, and its quote, fits
    multipliers: Any  # int64[6] odd 30-bit numbers of the hash
    addresses: Any  # KnownAddresses
    slots: Any  # int64[power of two]
    wide: Any  # int64[rows, ROW_WORDS]: the flows
    narrow: Any  # int32[rows, ...]: the same memory in narrower words
    small: Any  # uint16[rows, ...]
    tiny: Any  # uint8[rows, ...]
    frames: Any  # int32[rows, FLOW_FRAMES] of flows with more than one packet: four of five have one; row 0 is nobody's
    recent: Any  # int64[2 * kinds, 10] the last tap of each kind and direction, R_ROW -1 where there is none
    base: Any  # int64[streams, 2] initial sequence number of sides a and b, -1 unknown


@inner_kernel
def flow_slot(tables: Any, kind: int, src: int, dst: int, src_port: int, dst_port: int) -> tuple[int, int]:
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
    tag = fold(mix(one, m[0], m[1]) ^ mix(two, m[2], m[3]) ^ mix(extra, m[4], m[5]))
    last = len(tables.slots) - 1
    at = tag & last
    while True:
        slot = tables.slots[at]
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
def new_flow(tables: Any, kind: int, src: int, dst: int, src_port: int, dst_port: int, time_ns: int) -> int:
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
def adopt(tables: Any, row: int, src: int, dst: int, src_port: int, dst_port: int, time_ns: int) -> None:
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
def direction_of(tables: Any, row: int, src: int, src_port: int) -> int:
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
def learn_bases(tables: Any, row: int, direction: int, seq: int, ack: int, flags: int) -> bool:
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
def count_tcp(tables: Any, row: int, direction: int, flags: int) -> None:
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
def count_packet(tables: Any, row: int, direction: int, number: int, time_ns: int, frame_len: int) -> None:
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


@inner_kernel
def count_ttl(tables: Any, row: int, ttl: int) -> None:
    """Keep the smallest TTL of side a."""
    tiny = tables.tiny
    if ttl >= 0 and (ttl < tiny[row, TTL_MIN] or tiny[row, TTL_MIN] == 0):
        tiny[row, TTL_MIN] = ttl
