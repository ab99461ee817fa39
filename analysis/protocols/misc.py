"""Protocols above TCP that need a line each: framed by one length field, or a layer per segment.

In: nothing. Out: dissectors for the registry, made by framing.py. What needs more than a row has a module of its own.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import vpn
from analysis.protocols.framing import Framing, segments, units
from analysis.protocols.pdu import ONE_MORE, Pdu, framed


def _is_diameter(pdu: Pdu) -> bool:
    """RFC 6733 3: version 1, and no reserved command flag."""
    data = pdu.data
    return len(data) < 5 or (data[0] == 1 and data[1:4] != b"\0\0\0" and data[4] & 0x0F == 0)


dissect_diameter = units(layers.DIAMETER, Framing(4, 1, 3), _is_diameter)
dissect_tacplus = units(layers.TACPLUS, Framing(12, 8, 4, "big", 12))
dissect_ajp13 = units(layers.AJP13, Framing(4, 2, 2, "big", 4))
dissect_ldp = units(layers.LDP, Framing(4, 2, 2, "big", 4), lambda pdu: len(pdu.data) < 2 or pdu.be16(0) == 1)


def _openvpn(pdu: Pdu) -> None:
    """A packet; the last piece of a control message shows its TLS."""
    pdu.add(layers.OPENVPN)
    packet = pdu.data[2:]
    at = vpn.control_payload(packet) if packet and packet[0] >> 3 == vpn.CONTROL_V1 else -1
    if not 0 < at < len(packet):
        return
    kept: bytearray = pdu.stream.state.setdefault(("openvpn", pdu.direction), bytearray())
    if len(kept) < vpn.MAX_TLS_BYTES:
        kept += packet[at:]
    if len(packet) - at != vpn.FRAGMENT:
        pdu.add(layers.TLS, len(kept))
        kept.clear()


def dissect_openvpn(pdu: Pdu) -> bool:
    """OpenVPN over TCP: packets behind a length of two bytes."""
    return framed(pdu, 2, Framing(2, 0, 2, "big", 2).size, _openvpn)


dissect_rmi = segments(layers.RMI)
dissect_nntp = segments(layers.NNTP)
dissect_rsh = segments(layers.RSH)
dissect_exec = segments(layers.EXEC)
dissect_gopher = segments(layers.GOPHER)
dissect_rsync = segments(layers.RSYNC)
dissect_msnms = segments(layers.MSNMS)
dissect_chargen = segments(layers.CHARGEN)
dissect_dns = units(layers.DNS, Framing(2, 0, 2, "big", 2), lambda pdu: pdu.length < 2 or pdu.be16(0) >= 12)
SKINNY_VERSIONS = (0, 0x0A, 0x0B, 0x0F, *range(0x11, 0x17))
dissect_skinny = units(
    layers.SKINNY,
    Framing(4, 0, 4, "little", 8),
    lambda pdu: len(pdu.data) >= 8 and pdu.le32(0) >= 4 and pdu.le32(4) in SKINNY_VERSIONS,
)


def _x11_size(pdu: Pdu, at: int) -> int:
    """Set-up request 12 bytes and the authorisation; anything else as it comes."""
    return pdu.length - at


def dissect_x11(pdu: Pdu) -> bool:
    """X11: one layer per segment."""
    return framed(pdu, 1, _x11_size, lambda unit: unit.add(layers.X11))


SIP_METHODS = (
    b"INVITE ", b"ACK ", b"BYE ", b"CANCEL ", b"REGISTER ", b"OPTIONS sip", b"PRACK ", b"SUBSCRIBE ", b"NOTIFY ",
    b"PUBLISH ", b"INFO ", b"REFER ", b"MESSAGE ", b"UPDATE ", b"SIP/2.0 ",
)  # fmt: skip
RTSP_STARTS = (
    b"DESCRIBE ", b"SETUP ", b"PLAY ", b"PAUSE ", b"TEARDOWN ", b"OPTIONS ", b"ANNOUNCE ", b"GET_PARAMETER ",
    b"SET_PARAMETER ", b"RECORD ", b"REDIRECT ", b"RTSP/",
)  # fmt: skip


def looks_like_sip(data: bytes) -> bool:
    """A request line with a SIP method and the version (where it is whole), or a SIP status line."""
    line, end, _ = data.partition(b"\n")
    return data.startswith(SIP_METHODS) and (not end or line.startswith(b"SIP/") or b" SIP/" in line)


def _text_size(pdu: Pdu, at: int) -> int:
    """Header section and Content-Length of a message in HTTP's manner; 0 where the headers are not complete."""
    end = pdu.data.find(b"\r\n\r\n", at)
    if end < 0:
        return 0
    size = end + 4 - at
    for line in pdu.data[at:end].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.strip().lower() in (b"content-length", b"l") and value.strip().isdigit():
            size += min(int(value.strip()[:9]), 1 << 24)
    return size


def _sip(pdu: Pdu) -> None:
    pdu.add(layers.SIP)
    _media(pdu)


def _media(pdu: Pdu) -> None:
    """Hand on the session description of a message: a part of it, as Wireshark shows it, no layer of its own."""
    end = pdu.data.find(b"\r\n\r\n")
    if end >= 0 and len(pdu.data) > end + 4 and b"application/sdp" in pdu.data[:end].lower():
        pdu.stream.shared.announce_media(pdu.data[end + 4 :])


def dissect_sip(pdu: Pdu) -> bool:
    """SIP over TCP (RFC 3261 18.3)."""
    if not looks_like_sip(pdu.data):
        return False
    return framed(pdu, 4, _text_size, _sip)


def dissect_sip_port(pdu: Pdu) -> bool:
    """The same on its port, where lines continue a message that nobody saw and other bytes show nothing."""
    if dissect_sip(pdu):
        return True
    if b"\n" not in pdu.data and pdu.whole:
        pdu.wish(0, ONE_MORE)
    elif pdu.data[:1].isalnum():
        pdu.add(layers.SIP)
    return True


def _rtsp(pdu: Pdu) -> None:
    pdu.add(layers.RTSP)
    _media(pdu)


def dissect_rtsp(pdu: Pdu) -> bool:
    """RTSP (RFC 2326), with interleaved frames as part of it."""
    if pdu.data[:1] == b"$":
        pdu.add(layers.RTSP)
        return True
    if not pdu.data.startswith(RTSP_STARTS):
        pdu.add(layers.RTSP)
        return True
    if b"\r\n\r\n" not in pdu.data and pdu.whole:
        pdu.wish(0, ONE_MORE)
        return True
    return framed(pdu, 4, _text_size, _rtsp)
