"""Rules for protocols over UDP that are known by their port and a few bytes: mobile core, clocks, plants, games, caches.

In: datagrams of their ports (the table in datagram_rules). Out: layers, or None where the bytes are not theirs. One
function a protocol whose payload has layers of its own, one line a protocol for which a look is enough (`checked`).
"""

from __future__ import annotations

from collections.abc import Callable

from analysis import layers
from analysis.protocols.datagram import Context, Datagram, Layers, Rule


def checked(layer: int, fits: Callable[[bytes], bool], shows_from: int = 0) -> Rule:
    """A rule that takes what `fits`; below `shows_from` bytes its dissector ends before it has shown a layer."""

    def rule(datagram: Datagram, context: Context) -> Layers | None:
        data = datagram.data
        if len(data) < shows_from:
            return [(datagram.mark(), 0)]
        return datagram.whole(layer) if fits(data) else None

    return rule


# Message types of GTP version 0 and 1 (3GPP TS 29.060 7.1); the dissector refuses others.
GTP_TYPES = frozenset(
    (*range(1, 8), *range(16, 40), 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 70, *range(96, 106),
     *range(112, 122), 128, 129, 176, 177, *range(240, 242), 254, 255)
)  # fmt: skip


def gtp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """GTP control (3GPP TS 29.060 6, 29.274 5.1): version and protocol type stand in the first byte."""
    data = datagram.data
    if len(data) < 8:
        return None
    version, is_gtp = data[0] >> 5, data[0] & 0x10
    if version == 2:
        return datagram.whole(layers.GTPV2)
    if version > 2:
        return None
    if data[1] not in GTP_TYPES:
        return None
    return datagram.whole(layers.GTP if is_gtp else layers.GTPPRIME)


def rmcp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """RMCP (DMTF DSP0136): a header of four bytes, then ASF or an IPMI session."""
    data = datagram.data
    if len(data) < 4:
        return None
    kind = data[3] & 0x1F
    if kind not in (6, 7, 8):
        return None
    rest = len(data) - 4
    if data[3] & 0x80 or not rest:
        return datagram.whole(layers.RMCP)
    if kind == 6:
        return [(layers.RMCP, 4), (layers.ASF, rest)]
    if kind == 8:
        return [(layers.RMCP, 4), (layers.DATA, rest)]
    session = 10 + (16 if data[4] and data[4] != 6 else 0)
    if data[4] == 6 or rest <= session:
        return [(layers.RMCP, 4), (layers.IPMI_SESSION, rest)]
    return [(layers.RMCP, 4), (layers.IPMI_SESSION, session), (layers.IPMB, rest - session)]


def rx_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Rx, the remote calls of AFS: a header of 28 bytes with a packet type."""
    data = datagram.data
    if len(data) < 28 or not 1 <= data[20] <= 13:
        return None
    return [(layers.RX, 28), (layers.AFS, len(data) - 28)] if data[20] == 1 else [(layers.RX, 28)]


def capwap_rule(datagram: Datagram, context: Context) -> Layers | None:
    """CAPWAP control (RFC 5415 4.2): preamble 1 means DTLS behind four bytes."""
    data = datagram.data
    if len(data) < 8:
        return datagram.ends_early(layers.CAPWAP)
    if data[0] & 15 == 1:
        return [(layers.CAPWAP, 4), (layers.DTLS, len(data) - 4)]
    return datagram.whole(layers.CAPWAP)


def sap_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Session announcements (RFC 2974 3): header, an optional payload type, a session description."""
    data = datagram.data
    size = 4 + (16 if data[:1] and data[0] & 0x10 else 4) + (4 * data[1] if len(data) > 1 else 0)
    if len(data) < size:
        return datagram.ends_early(layers.SAP)
    if data[size : size + 16] == b"application/sdp\0":
        size += 16
    if data[size : size + 2] != b"v=":
        return datagram.whole(layers.SAP)
    return [(layers.SAP, size), (layers.SDP, len(data) - size)]


def iax_rule(datagram: Datagram, context: Context) -> Layers | None:
    """IAX2 (RFC 5456 8): full frames, and mini frames whose voice is data."""
    data = datagram.data
    if len(data) < 4:
        return datagram.ends_early(layers.IAX2)
    if data[0] & 0x80 or data[:2] == b"\0\0" or len(data) == 4:
        return datagram.whole(layers.IAX2)
    return [(layers.IAX2, 4), (layers.DATA, len(data) - 4)]


def doip_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Diagnostics over IP (ISO 13400-2): version and its complement; diagnostic messages carry UDS."""
    data = datagram.data
    if len(data) < 8:
        return [(datagram.mark(), 0)]
    if data[0] ^ data[1] != 0xFF:
        return None
    if data[2:4] == b"\x80\x01" and len(data) > 12:
        return [(layers.DOIP, 12), (layers.UDS, len(data) - 12)]
    return datagram.whole(layers.DOIP)


def sebek_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Sebek: version 1 has a fixed header, then keystrokes as data."""
    data = datagram.data
    if len(data) < 48 or int.from_bytes(data[4:6], "big") in (2, 3):
        return datagram.whole(layers.SEBEK)
    return [(layers.SEBEK, 48), (layers.DATA, len(data) - 48)] if len(data) > 48 else datagram.whole(layers.SEBEK)


def zep_rule(datagram: Datagram, context: Context) -> Layers | None:
    """ZigBee encapsulation: "EX", version 1 or 2, a header, an IEEE 802.15.4 frame."""
    data = datagram.data
    if data[:2] != b"EX" or len(data) < 4:
        return None
    size = 16 if data[2] == 1 else 8 if data[3] == 2 else 32
    if data[2] not in (1, 2) or len(data) <= size:
        return datagram.whole(layers.ZEP)
    return [(layers.ZEP, size), (layers.WPAN, len(data) - size)]


def babel_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Babel (RFC 8966 4.2), version 2; other versions are swallowed without a layer, as Wireshark does."""
    data = datagram.data
    if len(data) < 4 or data[0] != 42:
        return None
    return datagram.whole(layers.BABEL) if data[1] == 2 else []


def xdmcp(data: bytes) -> bool:
    """X display manager control: version 1."""
    return len(data) >= 6 and data[:2] == b"\0\1"


def wccp(data: bytes) -> bool:
    """Web cache coordination: message types 7 to 13."""
    return len(data) >= 8 and data[:3] == b"\0\0\0" and 7 <= data[3] <= 13


def slimp3(data: bytes) -> bool:
    """Slim devices: the letter of a message."""
    return len(data) >= 2 and data[:1] in (b"d", b"D", b"i", b"h", b"m", b"p", b"s", b"2", b"l")


def omron(data: bytes) -> bool:
    """Omron FINS: a reserved second byte of zero."""
    return len(data) >= 10 and data[1] == 0


def hart_ip(data: bytes) -> bool:
    """HART-IP: version 1 (or 0) and a header of eight bytes."""
    return len(data) >= 8 and data[0] <= 1 and data[1] <= 2


def neighbour_discovery(data: bytes) -> bool:
    """MikroTik's discovery: a header of four bytes and then types below 32."""
    return len(data) >= 8 and data[4] == 0 and data[5] < 32


def edonkey(data: bytes) -> bool:
    """eDonkey, eMule and Kademlia: the protocol byte."""
    return len(data) >= 2 and data[0] in (0xE3, 0xC5, 0xD4, 0xE4, 0xE5)


def aodv(data: bytes) -> bool:
    """Ad hoc distance vector (RFC 3561 5): message types 1 to 4, and those of its IPv6 draft."""
    return 1 <= data[0] <= 4 or 16 <= data[0] <= 19


def megaco(data: bytes) -> bool:
    """Megaco as text (RFC 3525): its version token, long or short."""
    return data.startswith((b"MEGACO/", b"!/"))


def lisp(data: bytes) -> bool:
    """LISP control (RFC 9301 5.1): message types 1 to 4."""
    return len(data) >= 8 and 1 <= data[0] >> 4 <= 4


def mobile_ip(data: bytes) -> bool:
    """Mobile IPv4 (RFC 5944 3.3, 3.4): registration request and reply."""
    return data[0] in (1, 3) and len(data) >= 20


def cups(data: bytes) -> bool:
    """CUPS browsing: a printer's type and state as hexadecimal numbers."""
    words = data[:32].split(b" ")
    return len(words) > 1 and bool(words[0]) and all(letter in b"0123456789abcdefABCDEF" for letter in words[0])
