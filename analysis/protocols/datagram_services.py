"""Protocols over UDP that are known by their port and a look at their first bytes: the long tail, a row each.

In: datagrams of their ports. Out: `SERVICES` (port -> rule) for the table in datagram_rules. A row names the layer, the
sizes below which Wireshark's dissector ends early, and what makes it refuse; a protocol whose payload has layers of its
own is a function. Checks are what is needed to tell a protocol from another on its port.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols.datagram import Context, Datagram, Layers, Rule
from analysis.protocols.datagram_checks import checked
from analysis.protocols.datagram_heuristics import starting


def sized(layer: int, shows_from: int = 0, whole_from: int = 0) -> Rule:
    """A rule that takes every payload: from `shows_from` bytes the layer is there, from `whole_from` it is complete."""

    def rule(datagram: Datagram, context: Context) -> Layers | None:
        size = len(datagram.data)
        if size < shows_from:
            return [(datagram.mark(), 0)]
        if size < whole_from:
            return datagram.ends_early(layer)
        return datagram.whole(layer)

    return rule


def at_least(layer: int, size: int) -> Rule:
    """A rule that takes payloads of `size` bytes or more and refuses shorter ones."""
    return checked(layer, lambda data: len(data) >= size)


def headed(layer: int, header: int, start: bytes = b"", inner: int = layers.DATA) -> Rule:
    """A header of `header` bytes that begins with `start`, then a layer for the rest."""

    def rule(datagram: Datagram, context: Context) -> Layers | None:
        data = datagram.data
        if not data.startswith(start):
            return None
        if len(data) < header:
            return [(datagram.mark(), 0)]
        return [(layer, header), (inner, len(data) - header)] if len(data) > header else datagram.whole(layer)

    return rule


def ptp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Precision time (IEEE 1588 13.3): version 1 is a word, version 2 a nibble; other versions show no layer."""
    data = datagram.data
    if len(data) < 2:
        return [(datagram.mark(), 0)]
    return datagram.whole(layers.PTP) if data[1] & 15 == 2 or data[:2] == b"\0\1" else []


def olsr_rule(datagram: Datagram, context: Context) -> Layers | None:
    """OLSR (RFC 3626 3.3): the packet length is that of the datagram."""
    data = datagram.data
    if len(data) < 4 or int.from_bytes(data[:2], "big") != datagram.length:
        return None
    return datagram.whole(layers.OLSR)


# Offline messages of RakNet below 0x80; from there on a connected peer's frames and acknowledgements.
_RAKNET = frozenset((0, 1, 2, 3, 4, *range(5, 0x1D)))
_RAKNET_MAGIC = bytes.fromhex("00ffff00fefefefefdfdfdfd12345678")
_WITH_MAGIC = frozenset((1, 2, 5, 6, 7, 8, 0x11, 0x12, 0x14, 0x17, 0x19, 0x1A, 0x1C))


def raknet_rule(datagram: Datagram, context: Context) -> Layers | None:
    """RakNet on its port: a message kind that nobody knows shows no layer."""
    data = datagram.data
    if len(data) < 1:
        return None
    if data[0] >= 0x80:
        return datagram.whole(layers.RAKNET) if len(data) >= 4 else datagram.ends_early(layers.RAKNET)
    if data[0] not in _RAKNET or data[0] == 0:
        return []
    if data[0] in _WITH_MAGIC and _RAKNET_MAGIC not in data[:64]:
        return datagram.ends_early(layers.RAKNET)
    return datagram.whole(layers.RAKNET)


_CONNECTED = 0xB1


def io_rule(datagram: Datagram, context: Context) -> Layers | None:
    """EtherNet/IP's implicit messages (CIP volume 2, 2-6): a count, then items of type, length and value; connected data
    is CIP I/O."""
    data = datagram.data
    if len(data) < 2:
        return datagram.ends_early(layers.ENIP)
    at, found = 2, datagram.whole(layers.ENIP)
    for _ in range(min(int.from_bytes(data[:2], "little"), 16)):
        if at == len(data):
            break
        kind, size = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 4], "little")
        at += 4
        if kind == _CONNECTED and size:
            found.append((layers.CIPIO, max(0, min(size, len(data) - at))))
        at += size
        if at > len(data):
            return [*found, (datagram.mark(), 0)]
    return found


# Services that carry a cEMI frame, and the size of the headers before it.
_CEMI_SERVICES = {b"\x03\x10": 10, b"\x04\x20": 10, b"\x05\x30": 6}


def knx_rule(datagram: Datagram, context: Context) -> Layers | None:
    """KNXnet/IP: header length 6, version 0x10."""
    data = datagram.data
    if len(data) < 2:
        return [(datagram.mark(), 0)]
    if not data[0]:
        return []
    found = datagram.whole(layers.KIP)
    size = _CEMI_SERVICES.get(data[2:4], 0)
    if size and len(data) > size:
        found.append((layers.CEMI, len(data) - size))
    return found


def gprs_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Network service (3GPP TS 48.016 9): type 0 carries BSSGP behind four bytes."""
    data = datagram.data
    if data[:1] == b"\0" and len(data) > 4:
        return [(layers.GPRS_NS, 4), (layers.BSSGP, len(data) - 4)]
    return datagram.whole(layers.GPRS_NS)


def gsmtap_rule(datagram: Datagram, context: Context) -> Layers | None:
    """GSMTAP: 0 version | 1 header length in words | 2 type; what the radio channel carries is left as `data`."""
    data = datagram.data
    if len(data) < 16:
        return [(datagram.mark(), 0)]
    size = data[1] * 4
    if not 16 <= size < len(data):
        return datagram.whole(layers.GSMTAP)
    return [(layers.GSMTAP, size), (layers.DATA, len(data) - size)]


def modbus_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Modbus over UDP: the header of Modbus/TCP, protocol 0, a length of at least two."""
    data = datagram.data
    if len(data) < 8 or data[2:4] != b"\0\0" or int.from_bytes(data[4:6], "big") < 2:
        return None
    return [(layers.MBUDP, len(data)), (layers.MODBUS, len(data) - 7)]


_LSD_GROUP = (0, 0xEFC0988F)  # 239.192.152.143


def lsd_rule(datagram: Datagram, context: Context) -> Layers | None:
    """BitTorrent's local service discovery (BEP 14): lines to its group."""
    if datagram.dst_port != 6771 or (datagram.family == 4 and datagram.destination != _LSD_GROUP):
        return None
    return datagram.whole(layers.LSD) if b"\n" in datagram.data else None


def krb4(data: bytes) -> bool:
    """Kerberos 4: version 4 (24 of Transarc's), then a message type whose lowest bit is the byte order."""
    return len(data) >= 2 and data[0] in (4, 24) and data[1] >> 1 in (1, 2, 3, 4, 5, 6, 7, 8, 63)


def mosh(data: bytes) -> bool:
    """Mosh's state synchronisation: direction (1 bit), a sequence number that is never large, sealed bytes."""
    return len(data) >= 38 and int.from_bytes(data[:8], "big") & 0x7FFFFFFFFFFFFFFF <= 1 << 35


def oicq(data: bytes) -> bool:
    """Tencent QQ: a start byte."""
    return data[:1] == b"\x02" and len(data) >= 7


def icq(data: bytes) -> bool:
    """ICQ: version 2, 4 or 5 in a little-endian word."""
    return len(data) >= 10 and data[1] == 0 and data[0] in (2, 4, 5)


def lwapp_control(data: bytes) -> bool:
    """LWAPP control (RFC 5412 4): the C bit."""
    return len(data) >= 6 and bool(data[0] & 4)


_qq, _icq = checked(layers.OICQ, oicq), checked(layers.ICQ, icq)

SERVICES: dict[int, Rule] = {
    173: sized(layers.XYPLEX, 0, 8),
    319: ptp_rule,
    320: ptp_rule,
    464: sized(layers.KPASSWD, 2, 6),
    502: modbus_rule,
    698: olsr_rule,
    750: checked(layers.KRB4, krb4),
    921: sized(layers.LWRES, 4, 8),
    1755: at_least(layers.MSMMS, 20),
    2157: gprs_rule,
    2222: io_rule,
    2345: sized(layers.KNET, 0, 5),
    3000: at_least(layers.DIS, 12),
    3343: sized(layers.MSRCP, 4, 4),
    3357: sized(layers.AX4000, 0, 8),
    3671: knx_rule,
    3956: checked(layers.GVCP, lambda data: len(data) >= 8 and data[0] in (0x42, 0x00) and data[2:3] < b"\x40"),
    4000: _icq,
    4551: sized(layers.MIH, 0, 8),
    4713: starting(layers.SYNPHASOR, b"\xaa"),
    4729: gsmtap_rule,
    6160: at_least(layers.ECMP, 2),
    6771: lsd_rule,
    7075: at_least(layers.NANO, 8),
    8000: _qq,
    8116: starting(layers.CPHA, b"\x1a\x90", shortest=4),
    8200: sized(layers.ADP, 0, 4),
    8211: headed(layers.PAPI, 8, b"\x49\x72"),
    9214: sized(layers.DVB_IPDC),
    9877: at_least(layers.OPENSAFETY_UDP, 8),
    9901: sized(layers.ENRP, 0, 4),
    12220: sized(layers.LWAPP_L3, 0, 2),
    18246: starting(layers.EGD, b"\x0d\x01", shortest=32),
    19132: raknet_rule,
    19999: gprs_rule,
    60001: checked(layers.SSYNCP, mosh),
}
