"""Link layers: Ethernet, VLAN tags, LLC/SNAP, MPLS, PPP, cooked captures, loopback and raw IP.

In: bytes at `s[AT]`. Out: the layer noted in `s`, and in `s[NEXT]`/`s[TYPE]` who goes on.
Lengths follow Wireshark: an Ethernet layer has 14 bytes of its own plus whatever the layer above leaves behind it.
"""

from __future__ import annotations

from analysis import layers
from analysis.columns import BAD_IP_HEADER, ETH
from analysis.decode.state import (
    AT,
    COOKED,
    DONE,
    DST_HI,
    DST_LO,
    END,
    ETHERTYPE,
    FABRIC_PATH,
    FAULT,
    IP_ANY,
    IPV4,
    IPV6,
    IPX,
    ISL,
    LEAF,
    LIMIT,
    LINK,
    LLC,
    N_LAYERS,
    NEXT,
    NULL_PPP,
    PPP,
    PSEUDO_WIRE,
    SNAP,
    SRC_HI,
    SRC_LO,
    T_ETHERTYPE,
    T_PPP,
    T_SAP,
    TRAILER,
    TYPE,
    Data,
    State,
    Tables,
    add_layer,
    cut,
    tap,
    trim,
    u16,
    u32,
)
from analysis.kernel import inner_kernel as kernel

ISL_GROUP, ISL_GROUP_2 = 0x01000C0000, 0x0C000C0000  # 40 bits of the destination: a Cisco ISL frame
FABRIC_PATH_TYPE = 0x8903  # Cisco FabricPath, where an ethertype would stand
CISCO_HDLC = 104  # LINKTYPE_C_HDLC
XID, XID_BASIC = 0xAF, 0x81  # IEEE 802.2 5.4.1.1.2: exchange of identification, its basic format


@kernel
def ethernet(data: Data, s: State, tables: Tables) -> None:
    """IEEE 802.3 header: 0 destination (6) | 6 source (6) | 12 type, or length up to 1500 (2)."""
    at = s[AT]
    if s[END] - at < 14:  # Wireshark reads both addresses before it shows the layer
        cut(s, layers.NONE, 0, 0)
        return
    kind = u16(data, at + 12)
    s[DST_HI] = 0
    s[DST_LO] = u16(data, at) * 0x100000000 + u32(data, at + 2)
    if kind == FABRIC_PATH_TYPE or s[DST_LO] >> 8 == ISL_GROUP or s[DST_LO] >> 8 == ISL_GROUP_2:
        s[NEXT] = FABRIC_PATH if kind == FABRIC_PATH_TYPE else ISL  # a switch's header before the Ethernet header
        return
    slot = add_layer(s, layers.ETH, 14)
    s[SRC_HI] = 0
    s[SRC_LO] = u16(data, at + 6) * 0x100000000 + u32(data, at + 8)
    tap(s, ETH, 0, 0, 0)
    s[TRAILER] = slot
    s[AT] = at + 14
    typed(data, s, kind, tables)


@kernel
def typed(data: Data, s: State, kind: int, tables: Tables) -> None:
    """An ethertype, or up to 1500 the length of what LLC begins."""
    if kind > 1500 or kind == 0:
        s[TYPE] = kind
        ethertype(s, tables)
    else:
        length_field(data, s, kind)


@kernel
def length_field(data: Data, s: State, length: int) -> None:
    """An 802.3 length in place of the type: LLC follows, or Novell's raw IPX where LLC cannot be (0xffff)."""
    at = s[AT]
    trim(s, at + length)
    if s[END] - at >= 2 and u16(data, at) == 0xFFFF:
        s[NEXT] = IPX
        return
    s[NEXT] = LLC


@kernel
def ethertype(s: State, tables: Tables) -> None:
    """Choose by the type in s[TYPE]; nobody: `data` to the end of the frame."""
    code = tables[T_ETHERTYPE + s[TYPE]]
    s[NEXT] = code if code != 0 else LEAF + layers.DATA


@kernel
def vlan(data: Data, s: State, tables: Tables) -> None:
    """IEEE 802.1Q tag: 0 priority and id (2) | 2 type of the next, or length (2). s[TYPE] is the tag's own type."""
    at = s[AT]
    name = layers.IEEE8021AD if s[TYPE] == 0x88A8 else layers.VLAN
    if s[END] - at < 4:
        cut(s, name, 2, 0)
        return
    add_layer(s, name, 4)
    s[TRAILER] = -1  # Wireshark shows padding in the tag then
    s[AT] = at + 4
    typed(data, s, u16(data, at + 2), tables)


@kernel
def llc(data: Data, s: State, tables: Tables) -> None:
    """IEEE 802.2: 0 DSAP | 1 SSAP | 2 control (1; 2 unless unnumbered) | SNAP: OUI (3), type (2)."""
    at = s[AT]
    left = s[END] - at
    if left < 3:
        cut(s, layers.LLC, 1, 0)
        return
    dsap = data[at] + 0
    ssap = data[at + 1] + 0
    size = 3 if data[at + 2] & 3 == 3 else 4
    if left < size:
        cut(s, layers.LLC, 1, 0)
        return
    if dsap == 0xAA and ssap == 0xAA:
        snap(data, s, size, tables)
        return
    add_layer(s, layers.LLC, size)
    s[AT] = at + size
    if s[AT] >= s[LIMIT]:
        s[NEXT] = DONE
        return
    if data[at + 2] & 0xEF == XID and s[AT] < s[END] and data[s[AT]] == XID_BASIC:
        s[NEXT] = LEAF + layers.BASICXID
        return
    code = tables[T_SAP + dsap]
    s[NEXT] = code if code != 0 else LEAF + layers.DATA


@kernel
def snap(data: Data, s: State, size: int, tables: Tables) -> None:
    """SNAP behind LLC: 0 OUI (3) | 3 protocol (2). OUI 0 and Cisco's 0xf8 carry ethertypes."""
    at = s[AT] + size
    if s[END] - at < 5:
        cut(s, layers.LLC, 1, 0)
        return
    add_layer(s, layers.LLC, size + 5)
    oui = u16(data, at) * 256 + data[at + 2]
    kind = u16(data, at + 3)
    s[AT] = at + 5
    s[TYPE] = kind
    if oui == 0 or oui == 0xF8:
        s[NEXT] = ETHERTYPE
    else:
        s[NEXT] = SNAP
        s[TYPE] = oui * 65536 + kind


@kernel
def mpls(data: Data, s: State) -> None:
    """RFC 3032 label stack, 4 bytes an entry: label (20 bits), class (3), bottom of stack (1), TTL (8).

    What follows is not said: Wireshark looks at the first nibble (4 and 6 are IP, RFC 4928).
    """
    while True:
        at = s[AT]
        if s[END] - at < 4:
            cut(s, layers.MPLS, 4, 0)
            return
        add_layer(s, layers.MPLS, 4)
        s[AT] = at + 4
        if data[at + 2] & 1:
            break
    at = s[AT]
    if at >= s[END]:
        cut(s, layers.NONE, 0, 0)
        return
    version = data[at] >> 4
    if version == 4:
        s[NEXT] = IPV4
    elif version == 6:
        s[NEXT] = IPV6
    elif version == 1:
        s[NEXT] = PSEUDO_WIRE
    else:
        s[NEXT] = PSEUDO_WIRE


@kernel
def pppoe(data: Data, s: State) -> None:
    """RFC 2516 session: 0 version and type | 1 code | 2 session (2) | 4 length (2)."""
    at = s[AT]
    if s[END] - at < 6:
        cut(s, layers.PPPOES, 6, 0)
        return
    add_layer(s, layers.PPPOES, 6)
    s[TRAILER] = -1
    s[AT] = at + 6
    trim(s, at + 6 + u16(data, at + 4))
    s[NEXT] = PPP


@kernel
def ppp(data: Data, s: State, tables: Tables) -> None:
    """RFC 1661 protocol field: 2 bytes, or 1 where compressed (lowest bit set); before it HDLC's ff 03 where framed."""
    at = s[AT]
    left = s[END] - at
    size = 0
    if s[N_LAYERS] == 0 and left >= 1 and (data[at] == 0x0F or data[at] == 0x8F):
        s[NEXT] = LINK  # a serial line's capture does not tell PPP from Cisco HDLC, its address byte does
        s[TYPE] = CISCO_HDLC
        return
    if left >= 2 and data[at] == 0xFF and data[at + 1] == 0x03:
        size = 2
    if left < size + 1:
        cut(s, layers.PPP, 1, 0)
        return
    if data[at + size] & 1:
        kind = data[at + size] + 0
        size += 1
    elif left < size + 2:
        cut(s, layers.PPP, 1, 0)
        return
    else:
        kind = u16(data, at + size)
        size += 2
    add_layer(s, layers.PPP, size)
    s[AT] = at + size
    code = tables[T_PPP + kind]
    s[NEXT] = code if code != 0 else LEAF + layers.DATA


@kernel
def sll(data: Data, s: State) -> None:
    """LINKTYPE_LINUX_SLL: 0 packet type (2) | 2 ARPHRD (2) | 4 address length (2) | 6 address (8) | 14 protocol (2)."""
    at = s[AT]
    if s[END] - at < 16:
        cut(s, layers.SLL, 2, 0)
        return
    add_layer(s, layers.SLL, 16)
    s[AT] = at + 16
    cooked(s, u16(data, at + 2), u16(data, at + 14))


@kernel
def sll2(data: Data, s: State) -> None:
    """LINKTYPE_LINUX_SLL2: 0 protocol (2) | 2 reserved (2) | 4 interface (4) | 8 ARPHRD (2) | 10 type | 11 length | 12 address (8)."""
    at = s[AT]
    if s[END] - at < 20:
        cut(s, layers.SLL, 2, 0)
        return
    add_layer(s, layers.SLL, 20)
    s[AT] = at + 20
    cooked(s, u16(data, at + 8), u16(data, at))


@kernel
def cooked(s: State, hardware: int, kind: int) -> None:
    """Choose behind a cooked header: the protocol is an ethertype, or below 0x600 a number of Linux's own."""
    s[TYPE] = kind
    if kind > 1535 and hardware != 824 and hardware != 778:
        s[NEXT] = ETHERTYPE
    elif kind == 4 and hardware != 824:
        s[NEXT] = LLC
    else:
        s[NEXT] = COOKED
        s[TYPE] = hardware * 65536 + kind


@kernel
def null(data: Data, s: State) -> None:
    """BSD loopback: a 4-byte address family in the byte order of the capturing host, or big endian (LINKTYPE_LOOP)."""
    at = s[AT]
    if s[END] - at < 4:
        cut(s, layers.NULL, 4, 0)
        return
    if u16(data, at) == 0xFF03:  # PPP of some BSDs in loopback clothing
        s[NEXT] = NULL_PPP
        return
    family = u32(data, at)
    if family & 0xFFFF0000:
        if family < 0x60000:  # 16 bits, big endian, then padding
            family = family >> 16
        else:
            family = data[at] + data[at + 1] * 256 + data[at + 2] * 65536 + data[at + 3] * 16777216
    add_layer(s, layers.NULL, 4)
    s[AT] = at + 4
    if family == 2:
        s[NEXT] = IP_ANY
    elif family in (10, 23, 24, 28, 30):
        s[NEXT] = IPV6
    elif 1535 < family < 65536:
        s[TYPE] = family
        s[NEXT] = ETHERTYPE
    else:
        s[NEXT] = LEAF + layers.DATA


@kernel
def raw(data: Data, s: State) -> None:
    """LINKTYPE_RAW: IP of the version that the first nibble says; Wireshark shows a layer `raw` without bytes of its own."""
    at = s[AT]
    left = max(0, s[END] - at)
    if left < 1:
        cut(s, layers.NONE, 0, 0)
        return
    add_layer(s, layers.RAW, left)
    version = data[at] >> 4
    if left < 8:  # its dissector looks for PPP there first
        cut(s, layers.NONE, 0, 0)
    elif version == 4:
        s[NEXT] = IPV4
    elif version == 6:
        s[NEXT] = IPV6
    else:
        s[NEXT] = LEAF + layers.DATA


@kernel
def ip_any(data: Data, s: State) -> None:
    """IP version 4 or 6 by the first nibble; of anything else Wireshark shows one byte of `ip`."""
    if s[AT] >= s[END]:
        cut(s, layers.NONE, 0, 0)
        return
    version = data[s[AT]] >> 4
    if version == 4:
        s[NEXT] = IPV4
    elif version == 6:
        s[NEXT] = IPV6
    else:
        s[FAULT] |= BAD_IP_HEADER
        add_layer(s, layers.IP, 1)
        s[NEXT] = DONE


@kernel
def arp(data: Data, s: State) -> None:
    """RFC 826: 0 hardware (2) | 2 protocol (2) | 4 hardware length | 5 protocol length | 6 operation (2) | addresses."""
    at = s[AT]
    if s[END] - at < 8:
        cut(s, layers.ARP, 2, 0)
        return
    size = 8 + 2 * (data[at + 4] + data[at + 5])
    if s[LIMIT] - at >= size:
        trim(s, at + size)
    if s[END] - at < size:
        cut(s, layers.ARP, 2, 0)
        return
    add_layer(s, layers.ARP, size)
    s[NEXT] = DONE
