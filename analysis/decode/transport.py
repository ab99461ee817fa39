"""The transport layer: TCP with its options, UDP, UDP-Lite, SCTP, DCCP, ICMP and ICMPv6.

In: bytes at `s[AT]`, addresses of the innermost IP layer in `s`. Out: layer, tap, header fields and the place of the
payload. UDP ports of tunnels lead on (the table says which); every other payload belongs to the protocols stage.
"""

from __future__ import annotations

from analysis import layers
from analysis.columns import BAD_TRANSPORT_HEADER, TRUNCATED
from analysis.columns import ICMP as KIND_ICMP
from analysis.columns import ICMPV6 as KIND_ICMPV6
from analysis.columns import SCTP as KIND_SCTP
from analysis.columns import TCP as KIND_TCP
from analysis.columns import UDP as KIND_UDP
from analysis.decode.state import (
    AT,
    CHUNKS,
    DONE,
    END,
    FAMILY,
    FAULT,
    ICMP_CODE,
    ICMP_TYPE,
    LIMIT,
    NEXT,
    PAYLOAD_CAP,
    PAYLOAD_LEN,
    PAYLOAD_START,
    T_PORT,
    TCP_ACK,
    TCP_FLAGS,
    TCP_OPTIONS,
    TCP_SCALE,
    TCP_SEQ,
    TCP_WINDOW,
    TRANSPORT_START,
    TRANSPORT_TAP,
    Data,
    State,
    Tables,
    add_layer,
    cut,
    data_leaf,
    tap,
    u16,
    u32,
)
from analysis.kernel import inner_kernel as kernel

SACK, SACK_PERMITTED, TIME_STAMPS, MSS, BAD_OPTIONS = 1, 2, 4, 8, 16  # bits of tcp_options


@kernel
def payload(s: State, start: int) -> None:
    """What stands behind the header belongs to the next stage."""
    s[AT] = start
    s[PAYLOAD_START] = start
    s[PAYLOAD_LEN] = max(0, s[LIMIT] - start)
    s[PAYLOAD_CAP] = max(0, s[END] - start)
    s[NEXT] = DONE


@kernel
def tcp(data: Data, s: State) -> None:
    """RFC 9293 3.1: 0 source port (2) | 2 destination port (2) | 4 sequence (4) | 8 acknowledgement (4) | 12 data offset,
    reserved, NS | 13 flags | 14 window (2) | 16 checksum (2) | 18 urgent (2) | 20 options to offset*4."""
    at = s[AT]
    left = s[END] - at
    s[TRANSPORT_START] = at
    if left < 20:
        cut(s, layers.TCP, 4, BAD_TRANSPORT_HEADER)
        return
    s[TRANSPORT_TAP] = tap(s, KIND_TCP, u16(data, at), u16(data, at + 2), s[FAMILY])
    s[TCP_SEQ] = u32(data, at + 4)
    s[TCP_ACK] = u32(data, at + 8)
    s[TCP_FLAGS] = data[at + 13] + (data[at + 12] & 1) * 256
    s[TCP_WINDOW] = u16(data, at + 14)
    s[TCP_OPTIONS] = 0
    s[TCP_SCALE] = -1
    size = (data[at + 12] >> 4) * 4
    if size < 20:
        s[FAULT] |= BAD_TRANSPORT_HEADER
        add_layer(s, layers.TCP, left)
        s[NEXT] = DONE
        return
    if size > 20:
        tcp_options(data, s, at + 20, min(at + size, s[END]))
    if left < size:
        cut(s, layers.TCP, 4, BAD_TRANSPORT_HEADER)
        return
    add_layer(s, layers.TCP, size)
    payload(s, at + size)


@kernel
def tcp_options(data: Data, s: State, at: int, end: int) -> None:
    """RFC 9293 3.2: kind | length | value; 0 ends the list, 1 is filler. Window scale RFC 7323, SACK RFC 2018."""
    found = 0
    while at < end:
        kind = data[at] + 0
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        if at + 1 >= end:
            found |= BAD_OPTIONS
            break
        size = data[at + 1] + 0
        if size < 2 or at + size > end:
            found |= BAD_OPTIONS
            break
        if kind == 8:
            found |= TIME_STAMPS
        elif kind == 5:
            found |= SACK
        elif kind == 2:
            found |= MSS
        elif kind == 4:
            found |= SACK_PERMITTED
        elif kind == 3 and size == 3:
            s[TCP_SCALE] = min(data[at + 2] + 0, 14)
        at += size
    s[TCP_OPTIONS] = found


@kernel
def udp(data: Data, s: State, tables: Tables) -> None:
    """RFC 768: 0 source port (2) | 2 destination port (2) | 4 length with header (2) | 6 checksum (2)."""
    at = s[AT]
    s[TRANSPORT_START] = at
    if s[END] - at < 8:
        cut(s, layers.UDP, 4, BAD_TRANSPORT_HEADER)
        return
    source = u16(data, at)
    destination = u16(data, at + 2)
    s[TRANSPORT_TAP] = tap(s, KIND_UDP, source, destination, s[FAMILY])
    add_layer(s, layers.UDP, 8)
    length = u16(data, at + 4)
    if length == 0 and s[FAMILY] == 6:  # a jumbogram (RFC 2675 4)
        length = s[LIMIT] - at
    if length < 8:
        s[FAULT] |= BAD_TRANSPORT_HEADER
        s[NEXT] = DONE
        return
    if at + length < s[LIMIT]:
        s[LIMIT] = at + length
        s[END] = min(s[END], s[LIMIT])
    payload(s, at + 8)
    if s[PAYLOAD_CAP] > 0:
        code = tables[T_PORT + min(source, destination)]
        if code == 0:
            code = tables[T_PORT + max(source, destination)]
        s[NEXT] = code


@kernel
def udplite(data: Data, s: State) -> None:
    """RFC 3828 3.1: as UDP, with the checksum's coverage in place of the length."""
    at = s[AT]
    s[TRANSPORT_START] = at
    if s[END] - at < 8:
        cut(s, layers.UDPLITE, 4, BAD_TRANSPORT_HEADER)
        return
    add_layer(s, layers.UDPLITE, 8)
    payload(s, at + 8)


@kernel
def dccp(data: Data, s: State) -> None:
    """RFC 4340 5.1: 0 source port (2) | 2 destination port (2) | 4 data offset in 4 bytes | 8 type and X."""
    at = s[AT]
    left = s[END] - at
    s[TRANSPORT_START] = at
    size = data[at + 4] * 4 if left >= 12 else 12
    if left < size or size < 12:
        cut(s, layers.DCCP, 12, BAD_TRANSPORT_HEADER)
        return
    add_layer(s, layers.DCCP, left)
    s[AT] = at + size
    data_leaf(s, left - size)


@kernel
def note_cut(s: State) -> None:
    """A message of fields up to its end, which the capture cut: the walk goes on, but Wireshark's does not."""
    if s[END] < s[LIMIT]:
        s[FAULT] |= TRUNCATED
        add_layer(s, layers.SHORT, 0)


@kernel
def icmp(data: Data, s: State) -> None:
    """RFC 792: 0 type | 1 code | 2 checksum (2) | 4 identifier (2) of an echo. The layer takes the whole message."""
    at = s[AT]
    left = s[END] - at
    s[TRANSPORT_START] = at
    if left < 8:
        cut(s, layers.ICMP, 6, BAD_TRANSPORT_HEADER)
        return
    kind = data[at] + 0
    s[ICMP_TYPE] = kind
    s[ICMP_CODE] = data[at + 1]
    add_layer(s, layers.ICMP, left)
    if kind != 0 and kind != 8:
        note_cut(s)
    identifier = u16(data, at + 4)
    if kind == 0 or kind == 8:
        kind = 8
    elif kind == 13 or kind == 15 or kind == 17:  # time stamp, information, address mask
        pass
    elif kind == 14 or kind == 16 or kind == 18:
        kind -= 1
    else:
        identifier = 0
        kind = 0
    s[TRANSPORT_TAP] = tap(s, KIND_ICMP, identifier, kind, s[FAMILY])
    payload(s, at + 8)


@kernel
def icmpv6(data: Data, s: State) -> None:
    """RFC 4443 2.1: as ICMP; echo is 128 and 129, solicitations and their answers come in pairs from 133 (RFC 4861 4)."""
    at = s[AT]
    left = s[END] - at
    s[TRANSPORT_START] = at
    if left < 4:
        cut(s, layers.ICMPV6, 0, BAD_TRANSPORT_HEADER)
        return
    kind = data[at] + 0
    s[ICMP_TYPE] = kind
    s[ICMP_CODE] = data[at + 1]
    add_layer(s, layers.ICMPV6, left)
    least = 8  # RFC 4861 4: an address in solicitations and advertisements of neighbours, timers in those of routers
    if kind == 135 or kind == 136:
        least = 24
    elif kind == 134:
        least = 16
    if left < least:
        cut(s, layers.NONE, 0, BAD_TRANSPORT_HEADER)
        return
    if kind != 128 and kind != 129:
        note_cut(s)
    identifier = 0
    if kind == 128 or kind == 129:
        kind = 128
        identifier = u16(data, at + 4)
    elif kind == 133 or kind == 134:
        kind = 133
    elif kind == 135 or kind == 136:
        kind = 135
    else:
        kind = 0
    s[TRANSPORT_TAP] = tap(s, KIND_ICMPV6, identifier, kind, s[FAMILY])
    payload(s, at + 8)


@kernel
def sctp(data: Data, s: State) -> None:
    """RFC 9260 3.1: 0 source port (2) | 2 destination port (2) | 4 tag (4) | 8 checksum (4) | 12 chunks, which Python reads."""
    at = s[AT]
    s[TRANSPORT_START] = at
    if s[END] - at < 12:
        cut(s, layers.SCTP, 12, BAD_TRANSPORT_HEADER)
        return
    s[TRANSPORT_TAP] = tap(s, KIND_SCTP, u16(data, at), u16(data, at + 2), s[FAMILY])
    s[NEXT] = CHUNKS
