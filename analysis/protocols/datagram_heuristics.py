"""Small protocols over UDP that are known by their first bytes, on any port.

In: datagrams that no port decided. Out: layers. Each function is what Wireshark's heuristic of that name asks, as far
as it can be seen from outside; families with a file of their own (VPN, calls, remote calls) keep theirs there.
"""

from __future__ import annotations

import numpy as np

from analysis import layers
from analysis.columns import Array
from analysis.protocols import voip
from analysis.protocols.datagram import Context, Datagram, Layers, Rule


def starting(layer: int, *starts: bytes, shortest: int = 0) -> Rule:
    """A rule that takes payloads which begin with one of `starts` and refuses others."""

    def rule(datagram: Datagram, context: Context) -> Layers | None:
        data = datagram.data
        return datagram.whole(layer) if datagram.length >= shortest and data.startswith(starts) else None

    return rule


def wake_on_lan(datagram: Datagram, context: Context) -> Layers | None:
    """Six bytes of ones, then the target's address sixteen times; a password of 4 or 6 bytes may follow."""
    data = datagram.data
    if len(data) < 102 or data[:6] != b"\xff" * 6 or data[6:102] != data[6:12] * 16:
        return None
    return [(layers.WOL, len(data) if len(data) in (106, 108) else 102)]


def dht(datagram: Datagram, context: Context) -> Layers | None:
    """BitTorrent's distributed hash table (BEP 5): a bencoded dictionary that begins as its messages do."""
    data = datagram.data
    if len(data) < 5 or data[0] != 0x64:
        return None
    if (data[1:3] == b"1:" and data[3] in b"aer") or data[1:5] == b"2:ip":
        context.claim(datagram, dht)
        return datagram.whole(layers.BT_DHT)
    return None


TS_PACKET = 188  # ISO 13818-1 2.4.3


def transport_stream(datagram: Datagram, context: Context) -> Layers | None:
    """MPEG transport stream: whole packets, a sync byte at the beginning of each."""
    data = datagram.data
    count = len(data) // TS_PACKET
    if not count or len(data) % TS_PACKET or data[::TS_PACKET] != b"\x47" * count:
        return None
    return [(layers.MP2T, TS_PACKET)] * count


_RAKNET_MAGIC = bytes.fromhex("00ffff00fefefefefdfdfdfd12345678")


def raknet(datagram: Datagram, context: Context) -> Layers | None:
    """RakNet's unconnected messages carry a fixed sixteen-byte magic; the flow is then its."""
    data = datagram.data
    if len(data) < 17 or data[0] not in (1, 2, 5, 6, 7, 8, 0x1C) or _RAKNET_MAGIC not in data[1:41]:
        return None
    context.claim(datagram, _raknet_flow)
    return datagram.whole(layers.RAKNET)


def _raknet_flow(datagram: Datagram, context: Context) -> Layers | None:
    return datagram.whole(layers.RAKNET)


def udt(datagram: Datagram, context: Context) -> Layers | None:
    """A handshake of UDT (version 4) or SRT (version 4 or 5) opens a flow of that protocol."""
    data = datagram.data
    if len(data) < 48 or data[:4] != b"\x80\0\0\0" or data[16:19] != b"\0\0\0" or data[19] not in (4, 5):
        return None
    layer = layers.UDT if data[19] == 4 else layers.SRT
    context.settle(datagram, layer)
    return datagram.whole(layer)


def dns_anywhere(rule: Rule) -> Rule:
    """DNS on a port of nobody: a standard query of one question, or an answer to at most one (RFC 1035 4.1.1)."""

    def heuristic(datagram: Datagram, context: Context) -> Layers | None:
        data = datagram.data
        if len(data) < 12 or data[2] & 0x78 or data[4]:
            return None
        if data[2] & 0x80:
            fits = data[5] <= 1
        else:
            fits = data[5] == 1 and data[6:10] == b"\0\0\0\0"
        return rule(datagram, context) if fits else None

    return heuristic


RTPS = starting(layers.RTPS, b"RTPS", shortest=16)
THRIFT = starting(layers.THRIFT, b"\x80\x01\x00\x01", b"\x80\x01\x00\x02", b"\x80\x01\x00\x03", b"\x80\x01\x00\x04")
GIOP = starting(layers.GIOP, b"GIOP\x01", shortest=12)
ARTNET = starting(layers.ARTNET, b"Art-Net\0", shortest=9)
ICEP = starting(layers.ICEP, b"IceP", shortest=14)
PROXY = starting(layers.PROXY, b"PROXY ", bytes.fromhex("0d0a0d0a000d0a515549540a"), shortest=8)
APPLEMIDI = starting(layers.APPLEMIDI, b"\xff\xffIN", b"\xff\xffNO", b"\xff\xffOK", b"\xff\xffBY", b"\xff\xffCK")
PKTGEN = starting(layers.PKTGEN, bytes.fromhex("be9be955"), shortest=16)


# Which payloads a heuristic could accept, by their first two bytes: (first bytes, second bytes), None is any.
_BEGINNINGS: tuple[tuple[tuple[int, ...] | range, tuple[int, ...] | range | None], ...] = (
    (range(9), None),  # STUN, RakNet, WireGuard, DCE/RPC
    ((0x09, 0x0D), None),  # Google's QUIC with a version
    (range(20, 26), (0xFE, 0x01)),  # DTLS
    ((0x47,), None),  # MPEG transport streams, GIOP
    (range(0x80, 0xC0), voip.REPORTS),  # RTCP
    (range(0x80, 0x100), (0x00, 0x51, 0x54, 0x6B, 0xFA, 0xFF, *range(0x0A, 0x100, 0x10))),  # QUIC
    ((0xFF,), (0xFF,)),  # Wake on LAN, AppleMIDI
    *(
        ((word[0],), (word[1],))
        for word in (
            *voip.SIP_METHODS,
            *(b"SIP/", b"d1", b"d2", b"RTPS", b"Art-Net", b"IceP", b"PROXY", b"\x0d\x0a", b"\xbe\x9b", b"\x80\x01"),
        )
    ),
)


def beginnings() -> Array:
    """bool[65536]: the first two bytes (big-endian) that one of the heuristics could accept.

    A flow that nobody recognised is only read again where its payload begins so. ONC RPC and DNS are left out: they
    begin with any bytes, and their flows are recognised by the first packets.
    """
    table = np.zeros((256, 256), bool)
    for firsts, seconds in _BEGINNINGS:
        table[np.array(firsts)[:, None], np.arange(256) if seconds is None else np.array(seconds)] = True
    return table.reshape(-1)
