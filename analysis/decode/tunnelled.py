"""The rarer tunnels and transports: ERSPAN, GRE with routing, AYIYA, L2TP, SCTP's chunks, cooked and loopback oddities.

In: a `Walk` behind the header that named it. Out: the tunnel's layer, and the inner packet for the kernel to go on with.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis import layers
from analysis.decode import state
from analysis.decode.state import (
    AT,
    TRAILER,
)
from analysis.decode.walker import Cut, Walk

# SCTP payload protocol identifiers (IANA) and ports -> layer.
SCTP_PAYLOADS = {
    1: layers.IUA,
    2: layers.M2UA,
    3: layers.M3UA,
    4: layers.SUA,
    5: layers.M2PA,
    6: layers.V5UA,
    7: layers.H248,
    8: layers.BICC,
    10: layers.DUA,
    11: layers.ASAP,
    12: layers.ENRP,
    13: layers.Q931,
    18: layers.S1AP,
    19: layers.RUA,
    20: layers.HNBAP,
    24: layers.SBCAP,
    25: layers.NBAP,
    27: layers.X2AP,
    29: layers.LCSAP,
    31: layers.SABP,
    36: layers.NETPERFMETER,
    37: layers.NETPERFMETER,
    43: layers.M2AP,
    44: layers.M3AP,
    45: layers.SSH,
    46: layers.DIAMETER,
    47: layers.DTLS,
    49: layers.GDT,
    50: layers.RTCDC,
    60: layers.NGAP,
    61: layers.XNAP,
    62: layers.F1AP,
    64: layers.E1AP,
    99: layers.M2TP,
}
SCTP_PORTS = {
    22: layers.SSH,
    53: layers.DNS,
    853: layers.DTLS,
    2221: layers.DTLS,
    2904: layers.M2UA,
    2905: layers.M3UA,
    3565: layers.M2PA,
    3863: layers.ASAP,
    3868: layers.DIAMETER,
    5675: layers.V5UA,
    5868: layers.DTLS,
    9082: layers.LCSAP,
    9900: layers.IUA,
    9901: layers.ENRP,
    9908: layers.M2TP,
    10001: layers.V5UA,
    14001: layers.SUA,
    29118: layers.SGSAP,
    29168: layers.SBCAP,
    29169: layers.RUA,
    36412: layers.S1AP,
    36422: layers.X2AP,
    36443: layers.M2AP,
    36444: layers.M3AP,
    37464: layers.E2AP,
    38412: layers.NGAP,
    38422: layers.XNAP,
    38462: layers.E1AP,
    38472: layers.F1AP,
    **dict.fromkeys(
        (324, 443, 465, 636, 802, 993, 995, 2443, 3249, 3250, 3251, 3252, 3496, 5061, 5671, 5684, 8883), layers.TLS
    ),
}


def erspan(walk: Walk) -> None:
    """Behind GRE type 0x88be or 0x22eb; `walk.type` is GRE's flags and type. Without a sequence number there is no header."""
    flags, kind = walk.type >> 16, walk.type & 0xFFFF
    size = 0
    if kind == 0x22EB:
        size = 12 + (8 if walk.left >= 12 and walk.u8(11) & 1 else 0)
    elif flags & 0x1000:
        size = 8
    walk.layer(layers.ERSPAN, size)
    walk.s[TRAILER] = -1
    walk.go(state.ETHERNET)


def gre_with_routing(walk: Walk) -> None:
    """RFC 1701: source route entries behind the fixed fields: family (2) | offset | length | address; zero ends them."""
    flags, kind = walk.u16(0), walk.u16(2)
    size = 4 + (4 if flags & 0xC000 else 0) + (4 if flags & 0x2000 else 0) + (4 if flags & 0x1000 else 0)
    if flags & 0x4000:
        while True:
            length = walk.u8(size + 3)
            done = walk.u16(size) == 0
            size += 4 + length
            if done:
                break
    walk.layer(layers.GRE, size)
    walk.go(state.ETHERTYPE, kind)


def ayiya(walk: Walk) -> None:
    """draft-massar-v6ops-ayiya-02: 0 identity length (4 bits, a power of 2) | 1 signature length in 4 bytes (4 bits) |
    2 opcode (4 bits) | 3 next header | 4 time (4)."""
    size = 8 + (1 << (walk.u8(0) >> 4)) + (walk.u8(1) >> 4) * 4
    opcode, protocol = walk.u8(2) & 15, walk.u8(3)
    walk.layer(layers.AYIYA, size)
    if opcode == 1:
        walk.go(state.TRANSPORT, protocol)
    else:
        walk.done()


def l2tp(walk: Walk) -> None:
    """RFC 2661 3.1: 0 flags, version (2): T control, L length, S sequence, O offset | length | tunnel, session (4) | ..."""
    flags = walk.u16(0)
    if flags & 15 not in (2, 3):
        walk.done()
        return
    if flags & 0x8000 or flags & 15 == 3:
        walk.rest(layers.L2TP)
        return
    size = 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
    if flags & 0x0200:
        size += 2 + walk.u16(size)
    walk.layer(layers.L2TP, size)
    walk.go(state.PPP)


def l2tp_over_ip(walk: Walk) -> None:
    """RFC 3931 4.1.1: 0 session (4), zero for control messages; the cookie's size is not told, so the rest is `data`."""
    session = walk.u32(0)
    if session == 0:
        walk.rest(layers.L2TP)
        return
    walk.layer(layers.L2TP, 4)
    walk.data_rest()


def sctp(walk: Walk) -> None:
    """RFC 9260 3: chunks of type | flags | length (2) | value, padded to 4. DATA (0): 4 number (4) | 8 stream, sequence
    (4) | 12 payload protocol (4) | 16 user data. A DATA chunk ends the layer; chunks behind it begin another."""
    s = walk.s
    ports = (walk.u16(0), walk.u16(2))
    size = 12
    while size + 4 <= walk.left:
        kind, flags, length = walk.u8(size), walk.u8(size + 1), walk.u16(size + 2)
        padded = (length + 3) // 4 * 4
        if length < 4:
            break
        if kind != 0 or length < 17 or flags & 3 != 3 or walk.left < size + 16:
            size += min(padded, walk.left - size)
            continue
        protocol = walk.u32(size + 12)
        walk.layer(layers.SCTP, size + 16)
        start, left = s[AT], min(length - 16, walk.left)
        user = _user(protocol, ports)
        if user == layers.DIAMETER and left and walk.u8(0) != 1:
            user = layers.DATA  # RFC 6733 3: the version
        walk.name(user, left)
        if s[state.PAYLOAD_START] < 0:
            s[state.PAYLOAD_START], s[state.PAYLOAD_LEN], s[state.PAYLOAD_CAP] = start, length - 16, left
        walk.skip(min(padded - 16, walk.left))
        size = 0
    if size:
        walk.layer(layers.SCTP, min(max(size, walk.left if size == 12 else 0), walk.left))
    walk.done()


def _user(protocol: int, ports: tuple[int, int]) -> int:
    """The layer of a DATA chunk: by payload protocol, else by port, else `data`."""
    if protocol in SCTP_PAYLOADS:
        return SCTP_PAYLOADS[protocol]
    for port in sorted(ports):
        if port in SCTP_PORTS:
            return SCTP_PORTS[port]
    return layers.DATA


def multicast_routing(walk: Walk) -> None:
    """PIM (RFC 7761 4.9): 0 version, type (4 bits each) | 4 flags (4); a register message (1) carries the packet itself."""
    head = walk.u8(0)
    walk.name(layers.PIM, walk.left)
    walk.need(4)
    code = {4: state.IPV4, 6: state.IPV6}.get(walk.u8(8) >> 4) if head == 0x21 and walk.left > 8 else None
    if code is not None:
        walk.skip(8)
        walk.go(code)
    elif walk.left < walk.wire_left:
        raise Cut


def cooked(walk: Walk) -> None:
    """A cooked capture of what is no ethertype; `walk.type` is ARPHRD << 16 | protocol."""
    hardware, kind = walk.type >> 16, walk.type & 0xFFFF
    if hardware == 824:  # ARPHRD_NETLINK
        if kind == 0:
            walk.name(layers.NETLINK, 0)
            walk.rest(layers.NETLINK_ROUTE)
            return
    elif hardware == 778:  # ARPHRD_IPGRE
        walk.go(state.GRE)
        return
    elif kind == 1:  # Novell's raw 802.3
        walk.go(state.IPX)
        return
    elif kind in (0x000C, 0x000D):
        walk.s[state.TYPE] = 227
        walk.go(state.LINK, 227)
        return
    walk.data_rest()


def ppp_in_loopback(walk: Walk) -> None:
    """A loopback header that is PPP's address and control."""
    walk.go(state.PPP)


DISSECTORS: dict[int, Callable[[Walk], None]] = {
    state.ERSPAN: erspan,
    state.GRE_ODD: gre_with_routing,
    state.AYIYA: ayiya,
    state.L2TP: l2tp,
    state.L2TP3: l2tp_over_ip,
    state.CHUNKS: sctp,
    state.COOKED: cooked,
    state.PIM: multicast_routing,
    state.NULL_PPP: ppp_in_loopback,
}
