"""Rules for tunnels whose content is encrypted: IKE and ESP over UDP, OpenVPN, WireGuard, DTLS.

In: datagrams. Out: layers. What is inside stays closed, except the handshakes that travel in the open: OpenVPN's
control channel carries TLS, DTLS begins with a ClientHello; they leave `Tls` facts.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import tls
from analysis.protocols.datagram import Context, Datagram, Layers
from analysis.protocols.quic_rules import tls_fact

# -- IPsec (RFC 7296 3.1, RFC 3948 2) --------------------------------------------------------------------------------

ISAKMP_HEADER = 28


def isakmp_rule(datagram: Datagram, context: Context) -> Layers | None:
    """IKE: a header whose length field covers at least itself."""
    found = _isakmp(datagram, datagram.data, datagram.length)
    return found


def _isakmp(datagram: Datagram, data: bytes, length: int) -> Layers | None:
    if length < ISAKMP_HEADER:
        return None
    if len(data) < ISAKMP_HEADER:
        return [(datagram.mark(), 0)]
    size = int.from_bytes(data[24:28], "big")
    if size < ISAKMP_HEADER:
        return None
    if size > len(data) or not _payloads_fit(data, size):
        return [(layers.ISAKMP, len(data)), (datagram.mark(), 0)]
    return [(layers.ISAKMP, len(data))]


_ENCRYPTED = 46  # RFC 7296 3.14; what follows its header is not to be read


def _payloads_fit(data: bytes, end: int) -> bool:
    """True where no payload of the chain reaches behind the message (RFC 7296 3.2); encrypted ones are not followed."""
    if data[17] >> 4 == 1 and data[19] & 1:
        return True
    kind, at = data[16], ISAKMP_HEADER
    for _ in range(64):
        if kind in (0, _ENCRYPTED) or at + 4 > end:
            return True
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 4:
            return True
        if at + size > end:
            return False
        kind, at = data[at], at + size
    return True


def udpencap_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Port 4500: a keep-alive of one byte, four zero bytes and IKE, or ESP."""
    data = datagram.data
    if datagram.length == 1 and data == b"\xff":
        return datagram.whole(layers.UDPENCAP)
    if len(data) < 4:
        return datagram.ends_early(layers.UDPENCAP)
    if data[:4] != b"\0\0\0\0":
        found = [(layers.UDPENCAP, 0), (layers.ESP, len(data))]
        return found if len(data) >= 8 else [*found, (datagram.mark(), 0)]
    rest = data[4:]
    if not rest:
        return datagram.whole(layers.UDPENCAP)
    inner = _isakmp(datagram, rest, datagram.length - 4)
    return [(layers.UDPENCAP, 4), *(inner or [(layers.DATA, len(rest))])]


# -- OpenVPN (its wire protocol document) ----------------------------------------------------------------------------

CONTROL_V1, _ACK_V1, _DATA_V1, _DATA_V2 = 4, 5, 6, 9
FRAGMENT = 100  # bytes of TLS in a control packet that is not the last of its message
MAX_TLS_BYTES = 65_536


def openvpn_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Port 1194: opcode and key id; control packets carry TLS in pieces, named where a message is complete."""
    data = datagram.data
    if not data:
        return None
    opcode = data[0] >> 3
    if opcode in (_DATA_V1, _DATA_V2):
        context.settle(datagram, layers.OPENVPN, 0xF800, opcode << 11)
        return datagram.whole(layers.OPENVPN)
    if not 1 <= opcode <= 11:
        return datagram.whole(layers.OPENVPN)
    at = control_payload(data)
    if at < 0:
        return datagram.ends_early(layers.OPENVPN)
    if opcode != CONTROL_V1 or at >= len(data):
        return datagram.whole(layers.OPENVPN)
    if datagram.quoted:
        return datagram.whole(layers.OPENVPN)
    kept = context.keep(f"openvpn{int(datagram.from_a)}", datagram.flow, bytearray)
    if len(kept) < MAX_TLS_BYTES:
        kept += data[at:]
    if len(data) - at == FRAGMENT:
        return datagram.whole(layers.OPENVPN)
    message = bytes(kept)
    kept.clear()
    if message[:1] == b"\x16" and message[5:6] == b"\x01":  # a record with a ClientHello (RFC 8446 5.1)
        hello = tls.client_hello(message[5 : 5 + int.from_bytes(message[3:5], "big")])
        if hello is not None:
            context.facts.add("tls", tls_fact(datagram, hello, None, "t"))
    return [(layers.OPENVPN, len(data)), (layers.TLS, len(message))]


def control_payload(data: bytes) -> int:
    """Where a control packet's TLS begins, -1 where its header is cut. With tls-auth, digest and ids come first."""
    at = 9  # opcode and session id
    if len(data) > at and data[at] > 8:  # more acknowledgements than a packet may hold: an HMAC stands here
        at += 20 + 8
    if len(data) <= at:
        return -1
    acknowledged = data[at]
    at += 1 + 4 * acknowledged + (8 if acknowledged else 0)
    if data[0] >> 3 != _ACK_V1:
        at += 4
    return at if at <= len(data) else -1


# -- WireGuard (its protocol page, messages 1 to 4) --------------------------------------------------------------------

_WG_SIZES = {1: 148, 2: 92, 3: 64}


def wireguard_heuristic(datagram: Datagram, context: Context) -> Layers | None:
    """A type, three zero bytes and the exact length of its message."""
    data, length = datagram.data, datagram.length
    if len(data) < 4 or data[1] or data[2] or data[3] or not 1 <= data[0] <= 4:
        return None
    if data[0] == 4:
        if length < 32:
            return None
        context.settle(datagram, layers.WG, 0xFFFF, 0x0400)
    elif length != _WG_SIZES[data[0]]:
        return None
    context.claim(datagram, wireguard_heuristic)
    if data[0] != 4 and len(data) < length:
        return datagram.ends_early(layers.WG)
    return datagram.whole(layers.WG)


# -- DTLS (RFC 6347 4.1) -----------------------------------------------------------------------------------------------

_DTLS_TYPES = (20, 21, 22, 23, 24, 25)
_DTLS_VERSIONS = (0xFEFF, 0xFEFD, 0x0100)  # 1.0, 1.2, and OpenSSL's early 1.0


def _dtls_record(data: bytes, length: int, at: int = 0) -> bool:
    return (
        at + 13 <= len(data)
        and data[at] in _DTLS_TYPES
        and int.from_bytes(data[at + 1 : at + 3], "big") in _DTLS_VERSIONS
        and 0 < int.from_bytes(data[at + 11 : at + 13], "big") <= length - at - 13
    )


def dtls_heuristic(datagram: Datagram, context: Context) -> Layers | None:
    """A record header of a known type and version, whose length fits."""
    if not _dtls_record(datagram.data, datagram.length):
        return None
    context.claim(datagram, dtls_heuristic)
    _dtls_hello(datagram, context)
    data = datagram.data
    if data[0] == 22 and data[3:5] == b"\0\0" and int.from_bytes(data[11:13], "big") < 12:  # no room for its header
        return datagram.ends_early(layers.DTLS)
    return datagram.whole(layers.DTLS)


def dtls_rule(datagram: Datagram, context: Context) -> Layers | None:
    """On a port of its own DTLS takes every payload."""
    if _dtls_record(datagram.data, datagram.length):
        return dtls_heuristic(datagram, context)
    return datagram.whole(layers.DTLS)


def _dtls_hello(datagram: Datagram, context: Context) -> None:
    """An unfragmented ClientHello in the first record gives a `Tls` fact."""
    data = datagram.data
    if datagram.quoted or data[0] != 22 or len(data) < 25 or data[13] != tls.CLIENT_HELLO:
        return
    size = int.from_bytes(data[14:17], "big")
    if data[19:22] != b"\0\0\0" or int.from_bytes(data[22:25], "big") != size:
        return  # a fragment
    hello = tls.client_hello(data[13:17] + data[25 : 25 + size])
    if hello is not None and (hello.dtls or data[1] == 0xFE):
        context.facts.add("tls", tls_fact(datagram, hello, None, "d"))
