"""The network layer: IPv4, IPv6 with its extension headers, the authentication header.

In: bytes at `s[AT]`. Out: layer, tap and fields in `s`; fragments go to the defragmenter (`FRAGMENTED`), all else to
the protocol number's owner. Wireshark's rules: an IPv4 length of 0 means "to the end" (segmentation offload), an IPv6
length of 0 that nothing follows, but for jumbograms; a length beyond the frame is cut to the frame, one below the header
ends the walk.
"""

from __future__ import annotations

from analysis import layers
from analysis.columns import BAD_CHECKSUM, BAD_IP_HEADER, IP
from analysis.columns import IPV6 as KIND_IPV6
from analysis.decode.state import (
    AT,
    BYTES,
    DONE,
    DST_HI,
    DST_LO,
    END,
    EXTENSIONS,
    FAMILY,
    FAULT,
    FRAGMENT,
    FRAGMENT_ID,
    FRAGMENT_LEN,
    FRAGMENT_MORE,
    FRAGMENT_OFFSET,
    FRAGMENTED,
    IP_PROTOCOL,
    IP_START,
    IP_TAP,
    IPV6,
    LAYERS,
    LEAF,
    LIMIT,
    N_LAYERS,
    NEXT,
    SRC_HI,
    SRC_LO,
    T_PROTOCOL,
    TRANSPORT,
    TTL,
    TYPE,
    Data,
    State,
    Tables,
    add_layer,
    cut,
    forget_transport,
    s64,
    tap,
    trim,
    u16,
    u32,
)
from analysis.kernel import inner_kernel as kernel

IGMP = 2  # IP protocol number


@kernel
def ipv4(data: Data, s: State, tables: Tables) -> None:
    """RFC 791 3.1: 0 version, IHL | 2 total length (2) | 4 id (2) | 6 flags, offset (2) | 8 TTL | 9 protocol | 10 checksum
    (2) | 12 source (4) | 16 destination (4) | 20 options to IHL*4."""
    at = s[AT]
    left = s[END] - at
    if s[IP_START] < 0:
        s[IP_START] = at
    else:
        forget_transport(s)
    if left < 1:
        cut(s, layers.IP, 1, BAD_IP_HEADER)
        return
    version = data[at] >> 4
    size = (data[at] & 15) * 4
    if version == 6:
        add_layer(s, layers.IP, min(size, left))
        s[NEXT] = IPV6
        return
    if version != 4 or size < 20:
        bad_header(s, size)
        return
    if left < 20:
        cut(s, layers.IP, 1, BAD_IP_HEADER)
        return
    total = u16(data, at + 2)
    if total == 0:
        total = s[LIMIT] - at
    if total < size:
        bad_header(s, size)
        return
    trim(s, at + total)
    s[SRC_HI] = 0
    s[SRC_LO] = u32(data, at + 12)
    s[DST_HI] = 0
    s[DST_LO] = u32(data, at + 16)
    if size > 20:
        source_route(data, s, at + 20, min(at + size, s[END]))
    s[FAMILY] = 4
    s[IP_TAP] = tap(s, IP, 0, 0, 4)
    s[TTL] = data[at + 8]
    protocol = data[at + 9] + 0
    s[IP_PROTOCOL] = protocol
    s[FRAGMENT] = 0
    if s[END] - at < size:
        cut(s, layers.IP, 1, BAD_IP_HEADER)
        return
    add_layer(s, layers.IP, size)
    if checksum(data, at, size) != 0xFFFF:
        s[FAULT] |= BAD_CHECKSUM
    s[AT] = at + size
    s[TYPE] = protocol
    if s[AT] >= s[LIMIT]:  # nothing above: no layer, not even a malformed one
        s[NEXT] = DONE
        return
    place = u16(data, at + 6) & 0x3FFF
    if place == 0:
        protocol_owner(s, tables)
        if protocol == IGMP and s[AT] < s[END]:
            by_igmp_type(s, data[s[AT]] + 0)
        return
    s[FRAGMENT] = 1
    s[FRAGMENT_ID] = u16(data, at + 4)
    s[FRAGMENT_OFFSET] = (place & 0x1FFF) * 8
    s[FRAGMENT_MORE] = place >> 13
    s[FRAGMENT_LEN] = total - size
    s[NEXT] = FRAGMENTED


@kernel
def by_igmp_type(s: State, kind: int) -> None:
    """Routing protocols that began as message types of IGMP: DVMRP, version 1 of PIM, RGMP."""
    if kind == 0x13:
        s[NEXT] = LEAF + layers.DVMRP
    elif kind == 0x14:
        s[NEXT] = LEAF + layers.PIM
    elif kind >= 0xFC:
        s[NEXT] = LEAF + layers.RGMP


@kernel
def source_route(data: Data, s: State, at: int, end: int) -> None:
    """RFC 791 3.1: options as kind | length | pointer | addresses. An unfinished loose (131) or strict (137) route names
    the real destination last; Wireshark takes that for the packet's."""
    while at + 1 < end:
        kind = data[at] + 0
        if kind == 0:
            return
        size = 1 if kind == 1 else data[at + 1] + 0
        if size < 1 or at + size > end:
            return
        if (kind == 131 or kind == 137) and size >= 7 and data[at + 2] <= size:
            s[DST_LO] = u32(data, at + size - 4)
        at += size


@kernel
def bad_header(s: State, size: int) -> None:
    """Version or length that cannot be: the layer, and no more of the packet."""
    s[FAULT] |= BAD_IP_HEADER
    left = s[END] - s[AT]
    add_layer(s, layers.IP, min(size, left))
    s[NEXT] = DONE


@kernel
def checksum(data: Data, at: int, size: int) -> int:
    """RFC 1071 sum of a header of `size` bytes, folded to 16 bits; 0xffff where the header's checksum is right."""
    total = 0
    for k in range(at, at + size, 2):
        total += data[k] * 256 + data[k + 1]
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


@kernel
def ipv6(data: Data, s: State) -> None:
    """RFC 8200 3: 0 version, class, label (4) | 4 payload length (2) | 6 next header | 7 hop limit | 8 source (16) | 24 destination (16)."""
    at = s[AT]
    left = s[END] - at
    if s[IP_START] < 0:
        s[IP_START] = at
    else:
        forget_transport(s)
    if left < 40:
        cut(s, layers.IPV6, 0, BAD_IP_HEADER)
        return
    if data[at] >> 4 != 6:
        s[FAULT] |= BAD_IP_HEADER
        add_layer(s, layers.IPV6, 40)
        s[AT] = at + 40
        s[NEXT] = LEAF + layers.DATA
        return
    length = u16(data, at + 4)
    if length == 0 and data[at + 6] == 0:
        length = jumbo(data, at + 40, s[END])
    trim(s, at + 40 + length)
    s[FRAGMENT_LEN] = at + 40 + length  # its end, until the fragment header is found
    s[SRC_HI] = s64(data, at + 8)
    s[SRC_LO] = s64(data, at + 16)
    s[DST_HI] = s64(data, at + 24)
    s[DST_LO] = s64(data, at + 32)
    s[FAMILY] = 6
    s[IP_TAP] = tap(s, KIND_IPV6, 0, 0, 6)
    s[TTL] = data[at + 7]
    s[FRAGMENT] = 0
    add_layer(s, layers.IPV6, 40)
    s[AT] = at + 40
    s[TYPE] = data[at + 6]
    extensions(data, s)


@kernel
def jumbo(data: Data, at: int, end: int) -> int:
    """The payload length that the hop-by-hop options at `at` name (RFC 2675 2: type 0xc2, longer than 65,535); 0 without."""
    if at + 2 > end:
        return 0
    behind = min(at + 8 * (int(data[at + 1]) + 1), end)
    at += 2
    while at + 6 <= behind:
        if data[at] == 0xC2 and data[at + 1] == 4:
            length = u32(data, at + 2)
            return length if length > 0xFFFF else 0
        at += 1 if data[at] == 0 else 2 + int(data[at + 1])
    return 0


@kernel
def extensions(data: Data, s: State) -> None:
    """RFC 8200 4: options (0, 60), routing (43) and fragment (44) headers; all but the last count to the ipv6 layer: 0 next header |
    1 length in 8 bytes without the first 8 | fragment: 2 offset and flags (2) | 4 id (4)."""

    while True:
        kind = s[TYPE]
        s[IP_PROTOCOL] = kind
        if kind != 0 and kind != 43 and kind != 44 and kind != 60:
            s[NEXT] = TRANSPORT
            return
        at = s[AT]
        if s[END] - at < 8:
            cut(s, layers.NONE, 0, BAD_IP_HEADER)
            return
        size = 8 if kind == 44 else data[at + 1] * 8 + 8
        s[TYPE] = data[at]
        if s[END] - at < size:
            cut(s, layers.NONE, 0, BAD_IP_HEADER)
            return
        s[AT] = at + size
        if kind != 44:
            s[BYTES + s[N_LAYERS] - 1] += size
        else:
            s[IP_PROTOCOL] = s[TYPE]
            place = u16(data, at + 2)
            if place & 0xFFF9:
                s[FRAGMENT] = 1
                s[FRAGMENT_ID] = u32(data, at + 4)
                s[FRAGMENT_OFFSET] = place & 0xFFF8
                s[FRAGMENT_MORE] = place & 1
                s[FRAGMENT_LEN] = s[FRAGMENT_LEN] - s[AT]
                s[NEXT] = FRAGMENTED
                return


@kernel
def protocol_owner(s: State, tables: Tables) -> None:
    """Choose by the protocol number in s[TYPE]; nobody, and something left: `data`."""
    code = tables[T_PROTOCOL + s[TYPE]]
    s[NEXT] = code if code != 0 else LEAF + layers.DATA


@kernel
def authentication(data: Data, s: State) -> None:
    """RFC 4302 2: 0 next header | 1 length in 4 bytes minus 2 | 4 SPI (4) | 8 sequence (4) | 12 check value."""
    at = s[AT]
    left = s[END] - at
    size = data[at + 1] * 4 + 8 if left >= 2 else 12
    above_six = s[N_LAYERS] > 0 and s[LAYERS + s[N_LAYERS] - 1] == layers.IPV6
    if left < size:
        cut(s, layers.NONE if above_six else layers.AH, 1, BAD_IP_HEADER)
        return
    if above_six:  # one of IPv6's extension headers, which count to it
        s[BYTES + s[N_LAYERS] - 1] += size
    else:
        add_layer(s, layers.AH, size)
    s[AT] = at + size
    s[TYPE] = data[at]
    s[IP_PROTOCOL] = s[TYPE]
    s[NEXT] = EXTENSIONS if above_six else TRANSPORT
