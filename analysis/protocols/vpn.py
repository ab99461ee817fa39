"""Rules for tunnels whose content is encrypted: IKE and ESP over UDP, OpenVPN, WireGuard.

In: datagrams. Out: layers. What is inside stays closed, except the handshake that travels in the open: OpenVPN's
control channel carries TLS, which leaves a `Tls` fact.
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
