"""Tunnels: GRE, and over UDP VXLAN, Geneve, GTP-U and Teredo. The packet inside is decoded and tapped like any other.

In: bytes at `s[AT]` behind the outer header. Out: the tunnel's layer in `s`, and in `s[NEXT]` the inner link or IP layer.
"""

from __future__ import annotations

from analysis import layers
from analysis.decode.state import (
    AT,
    DONE,
    END,
    ERSPAN,
    ETHERNET,
    ETHERTYPE,
    GRE_ODD,
    IPV4,
    IPV6,
    LEAF,
    LIMIT,
    NEXT,
    PPP,
    TRAILER,
    TYPE,
    Data,
    State,
    add_layer,
    cut,
    u16,
)
from analysis.kernel import inner_kernel as kernel


@kernel
def gre(data: Data, s: State) -> None:
    """RFC 2784/2890/2637: 0 flags, version (2) | 2 protocol (2) | then, each if flagged: checksum and offset (4), key (4),
    sequence (4), acknowledgement (4; version 1)."""
    at = s[AT]
    if s[END] - at < 4:
        cut(s, layers.GRE, 2, 0)
        return
    flags = u16(data, at)
    size = 4
    if flags & 0xC000:
        size += 4
    if flags & 0x2000:
        size += 4
    if flags & 0x1000:
        size += 4
    if flags & 7 == 1 and flags & 0x80:
        size += 4
    left = s[END] - at
    if left < size or flags & 0x4000:
        s[TYPE] = flags
        s[NEXT] = GRE_ODD
        return
    add_layer(s, layers.GRE, size)
    s[AT] = at + size
    s[TYPE] = u16(data, at + 2)
    s[NEXT] = DONE
    if s[AT] < s[LIMIT]:
        s[NEXT] = PPP if s[TYPE] == 0x880B else ETHERTYPE
        if s[TYPE] == 0x88BE or s[TYPE] == 0x22EB:
            s[NEXT] = ERSPAN
            s[TYPE] = flags * 65536 + s[TYPE]


@kernel
def vxlan(data: Data, s: State) -> None:
    """RFC 7348 5: 0 flags | 4 network id (3) | 8 an Ethernet frame."""
    at = s[AT]
    if s[END] - at < 8:
        cut(s, layers.VXLAN, 8, 0)
        return
    add_layer(s, layers.VXLAN, 8)
    s[AT] = at + 8
    s[TRAILER] = -1
    s[NEXT] = ETHERNET if s[AT] < s[END] else DONE


@kernel
def geneve(data: Data, s: State) -> None:
    """RFC 8926 3.4: 0 version, option length in 4 bytes (6 bits) | 1 flags | 2 ethertype (2) | 4 network id (3) | 8 options."""
    at = s[AT]
    left = s[END] - at
    size = 8 + (data[at] & 63) * 4 if left >= 8 else 8
    if left < size:
        cut(s, layers.GENEVE, 8, 0)
        return
    add_layer(s, layers.GENEVE, size)
    s[AT] = at + size
    s[TYPE] = u16(data, at + 2)
    s[NEXT] = ETHERTYPE if s[AT] < s[END] else DONE


@kernel
def gtp(data: Data, s: State) -> None:
    """3GPP TS 29.281 5.1: 0 version, flags | 1 type (255: user packet) | 2 length (2) | 4 tunnel (4) | if any of E, S, PN:
    8 sequence (2) | 10 N-PDU | 11 next extension; extension: length in 4 bytes | ... | next extension."""
    at = s[AT]
    left = s[END] - at
    if left < 8:
        cut(s, layers.GTP, 8, 0)
        return
    if data[at] >> 5 != 1 or data[at + 1] != 255:
        s[NEXT] = LEAF + layers.GTP
        return
    size = 8
    if data[at] & 7:
        size = 12
        more = 0
        if left >= 12 and data[at] & 4:
            more = data[at + 11] + 0
        while more != 0:
            if left < size + 1 or data[at + size] == 0 or left < size + data[at + size] * 4:
                break
            size += data[at + size] * 4
            more = data[at + size - 1] + 0
    if left < size:
        cut(s, layers.GTP, 8, 0)
        return
    add_layer(s, layers.GTP, size)
    s[AT] = at + size
    version = data[at + size] >> 4 if left > size else 0
    if version == 4:
        s[NEXT] = IPV4
    elif version == 6:
        s[NEXT] = IPV6
    else:
        s[NEXT] = LEAF + layers.DATA


@kernel
def teredo(data: Data, s: State) -> None:
    """RFC 4380 5.1.1: optional authentication (0x0001) and origin (0x0000) before an IPv6 packet."""
    at = s[AT]
    end = s[END]
    size = 0
    if end - at >= 4 and u16(data, at) == 1:
        size = 13 + data[at + 2] + data[at + 3]
    if end - at >= size + 8 and u16(data, at + size) == 0:
        size += 8
    if end - at < size + 40 or data[at + size] >> 4 != 6:
        s[NEXT] = DONE
        return
    add_layer(s, layers.TEREDO, size)
    s[AT] = at + size
    s[NEXT] = IPV6
