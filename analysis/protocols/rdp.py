"""TPKT (RFC 1006) and what stands on it: COTP (ISO 8073) with T.125/RDP or S7comm, Q.931/H.225 and H.245.

In: bytes of connections to ports 102, 1720 and 3389, or with a TPKT header. Out: `tpkt`, `cotp`, `t125`, `rdp` … as
Wireshark nests them; RDP fast-path PDUs, which have no TPKT header, are `rdp`. The user name of an RDP cookie is a fact.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import logins, tls_records
from analysis.protocols.pdu import ONE_MORE, Cut, Malformed, Pdu

HEADER = 4
VERSION = 3
RDP_PORT, S7_PORT = 3389, 102
CONNECTION_REQUEST, CONNECTION_CONFIRM, DATA, DISCONNECT = 0xE0, 0xD0, 0xF0, 0x80
COOKIE = b"Cookie: mstshash="


def dissect(pdu: Pdu) -> bool:
    """TPKT packets; once a connection has shown one, other segments are RDP fast-path PDUs or continuations."""
    state = pdu.stream.state
    if "tpkt" not in state:
        if pdu.data[:1] != b"\x03" or pdu.data[1:2] not in (b"", b"\0"):
            return False
        state["tpkt"] = True
    return _packets(pdu, cotp)


def dissect_h225(pdu: Pdu) -> bool:
    """H.225 call signalling on port 1720: TPKT around Q.931."""
    if not starts(pdu.data):
        return False
    return _packets(pdu, q931)


def dissect_h245(pdu: Pdu) -> bool:
    """H.245 control channel: TPKT around PER."""
    if not starts(pdu.data):
        return False
    return _packets(pdu, lambda inner: inner.add(layers.H245))


def starts(data: bytes) -> bool:
    """A TPKT header with a length that can be."""
    return len(data) >= HEADER and data[0] == VERSION and data[1] == 0 and int.from_bytes(data[2:4], "big") >= 6


def _packets(pdu: Pdu, inside: object) -> bool:
    at = 0
    while at < pdu.length:
        left = pdu.length - at
        pdu.need(at, 1)
        if pdu.data[at] != VERSION or (left > 1 and len(pdu.data) > at + 1 and pdu.data[at + 1] != 0):
            _other(pdu, at)
            return True
        if left < HEADER:
            if pdu.whole:
                pdu.wish(at, ONE_MORE)
            else:
                pdu.add(layers.TPKT, left)
            return True
        size = pdu.be16(at + 2)
        if size < HEADER:
            pdu.add(layers.TPKT, left)
            return True
        if size > left and pdu.whole:
            pdu.wish(at, size - left)
            return True
        pdu.add(layers.TPKT, HEADER)
        inner = pdu.part(at + HEADER, min(size, left) - HEADER)
        try:
            inside(inner)  # type: ignore[operator]
        except Cut:
            pdu.add(layers.SHORT, 0)
        except Malformed:
            pdu.add(layers.MALFORMED, 0)
        at += size
    return True


def fast_path_size(data: bytes) -> int:
    """Length field of a fast-path PDU ([MS-RDPBCGR] 2.2.8.1.2), 0 where it is none."""
    if len(data) < 2 or data[0] & 3:
        return 0
    if not data[1] & 0x80:
        return data[1]
    return (data[1] & 0x7F) << 8 | data[2] if len(data) > 2 else 0


def _other(pdu: Pdu, at: int) -> None:
    data = pdu.data[at:]
    if RDP_PORT in (pdu.stream.a_port, pdu.stream.b_port) and fast_path_size(data) == pdu.length - at:
        pdu.add(layers.RDP, len(data))
        if data[0] & 0x80:  # encrypted: what follows reads as nonsense
            pdu.add(layers.MALFORMED, 0)
        return
    pdu.add(layers.TPKT, len(data))
    tls_records.look(pdu.part(at))  # agreed on by RDP: Wireshark keeps the first name, the hellos tell all the same


def cotp(pdu: Pdu) -> None:
    """One or more COTP TPDUs of a TPKT packet (class 0)."""
    header = 1 + pdu.u8(0)
    kind = pdu.u8(1) & 0xF0
    if kind == DATA:
        pdu.add(layers.COTP, header)
        pdu.need(2, 1)
        if pdu.length > header:
            pdu.need(header, 1)
            _above(pdu.part(header))
        return
    pdu.add(layers.COTP, min(header, pdu.length))
    _connection(pdu, header, kind)
    if header > pdu.length:
        raise Malformed


def _connection(pdu: Pdu, header: int, kind: int) -> None:
    """Variable part of CR and CC: on the RDP port a cookie and the negotiation."""
    if kind not in (CONNECTION_REQUEST, CONNECTION_CONFIRM) or pdu.length <= 7:
        return
    if RDP_PORT not in (pdu.stream.a_port, pdu.stream.b_port):
        return
    body = pdu.data[7:header]
    if body.startswith(COOKIE):
        pdu.add(layers.RDP, len(body))
        name = logins.text(body[len(COOKIE) :].split(b"\r")[0])
        logins.pending(pdu, "rdp", name, False, False)
    elif body[:1] in (b"\x01", b"\x02", b"\x03") and len(body) >= 8:
        pdu.add(layers.RDP, len(body))
    elif body:
        raise Malformed


def _above(pdu: Pdu) -> None:
    """User data of COTP: S7comm, or T.125 with RDP."""
    first = pdu.u8(0)
    if first == 0x32:
        pdu.add(layers.S7COMM)
    elif RDP_PORT in (pdu.stream.a_port, pdu.stream.b_port) or pdu.data[:2] in (b"\x7f\x65", b"\x7f\x66"):
        t125(pdu)
    elif pdu.data:
        pdu.add(layers.DATA)


def t125(pdu: Pdu) -> None:
    """MCS (T.125): connect PDUs are BER, domain PDUs PER; RDP rides in both."""
    first = pdu.u8(0)
    pdu.add(layers.T125)
    if first == 0x7F:
        start = _generic_conference(pdu.data)
        if start >= 0:
            pdu.add(layers.T124, pdu.length - start)
            inside = _client_data(pdu.data, start)
            if inside >= 0:
                pdu.add(layers.RDP, pdu.length - inside)
        return
    choice = first >> 2
    if choice in (25, 26) and pdu.length > 7:  # sendDataRequest, sendDataIndication
        length = pdu.u8(6)
        at = 7
        if length & 0x80:
            length = (length & 0x7F) << 8 | pdu.u8(7)
            at = 8
        pdu.add(layers.RDP, pdu.length - at)


def _generic_conference(data: bytes) -> int:
    """Where the T.124 connect data begins: its object identifier 0.0.20.124.0.1."""
    at = data.find(b"\x00\x05\x00\x14\x7c\x00\x01")
    return at


def _client_data(data: bytes, start: int) -> int:
    """Where RDP's own blocks begin: behind the H.221 key and a PER length."""
    for key in (b"Duca", b"McDn"):
        at = data.find(key, start)
        if at >= 0:
            at += 4
            if at < len(data):
                return at + (2 if data[at] & 0x80 else 1)
    return -1


def q931(pdu: Pdu) -> None:
    """Q.931 message with a user-user element that carries H.225."""
    pdu.add(layers.Q931)
    if pdu.u8(0) != 8:
        raise Malformed
    at = 2 + (pdu.u8(1) & 0x0F) + 1
    while at < pdu.length:
        element = pdu.u8(at)
        if element & 0x80:
            at += 1
            continue
        if element == 0x7E:
            size = pdu.be16(at + 1)
            if size > 1:
                pdu.add(layers.H225, min(size - 1, pdu.length - at - 4))
            _announce_h245(pdu, at)
            return
        at += 2 + pdu.u8(at + 1)


def _announce_h245(pdu: Pdu, at: int) -> None:
    """H.225 names the H.245 address; any later TPKT connection between the two hosts is taken for it."""
    pdu.stream.state["h323"] = True


__all__ = ["cotp", "dissect", "dissect_h225", "dissect_h245", "starts"]
