"""Layer-2 protocols above Ethernet and LLC: loopback tests, link aggregation, PROFINET, OSI routing, IPX, NetBIOS, SNAP.

In: a `Walk` behind the Ethernet type or LLC header. Out: the layers that Wireshark shows, with their own bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis import layers
from analysis.decode import state
from analysis.decode.state import BYTES, LEAF, TRAILER
from analysis.decode.walker import Walk

# SNAP organisation and protocol -> layer that takes the rest.
SNAP_LEAVES = {
    0x00000C_2000: layers.CDP,
    0x00000C_2001: layers.CGMP,
    0x00000C_2003: layers.VTP,
    0x00000C_2004: layers.DTP,
    0x00000C_0111: layers.UDLD,
    0x00000C_0104: layers.PAGP,
    **dict.fromkeys((0x00000C_0108, 0x00000C_0109, 0x00000C_010B, 0x00000C_010C), layers.STP),  # per-VLAN, fast hello
    0x00000C_0139: layers.MCP,
    0x00E02B_00BB: layers.EDP,
    0x00E052_2000: layers.FDP,
    0x0080C2_000E: layers.STP,
    0x004096_0000: layers.WLCCP,
}
SNAP_BRIDGED = (0x0080C2_0001, 0x0080C2_0007)  # RFC 2684 5.2: an Ethernet frame with and without checksum

SLOW_SUBTYPES = {1: layers.LACP, 2: layers.MARKER, 3: layers.OAMPDU, 0x0A: layers.OSSP}  # IEEE 802.3 57A.4

ISIS_PDUS = {15: layers.ISIS_HELLO, 16: layers.ISIS_HELLO, 17: layers.ISIS_HELLO, 18: layers.ISIS_LSP,
             20: layers.ISIS_LSP, 24: layers.ISIS_CSNP, 25: layers.ISIS_CSNP, 26: layers.ISIS_PSNP, 27: layers.ISIS_PSNP}  # fmt: skip


def snap(walk: Walk) -> None:
    """A SNAP protocol of an organisation's own; `walk.type` is OUI << 16 | protocol."""
    number = walk.type
    if number in SNAP_LEAVES:
        walk.rest(SNAP_LEAVES[number])
    elif number in SNAP_BRIDGED:
        walk.s[TRAILER] = -1
        walk.go(state.ETHERNET)
    else:
        walk.data_rest()


def loopback(walk: Walk) -> None:
    """Ethernet configuration test (Ethernet 2.0, section 8): 0 skip count (2, little endian) | functions."""
    walk.name(layers.LOOP, walk.left)
    walk.skip(2)
    for _ in range(walk.left // 8 + 1):
        function = walk.le16(0)
        walk.skip(2)
        if function == 1:  # reply: receipt number, then data
            walk.skip(2)
            break
        if function != 2:
            break
        walk.skip(6)  # forward: address
    walk.data_rest()


def slow_protocols(walk: Walk) -> None:
    """IEEE 802.3 annex 57A: a subtype byte."""
    subtype = walk.u8(0)
    walk.layer(layers.SLOW, 1)
    if subtype in SLOW_SUBTYPES:
        walk.rest(SLOW_SUBTYPES[subtype])
    else:
        walk.data_rest()


def profinet(walk: Walk) -> None:
    """IEC 61158-6-10: 0 frame id (2) says real-time data, alarm, discovery or clock."""
    walk.name(layers.PN_RT, walk.left)
    frame = walk.u16(0)
    walk.skip(2)
    if 0xFEFC <= frame <= 0xFEFF:  # DCP: 8 data length (2)
        size = 10 + walk.u16(8)
        walk.layer(layers.PN_DCP, size)
        walk.done()
    elif frame in (
        0x0020,
        0x0021,
        0x0080,
        0x0081,
        0xFF00,
        0xFF01,
        0xFF20,
        0xFF21,
        0xFF22,
        0xFF40,
        0xFF41,
        0xFF42,
        0xFF43,
    ):
        walk.name(layers.PN_PTCP, _clock_size(walk))
    elif 0x0100 <= frame <= 0xFBFF:  # cyclic data, then cycle counter (2), data status, transfer status
        walk.name(layers.PN_IO, max(0, walk.left - 4))
    elif frame in (0xFC01, 0xFE01):  # alarm: 10 length of the variable part (2)
        walk.name(layers.PN_IO, min(walk.left, 12 + walk.u16(10)))
    else:
        walk.data_rest()


def _clock_size(walk: Walk) -> int:
    """PTCP: 20 bytes, then blocks of type (7 bits), length (9 bits) and value, ended by a block of zero."""
    at = 20
    while at + 2 <= walk.left:
        head = walk.u16(at)
        at += 2 + (head & 0x1FF)
        if head == 0:
            break
    return min(at, walk.left)


def osi(walk: Walk) -> None:
    """ISO/IEC TR 9577: the first byte says which network protocol."""
    kind = walk.u8(0)
    if kind == 0x83:
        walk.name(layers.ISIS, walk.left)
        pdu = walk.u8(4) & 31
        walk.skip(8)
        if pdu in ISIS_PDUS:
            walk.rest(ISIS_PDUS[pdu])
        else:
            walk.data_rest()
    elif kind == 0x82:
        walk.rest(layers.ESIS)
    elif kind == 0x81:
        walk.rest(layers.CLNP)
    elif kind == 0x08:
        walk.rest(layers.Q931)
    elif kind == 0xCC:
        walk.skip(1)
        walk.go(state.IPV4)
    elif kind == 0x8E:
        walk.skip(1)
        walk.go(state.IPV6)
    else:
        walk.data_rest()


def netbios(walk: Walk) -> None:
    """NetBIOS frames (IBM SC30-3587): 0 header length (2, little endian) | 2 delimiter 0xefff | 4 command."""
    walk.layer(layers.NETBIOS, walk.le16(0))
    _smb_or_data(walk)


def ipx(walk: Walk) -> None:
    """Novell IPX: 0 checksum | 2 length (2) | 4 hops | 5 type | 6 destination (10), socket (2) | 18 source (10), socket (2)."""
    kind, sockets = walk.u8(5), sorted((walk.u16(16), walk.u16(28)))
    walk.trim(walk.u16(2))
    walk.layer(layers.IPX, 30)
    if sockets[1] == NAME_QUERY:  # its partner's socket may be that of SMB
        del sockets[0]
    for socket in sockets:
        if socket in IPX_DISSECTORS:
            IPX_DISSECTORS[socket](walk, kind)
            return
        if socket in IPX_SOCKETS:
            walk.rest(IPX_SOCKETS[socket])
            return
    if kind in IPX_TYPES:
        walk.rest(IPX_TYPES[kind])
    else:
        walk.data_rest()


NAME_QUERY = 0x0551
ROUTES = 32  # eight networks that a broadcast has passed
IPX_SOCKETS = {
    0x0451: layers.NCP, 0x0452: layers.IPXSAP, 0x0453: layers.IPXRIP, 0x0457: layers.NW_SERIAL,
    0x4001: layers.IPXMSG, 0x4003: layers.IPXMSG, 0x85BE: layers.EIGRP, 0x9001: layers.NLSP, 0x9004: layers.IPXWAN,
    0x900F: layers.SNMP, 0x9010: layers.SNMP,
}  # fmt: skip
IPX_TYPES = {5: layers.SPX, 17: layers.NCP}


def _name_service(walk: Walk, kind: int) -> None:
    """NMPI: routes, then 0 operation (0xfc: a message to a mailslot follows) | 1 kind of name | 2 id (2) | 4 names (16 each)."""
    operation = walk.u8(ROUTES)
    walk.layer(layers.NMPI, ROUTES + 36)
    if operation == 0xFC:
        _smb_or_data(walk)


def _netbios_over_ipx(walk: Walk, kind: int) -> None:
    """NBIPX: routes in broadcasts (type 20) and in questions for names, then 0 control | 1 operation. A session (6 to 8)
    has 18 bytes more, a datagram (11) two names of 16; both carry SMB."""
    routes = ROUTES if kind == 20 or (walk.wire_left == 50 and walk.u8(ROUTES + 1) in range(1, 6)) else 0
    size = {6: 18, 7: 18, 8: 18, 11: 34}.get(walk.u8(routes + 1))
    if size is None:
        walk.rest(layers.NBIPX)
        return
    walk.layer(layers.NBIPX, routes + size)
    _smb_or_data(walk)


def _bare_smb(walk: Walk, kind: int) -> None:
    """SMB directly over IPX."""
    _smb_or_data(walk)


IPX_DISSECTORS: dict[int, Callable[[Walk, int], None]] = {
    0x0455: _netbios_over_ipx,
    0x0550: _bare_smb,
    0x0551: _name_service,
    0x0552: _bare_smb,
    0x0553: _name_service,
    0x0554: _bare_smb,
}


def _smb_or_data(walk: Walk) -> None:
    """SMB without a transport: the message, and what a mailslot in it carries ([MS-CIFS] 2.2.4.33, [MS-MAIL])."""
    if walk.left < 4 or walk.octets(0, 4) != b"\xffSMB":
        if walk.left:
            walk.data_rest()
        return
    message = walk.octets(0, walk.left)
    walk.name(layers.SMB, len(message))
    at = message.find(b"\\MAILSLOT\\")
    if len(message) > 61 and message[4] == 0x25 and at >= 8:
        name_end = message.find(b"\0", at)
        offset = int.from_bytes(message[57:59], "little")  # where the mailslot's data stand
        if name_end < 0 or offset > len(message):
            return
        walk.name(layers.MAILSLOT, 8 + name_end + 1 - at)
        name = message[at:name_end].upper()
        if name in (b"\\MAILSLOT\\BROWSE", b"\\MAILSLOT\\LANMAN"):
            walk.name(layers.BROWSER, len(message) - offset)
    walk.done()


def lldp(walk: Walk) -> None:
    """IEEE 802.1AB 8.4: blocks of type (7 bits), length (9 bits) and value; type 0 ends them.

    Wireshark's dissector gives up one byte before that end, so its Ethernet layer shows the rest as a trailer.
    """
    at = 0
    while at + 2 <= walk.left:
        head = walk.u16(at)
        if head >> 9 == 0:
            slot = walk.s[TRAILER]
            if slot >= 0 and at > 0:
                walk.s[BYTES + slot] += walk.left - (at - 1)
            break
        at += 2 + (head & 0x1FF)
    walk.rest(layers.LLDP)


def discovery(walk: Walk) -> None:
    """PPPoE discovery, RFC 2516 4: 4 length (2)."""
    walk.trim(6 + walk.u16(4))
    walk.rest(layers.PPPOED)


def port_extender(walk: Walk) -> None:
    """VN-Tag (Cisco, 802.1Qbh draft): 0 direction and interfaces (4) | 4 type of the next (2)."""
    walk.layer(layers.VNTAG, 4)
    kind = walk.u16(0)
    walk.skip(2)
    walk.s[TRAILER] = -1
    walk.go(state.ETHERTYPE, kind)


def eapol(walk: Walk) -> None:
    """IEEE 802.1X 11.3: 0 version | 1 type (0: EAP) | 2 length (2)."""
    kind, size = walk.u8(1), walk.u16(2)
    walk.trim(4 + size)
    if kind == 0:
        walk.name(layers.EAPOL, walk.left)  # with what it carries
        walk.skip(4)
        walk.rest(layers.EAP)
    else:
        walk.rest(layers.EAPOL)


def clock(walk: Walk) -> None:
    """Precision time (IEEE 1588 13.3): 1 version (4 bits) | 2 length (2) of version 2."""
    if walk.u8(1) & 15 == 2:
        walk.trim(walk.u16(2))
    walk.rest(layers.PTP)


def pseudo_wire(walk: Walk) -> None:
    """Behind an MPLS label that is no IP (RFC 4385): a control word of zeros, then an Ethernet frame; else `data`."""
    if walk.left >= 18 and walk.u8(0) >> 4 == 0 and walk.u32(0) >> 28 == 0:
        kind = walk.u16(4 + 12)
        if kind in (0x0800, 0x86DD, 0x0806, 0x8100, 0x8847):
            walk.layer(layers.PWETHCW, 4)
            walk.go(state.ETHERNET)
            return
    if walk.left >= 14 and walk.u16(12) in (0x0800, 0x86DD, 0x0806, 0x8100):
        walk.name(layers.PWETHNOCW, 0)
        walk.go(state.ETHERNET)
        return
    walk.go(LEAF + layers.DATA)


DISSECTORS: dict[int, Callable[[Walk], None]] = {
    state.SNAP: snap,
    state.LOOPBACK: loopback,
    state.SLOW: slow_protocols,
    state.PROFINET: profinet,
    state.OSI: osi,
    state.NETBIOS: netbios,
    state.IPX: ipx,
    state.VNTAG: port_extender,
    state.LLDP: lldp,
    state.PPPOED: discovery,
    state.EAPOL: eapol,
    state.CLOCK: clock,
    state.PSEUDO_WIRE: pseudo_wire,
}
