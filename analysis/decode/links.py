"""The rarer link types: serial lines, field buses, USB, Bluetooth LE, netlink, IEEE 802.15.4 and other capture headers.

In: a `Walk` at the packet's first byte, the LINKTYPE_ number in `walk.type`. Out: the layers that Wireshark shows; a
link type that nobody here knows is `data` and the fault `unknown_link_type`.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis import layers
from analysis.columns import UNKNOWN_LINK_TYPE
from analysis.decode import state, wlan, wpan
from analysis.decode.state import FAULT, LEAF, TRAILER, TYPE
from analysis.decode.tables import LINKS as KERNEL_LINKS
from analysis.decode.walker import Walk


def link(walk: Walk) -> None:
    """Begin by link type; also the way back from capture headers that name another link type."""
    kind = walk.type
    if kind in KERNEL_LINKS:
        walk.s[TRAILER] = -1
        walk.go(KERNEL_LINKS[kind])
    elif kind in LINKS:
        LINKS[kind](walk)
    else:
        walk.s[FAULT] |= UNKNOWN_LINK_TYPE
        walk.data_rest()


JUNIPER_NO_LINK = 2  # flag: the link header was taken off
OSI_NLPIDS = (0x81, 0x82, 0x83)  # ISO/IEC TR 9577: CLNP, ES-IS, IS-IS


# Types that Cisco's framing knows; `0xfefe` is OSI.
CISCO_TYPES = (0x0111, 0x0600, 0x0800, 0x2000, 0x4242, 0x6003, 0x6558, 0x8035, 0x8038, 0x809B, 0x80F3, 0x8137, 0x86DD,
               0x8847, 0x8848, 0xFEFE)  # fmt: skip


def _padded_osi(walk: Walk) -> None:
    """OSI, perhaps behind a byte of padding."""
    if walk.u8(0) not in OSI_NLPIDS:
        walk.skip(1)
    walk.go(state.OSI)


def cisco_hdlc(walk: Walk) -> None:
    """0 address | 1 control | 2 ethertype (2). OSI (0xfefe) may stand behind a byte of padding."""
    kind = walk.u16(2)
    walk.layer(layers.CHDLC, 4)
    if kind == 0xFEFE:
        _padded_osi(walk)
        return
    if kind == 0x2000:
        walk.rest(layers.CDP)
    elif kind == 0x8035:
        walk.name(layers.SLARP, min(walk.left, 14))
        walk.need(14)
    else:
        walk.go(state.ETHERTYPE, kind)


def _circuit(address: bytes) -> int:
    """The data link connection of a Q.922 address of 2 to 4 bytes; 0 is the one for signalling."""
    number = address[0] >> 2 << 4 | address[1] >> 4
    if len(address) == 4:
        number = number << 7 | address[2] >> 1
    if len(address) > 2 and not address[-1] & 2:
        number = number << 6 | address[-1] >> 2
    return number


def frame_relay(walk: Walk) -> None:
    """Q.922 address (2, or until the extension bit), then RFC 2427 control 3 and NLPID, or Cisco's ethertype (2)."""
    size = 2
    while size < 4 and not walk.u8(size - 1) & 1:
        size += 1
    if walk.u8(size) == 3:
        at = size + 1
        if walk.u8(at) == 0:
            at += 1
        nlpid = walk.u8(at)
        if nlpid == 0x80:
            oui, kind = walk.u16(at + 1) << 8 | walk.u8(at + 3), walk.u16(at + 4)
            walk.layer(layers.FR, at + 6)
            if oui == 0:
                walk.go(state.ETHERTYPE, kind)
            else:
                walk.go(state.SNAP, oui << 16 | kind)
            return
        if nlpid in OSI_NLPIDS:  # which count it as theirs
            walk.layer(layers.FR, at)
            walk.go(state.OSI)
            return
        walk.layer(layers.FR, at + 1)
        walk.go({0xCC: state.IPV4, 0x8E: state.IPV6, 0xCF: state.PPP}.get(nlpid, LEAF + layers.DATA))
        return
    kind = walk.u16(size)
    if kind in CISCO_TYPES:
        walk.layer(layers.FR, size + 2)
        if kind == 0xFEFE:
            _padded_osi(walk)
        else:
            walk.go(state.ETHERTYPE, kind)
        return
    at = size + (1 if walk.u8(size) == 0 else 0)  # padding, a control field, and then perhaps what RFC 2427 numbers
    at += 1 if walk.u8(at) & 3 == 3 else 2
    if _circuit(walk.octets(0, size)) and walk.left > at and walk.u8(at) in OSI_NLPIDS:
        walk.layer(layers.FR, at)
        walk.go(state.OSI)
    else:
        walk.name(layers.FR, walk.left)
        walk.skip(size)
        walk.data_rest()


ARCNET_BARE = (0x80, 0xCD, 0xF0, 0xF1)  # diagnosis, BACnet, and RFC 1051's IP and ARP


def arcnet(walk: Walk) -> None:
    """0 source | 1 destination | (Linux: 2 offset (2)) | protocol; RFC 1201 protocols have a split flag and a number (2) more."""
    size = 5 if walk.type == 129 else 3
    protocol = walk.u8(size - 1)
    if protocol not in ARCNET_BARE:
        size += 3
    walk.layer(layers.ARCNET, size)
    walk.go(
        {
            0xF0: state.IPV4, 0xF1: state.ARP, 212: state.IPV4, 213: state.ARP, 214: state.ARP, 0xC4: state.IPV6,
            221: LEAF + layers.DDP, 236: state.IPX, 247: LEAF + layers.VINES_IP, 250: state.IPX, 205: state.LLC,
        }.get(protocol, LEAF + layers.DATA)
    )  # fmt: skip


def fddi(walk: Walk) -> None:
    """0 frame control | 1 destination (6) | 7 source (6); LLC frames have control 0x50 to 0x57."""
    control = walk.u8(0)
    walk.layer(layers.FDDI, 13)
    walk.go(state.LLC if control & 0xF8 == 0x50 else LEAF + layers.DATA)


def classical_ip(walk: Walk) -> None:
    """LINKTYPE_LINUX_CLIP: nothing, or LLC/SNAP, before an IP packet."""
    walk.name(layers.CLIP, 0)
    if walk.left >= 3 and walk.octets(0, 3) == b"\xaa\xaa\x03":
        walk.go(state.LLC)
    else:
        walk.go(state.IP_ANY)


def signalling_link(walk: Walk) -> None:
    """MTP2 (Q.703): 0 backward number | 1 forward number | 2 length (6 bits); MTP3 (Q.704): 0 service | 1 routing label (4)."""
    if walk.type == 139:
        walk.skip(4)
    length = walk.u8(2) & 63
    walk.layer(layers.MTP2, 3)
    if length <= 2:
        walk.done()
        return
    message_transfer(walk)


def message_transfer(walk: Walk) -> None:
    """MTP3: the service indicator names the user part."""
    service = walk.u8(0) & 15
    walk.layer(layers.MTP3, 5)
    user = {3: layers.SCCP, 5: layers.ISUP, 13: layers.BICC}.get(service)
    if user is None:
        walk.data_rest()
    else:
        walk.rest(user)


def can(walk: Walk) -> None:
    """LINKTYPE_CAN_SOCKETCAN: 0 flags (3 bits), id (29) | 4 length | 8 data. Standard id 0 is AUTOSAR's default."""
    head, size = walk.u32(0), walk.u8(4)
    walk.name(layers.CAN, walk.left)
    walk.skip(8)
    size = min(size, walk.left)
    if head & 0x20000000 or size == 0:  # an error frame
        return
    number = head & (0x1FFFFFFF if head & 0x80000000 else 0x7FF)
    walk.trim(size)
    if number == 0 and not head & 0x40000000:
        walk.rest(layers.AUTOSAR_NM)
    else:
        walk.data_rest()


def usb(walk: Walk) -> None:
    """USBPcap: 0 header length (2, little endian); Linux usbmon: 48 or 64 bytes. What rides on it is not told apart."""
    size = {189: 48, 220: 64}.get(walk.type)
    if size is None:
        size = walk.le16(0)
    walk.layer(layers.USB, size)
    walk.payload()
    walk.done()


def bluetooth_le(walk: Walk) -> None:
    """LINKTYPE_BLUETOOTH_LE_LL (251) and with RF information (256, 10 bytes): access address (4) | header (2) | data | CRC (3).

    On data channels: header bits 0-1 = 2 begins an L2CAP message: 0 length (2) | 2 channel (2), little endian.
    """
    walk.name(layers.BLUETOOTH, walk.left)
    if walk.type == 256:
        walk.name(layers.BTLE_RF, walk.left)
        walk.skip(10)
    walk.name(layers.BTLE, walk.left)
    address = walk.le32(0)
    head, size = walk.u8(4), walk.u8(5)
    walk.skip(6)
    if address == 0x8E89BED6 or head & 3 != 2 or size < 4 or size > walk.left:
        return
    length, channel = walk.le16(0), walk.le16(2)
    if length + 4 != size:  # the first piece of a longer message, or encrypted
        return
    walk.name(layers.BTL2CAP, size)
    user = {4: layers.BTATT, 6: layers.BTSMP}.get(channel)
    if user is not None:
        walk.name(user, length)


def netlink(walk: Walk) -> None:
    """LINKTYPE_NETLINK: 14 family (2) of a cooked header of 16 bytes."""
    family = walk.u16(14)
    walk.layer(layers.NETLINK, 16)
    if family == 0:
        walk.rest(layers.NETLINK_ROUTE)
    else:
        walk.data_rest()


def netfilter_log(walk: Walk) -> None:
    """LINKTYPE_NFLOG: 0 family | 1 version | 2 group (2) | records: length (2), type (2; host order), value padded to 4; 9 is the packet."""
    family = walk.u8(0)
    walk.name(layers.NFLOG, walk.left)
    walk.skip(4)
    while walk.left >= 4:
        little, big = walk.octets(0, 4), walk.left
        size, kind = int.from_bytes(little[:2], "little"), int.from_bytes(little[2:], "little")
        if size > big:  # written by a big-endian host
            size, kind = int.from_bytes(little[:2], "big"), int.from_bytes(little[2:], "big")
        if size < 4:
            return
        if kind == 9:
            walk.skip(4)
            walk.trim(size - 4)
            walk.go({2: state.IPV4, 10: state.IPV6}.get(family, LEAF + layers.DATA))
            return
        walk.skip(min((size + 3) // 4 * 4, walk.left))


def packet_tap(walk: Walk) -> None:
    """Apple's PKTAP: 0 header length (4) | 4 record type | 8 link type (4), little endian."""
    size, kind = walk.le32(0), walk.le32(8)
    walk.layer(layers.PKTAP, size)
    walk.s[TYPE] = kind
    link(walk)


def user(walk: Walk) -> None:
    """LINKTYPE_USER0 to 15: Wireshark has no table entry for them but PKTAP in USER2."""
    walk.name(layers.USER_DLT, walk.left)
    if walk.type == 149:
        packet_tap(walk)
    else:
        walk.data_rest()


def _juniper_header(walk: Walk) -> int:
    """Skip Juniper's header, which is no layer of its own: 0 "MGC" | 3 flags (0x80: extensions follow, 4 their length (2)).

    Returns the flags.
    """
    flags = walk.u8(3)
    walk.skip(6 + walk.u16(4) if flags & 0x80 else 4)
    return flags


def juniper_ethernet(walk: Walk) -> None:
    """Juniper's header, then the Ethernet frame."""
    walk.go(state.ETHERNET if not _juniper_header(walk) & JUNIPER_NO_LINK else LEAF + layers.DATA)


def juniper_atm(walk: Walk) -> None:
    """Juniper's header | cookie (4; 8 of ATM2) | an LLC header, or IP at once."""
    second = walk.type == 135
    if _juniper_header(walk) & JUNIPER_NO_LINK:
        walk.go(LEAF + layers.DATA)
        return
    walk.need(8)
    cell = walk.u32(4) & 0x70 if second else walk.u8(0) == 0x80  # of the maintenance of the link
    walk.skip(8 if second else 4)
    head = walk.octets(0, 3)
    if cell:
        walk.go(LEAF + layers.DATA)
    elif head in (b"\xfe\xfe\x03", b"\xaa\xaa\x03"):
        walk.go(state.LLC)
    else:
        walk.go({4: state.IPV4, 6: state.IPV6}.get(head[0] >> 4, LEAF + layers.DATA))


def token_ring(walk: Walk) -> None:
    """IEEE 802.5: 0 access control | 1 frame control (1 in the upper two bits: LLC) | 2 destination (6) | 8 source (6;
    first bit: routing information follows, 14 its length (5 bits))."""
    control = walk.u8(1)
    size = 14 + (walk.u8(14) & 31 if walk.u8(8) & 0x80 else 0)
    walk.layer(layers.TR, size)
    walk.go(state.LLC if control >> 6 == 1 else LEAF + layers.DATA)


def solaris_ipnet(walk: Walk) -> None:
    """LINKTYPE_IPNET: 0 version | 1 family (2 or 26) | 4 packet length (4) | header of 24 bytes."""
    family = walk.u8(1)
    walk.layer(layers.IPNET, 24)
    code = {2: state.IPV4, 26: state.IPV6}.get(family)
    if code is not None:
        walk.go(code)


def whole(layer: int) -> Callable[[Walk], None]:
    """A link layer that takes the whole frame."""

    def dissect(walk: Walk) -> None:
        walk.rest(layer)

    return dissect


LINKS: dict[int, Callable[[Walk], None]] = {
    6: token_ring,
    7: arcnet,
    10: fddi,
    100: lambda walk: walk.go(state.LLC),  # RFC 1483 on ATM
    104: cisco_hdlc,
    106: classical_ip,
    107: frame_relay,
    129: arcnet,
    135: juniper_atm,
    137: juniper_atm,
    139: signalling_link,
    140: signalling_link,
    141: message_transfer,
    178: juniper_ethernet,
    189: usb,
    220: usb,
    226: solaris_ipnet,
    227: can,
    231: whole(layers.DBUS),
    235: whole(layers.DVB_CI),
    239: netfilter_log,
    249: usb,
    251: bluetooth_le,
    253: netlink,
    256: bluetooth_le,
    258: packet_tap,
    271: whole(layers.VSOCK),
    **dict.fromkeys(range(147, 163), user),
    **wlan.LINKS,
    **wpan.LINKS,
}

DISSECTORS: dict[int, Callable[[Walk], None]] = {state.LINK: link}
