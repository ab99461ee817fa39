"""One row a conversation, as kernels keep it: its columns as places in the row, look-up, and what a packet changes.

In: numbers of one tap or packet at a time. Out: rows made and changed. Open addressing by kind, addresses and ports, the
same for both directions. Rules are Wireshark's: side a sent the first packet, a TCP port pair that is used again starts
a new stream. Whoever calls has made sure that there is room.

Four of five conversations of a large capture have one packet, so a row has two parts: a short one from the first packet
on (sent by side a, so that a number or two say all), and from the second packet on a long one with what is counted.
"""

from __future__ import annotations

from typing import Any

from analysis.columns import FLOW_FRAMES, ICMP, ICMPV6, NO_TIME, TCP, UDP
from analysis.growing import fold, mix
from analysis.kernel import inner_kernel
from analysis.named_tuples import NamedTuple

SYN, ACK = 2, 16
QUOTED = 200  # kind of a row that only an ICMP error has named so far: a TCP stream of which no segment was seen
ABSENT, UNKNOWN = 0xFFFF, 0xFF  # stand for -1 in columns of 16 and 8 bits

# Kernels see both parts as flat arrays of words of several widths; a column is a place in a row seen as its own width.
ROW_BYTES, LONG_BYTES = 48, 96
FIRST_NS = 0  # int64
(A_ID, B_ID, STREAM, LAST_NUMBER, LONG, FIRST_PAYLOAD, FIRST_BYTES) = range(2, 9)  # int32; FIRST_BYTES uint32
(A_PORT, B_PORT, FIRST_FLAGS, ICMP_ERROR) = range(18, 22)  # uint16, from byte 36
(KIND, ORIGINATOR, TTL_MIN, BASES) = range(
    44, 48
)  # uint8; BASES: whose initial sequence numbers are known, a bit a side
# LONG is the row of the long part, 0 where there is none. Pairs are side a's and side b's:
(LAST_NS, BYTES, _, PAYLOAD, _) = range(5)  # int64
(PACKETS, _, SYNS, _, SYNACK) = range(10, 15)  # int32, from byte 40
(UNION_FLAGS, _) = range(30, 32)  # uint16, from byte 60
FRAMES = 16  # int32, from byte 64: the first FLOW_FRAMES frame numbers
WIDE, NARROW, SMALL, TINY = (ROW_BYTES // size for size in (8, 4, 2, 1))  # words of a row
LONG_WIDE, LONG_NARROW, LONG_SMALL = (LONG_BYTES // size for size in (8, 4, 2))

# Counters, in one array so that kernels can raise them.
N_FLOWS, N_TCP, N_LONG, N_UDP = range(4)


class FlowRows(NamedTuple):
    """The tables of flows and of addresses as kernels see them."""

    counts: Any  # int64[4]
    room: Any  # int64[4] flows, TCP streams, long parts and addresses up to which one tap more, and its quote, fits
    multipliers: Any  # int64[6] odd 30-bit numbers of the hash
    addresses: Any  # KnownAddresses
    slots: Any  # int64[power of two]
    wide: Any  # int64[rows * WIDE]: the short parts
    narrow: Any  # int32[rows * NARROW]: the same memory in narrower words
    unsigned: Any  # uint32[rows * NARROW]
    small: Any  # uint16[rows * SMALL]
    tiny: Any  # uint8[rows * TINY]
    long_wide: Any  # int64[long rows * LONG_WIDE]: the long parts; row 0 is nobody's
    long_narrow: Any  # int32[long rows * LONG_NARROW]
    long_small: Any  # uint16[long rows * LONG_SMALL]
    recent: Any  # int64[2 * kinds * RECENT] the last tap of each kind and direction, R_ROW -1 where there is none
    bases: Any  # uint32[2 * streams] initial sequence numbers of sides a and b


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
    known = 0 + tables.tiny[TINY * row + KIND]
    if known != kind and not (kind == TCP and known == QUOTED):
        return False
    at = NARROW * row
    a_id, b_id = tables.narrow[at + A_ID], tables.narrow[at + B_ID]
    forth = a_id == src and b_id == dst
    back = a_id == dst and b_id == src
    if not forth and not back:
        return False
    at = SMALL * row
    a_port, b_port = tables.small[at + A_PORT], tables.small[at + B_PORT]
    straight = a_port == src_port and b_port == dst_port
    crossed = a_port == dst_port and b_port == src_port
    if kind in (ICMP, ICMPV6):
        return bool(straight or crossed)
    return bool((forth and straight) or (back and crossed))


@inner_kernel
def new_flow(tables: Any, kind: int, src: int, dst: int, src_port: int, dst_port: int, time_ns: int) -> int:
    """Append a conversation and give its row. The caller has made sure that there is room, and room is zero."""
    row: int = tables.counts[N_FLOWS]
    tables.counts[N_FLOWS] = row + 1
    stream = -1
    if kind == TCP:
        stream = tables.counts[N_TCP]
        tables.counts[N_TCP] = stream + 1
    elif kind == UDP:
        stream = tables.counts[N_UDP]
        tables.counts[N_UDP] = stream + 1
    tables.narrow[NARROW * row + STREAM] = stream
    tables.small[SMALL * row + FIRST_FLAGS] = ABSENT
    tables.small[SMALL * row + ICMP_ERROR] = ABSENT
    tables.tiny[TINY * row + ORIGINATOR] = UNKNOWN
    name_ends(tables, row, kind, src, dst, src_port, dst_port, time_ns)
    return row


@inner_kernel
def name_ends(tables: Any, row: int, kind: int, src: int, dst: int, src_port: int, dst_port: int, time_ns: int) -> None:
    """Write down who speaks to whom and since when: the sender is side a. Also for a stream that was only quoted."""
    tables.wide[WIDE * row + FIRST_NS] = time_ns
    tables.narrow[NARROW * row + A_ID] = src
    tables.narrow[NARROW * row + B_ID] = dst
    tables.small[SMALL * row + A_PORT] = src_port
    tables.small[SMALL * row + B_PORT] = dst_port
    tables.tiny[TINY * row + KIND] = kind


@inner_kernel
def long_part(tables: Any, row: int) -> int:
    """Where a flow's next packet is counted: the row of its long part, made for the second packet; 0 for the first."""
    at = NARROW * row
    long: int = tables.narrow[at + LONG]
    if long != 0 or tables.narrow[at + LAST_NUMBER] == 0:
        return long
    long = tables.counts[N_LONG]
    tables.counts[N_LONG] = long + 1
    tables.narrow[at + LONG] = long
    wide, narrow = LONG_WIDE * long, LONG_NARROW * long
    tables.long_wide[wide + LAST_NS] = tables.wide[WIDE * row + FIRST_NS]
    tables.long_wide[wide + BYTES] = tables.unsigned[at + FIRST_BYTES]
    tables.long_wide[wide + PAYLOAD] = tables.narrow[at + FIRST_PAYLOAD]
    tables.long_narrow[narrow + PACKETS] = 1
    tables.long_narrow[narrow + FRAMES] = tables.narrow[at + LAST_NUMBER]
    flags = 0 + tables.small[SMALL * row + FIRST_FLAGS]
    if flags != ABSENT:
        _count_flags(tables, long, 0, flags)
    return long


@inner_kernel
def direction_of(tables: Any, row: int, src: int, src_port: int) -> int:
    """0 where this source is side a of the flow, else 1."""
    at = NARROW * row
    if tables.narrow[at + A_ID] != src:
        return 1
    if tables.narrow[at + B_ID] != src:
        return 0
    # Both sides have one address: the ports decide, except for ICMP, where they belong to the exchange.
    kind = tables.tiny[TINY * row + KIND]
    return 0 if kind in (ICMP, ICMPV6) or tables.small[SMALL * row + A_PORT] == src_port else 1


@inner_kernel
def base_of(tables: Any, row: int, direction: int) -> int:
    """Initial sequence number of a side of a TCP stream, -1 unknown."""
    if not tables.tiny[TINY * row + BASES] >> direction & 1:
        return -1
    return 0 + tables.bases[2 * tables.narrow[NARROW * row + STREAM] + direction]  # type: ignore[no-any-return]


@inner_kernel
def _set_base(tables: Any, row: int, direction: int, base: int) -> None:
    known = TINY * row + BASES
    tables.bases[2 * tables.narrow[NARROW * row + STREAM] + direction] = base
    tables.tiny[known] = tables.tiny[known] | 1 << direction


@inner_kernel
def learn_bases(tables: Any, row: int, direction: int, seq: int, ack: int, flags: int) -> bool:
    """Learn the initial sequence numbers of a stream; True where a SYN+ACK shows that the ports are used again.

    Without a SYN the number before the first segment serves, and for the other side the number before the first
    acknowledgement (rules: wireshark-statistics, section 8, "Connection split").
    """
    known = base_of(tables, row, direction)
    reused = False
    if flags & SYN:
        reused = flags & ACK != 0 and known != -1 and known != seq
        if known == -1 or reused:
            _set_base(tables, row, direction, seq)
    elif known == -1:
        _set_base(tables, row, direction, (seq - 1) & 0xFFFFFFFF)
    if flags & ACK and base_of(tables, row, 1 - direction) == -1:
        _set_base(tables, row, 1 - direction, (ack - 1) & 0xFFFFFFFF)
    return reused


@inner_kernel
def count_tcp(tables: Any, row: int, long: int, direction: int, flags: int) -> None:
    """Add one segment's flags to its flow."""
    first, opened = SMALL * row + FIRST_FLAGS, TINY * row + ORIGINATOR
    if tables.small[first] == ABSENT:
        tables.small[first] = flags
    if long != 0:
        _count_flags(tables, long, direction, flags)
    if flags & SYN and tables.tiny[opened] == UNKNOWN:
        tables.tiny[opened] = 1 - direction if flags & ACK else direction


@inner_kernel
def _count_flags(tables: Any, long: int, direction: int, flags: int) -> None:
    union = LONG_SMALL * long + UNION_FLAGS + direction
    tables.long_small[union] = tables.long_small[union] | flags
    if flags & SYN:
        place = LONG_NARROW * long + (SYNACK if flags & ACK else SYNS + direction)
        tables.long_narrow[place] = tables.long_narrow[place] + 1


@inner_kernel
def count_payload(tables: Any, row: int, long: int, direction: int, size: int) -> None:
    """Add the payload of one packet to its flow."""
    if long == 0:
        tables.narrow[NARROW * row + FIRST_PAYLOAD] = size
    else:
        place = LONG_WIDE * long + PAYLOAD + direction
        tables.long_wide[place] = tables.long_wide[place] + size


@inner_kernel
def count_packet(tables: Any, row: int, long: int, direction: int, number: int, time_ns: int, frame_len: int) -> None:
    """Add one packet to its flow: numbers, times, packets and bytes by direction, the first frame numbers."""
    narrow, wide = tables.long_narrow, tables.long_wide
    tables.narrow[NARROW * row + LAST_NUMBER] = number
    if long == 0:
        tables.unsigned[NARROW * row + FIRST_BYTES] = frame_len
        return
    at = LONG_NARROW * long
    seen = narrow[at + PACKETS] + narrow[at + PACKETS + 1]
    if seen < FLOW_FRAMES:
        narrow[at + FRAMES + seen] = number
    narrow[at + PACKETS + direction] = narrow[at + PACKETS + direction] + 1
    at = LONG_WIDE * long
    wide[at + BYTES + direction] = wide[at + BYTES + direction] + frame_len
    if time_ns != NO_TIME:
        if time_ns > wide[at + LAST_NS]:
            wide[at + LAST_NS] = time_ns
        first = WIDE * row + FIRST_NS
        if time_ns < tables.wide[first] or tables.wide[first] == NO_TIME:
            tables.wide[first] = time_ns


@inner_kernel
def count_ttl(tables: Any, row: int, ttl: int) -> None:
    """Keep the smallest TTL of side a."""
    at = TINY * row + TTL_MIN
    if ttl >= 0 and (ttl < tables.tiny[at] or tables.tiny[at] == 0):
        tables.tiny[at] = ttl
