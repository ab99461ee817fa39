"""Message brokers and presence over TCP: AMQP, MQTT, XMPP, IRC.

In: bytes of connections on the protocols' ports. Out: one layer per message or segment; logins as facts.
"""

from __future__ import annotations

from analysis import layers
from analysis.protocols import logins
from analysis.protocols.pdu import ONE_MORE, Pdu, framed

# ---------------------------------------------------------------------------------------------------- AMQP

AMQP = b"AMQP"


def _amqp_size(pdu: Pdu, at: int) -> int:
    """Protocol header 8 bytes; 0-9-1 frames: type, channel, size, payload, end octet; 1.0 frames: size first."""
    pdu.need(at, 7)
    if pdu.data[at : at + 4] == AMQP:
        if pdu.length - at >= 8:
            pdu.need(at, 8)
            pdu.stream.state["amqp_1"] = pdu.data[at + 5] == 1 and pdu.data[at + 6] == 0
        return 8
    if pdu.stream.state.get("amqp_1"):
        return pdu.be32(at)
    return 8 + pdu.be32(at + 3)


def _amqp(pdu: Pdu) -> None:
    pdu.add(layers.AMQP)
    data = pdu.data
    if data[:1] == b"\x01" and data[7:11] == b"\x00\x0a\x00\x0b" and b"PLAIN" in data[-512:]:
        response = data[data.find(b"PLAIN") + 9 :].split(b"\0")
        logins.pending(pdu, "amqp", logins.text(response[1]) if len(response) > 2 else "", True)
    elif data[:1] == b"\x01" and data[7:11] == b"\x00\x0a\x00\x1e":
        logins.settle(pdu, True)
    elif data[:1] == b"\x01" and data[7:11] == b"\x00\x0a\x00\x32":
        logins.settle(pdu, False)


def dissect_amqp(pdu: Pdu) -> bool:
    """AMQP 0-9, 0-9-1 and 1.0."""
    return framed(pdu, 7, _amqp_size, _amqp)


# ---------------------------------------------------------------------------------------------------- MQTT

CONNECT, CONNACK = 1, 2


def _mqtt_size(pdu: Pdu, at: int) -> int:
    """Fixed header: type, then the remaining length in up to four bytes of seven bits."""
    value = 0
    for index in range(4):
        if at + 1 + index >= pdu.length:
            return 0
        byte = pdu.u8(at + 1 + index)
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return 2 + index + value
    return 0


def _mqtt(pdu: Pdu) -> None:
    pdu.add(layers.MQTT)
    kind = pdu.u8(0) >> 4
    if kind == CONNECT:
        _mqtt_connect(pdu)
    elif kind == CONNACK and len(pdu.data) >= 4:
        logins.settle(pdu, pdu.data[3] == 0)


def _mqtt_connect(pdu: Pdu) -> None:
    """User name and the fact of a password of a CONNECT packet."""
    at = 2
    while at < 5 and pdu.u8(at - 1) & 0x80:
        at += 1
    at += 2 + pdu.be16(at)
    version, flags = pdu.u8(at), pdu.u8(at + 1)
    at += 4
    if version == 5:
        at += 1 + pdu.u8(at)
    at += 2 + pdu.be16(at)
    if flags & 0x04:
        if version == 5:
            at += 1 + pdu.u8(at)
        at += 2 + pdu.be16(at)
        at += 2 + pdu.be16(at)
    if flags & 0x80:
        size = pdu.be16(at)
        logins.pending(pdu, "mqtt", logins.text(pdu.data[at + 2 : at + 2 + size]), bool(flags & 0x40))


def dissect_mqtt(pdu: Pdu) -> bool:
    """MQTT 3.1, 3.1.1 and 5.0."""
    return framed(pdu, 2, _mqtt_size, _mqtt)


# ---------------------------------------------------------------------------------------------------- IRC, XMPP


def dissect_irc(pdu: Pdu) -> bool:
    """IRC (RFC 1459): one layer per segment; PASS and NICK as a login."""
    pdu.add(layers.IRC)
    state = pdu.stream.state
    for line in pdu.data[:2048].split(b"\n", 16)[:16]:
        word, _, rest = line.strip().partition(b" ")
        word = word.upper()
        if word == b"PASS":
            state["irc_pass"] = True
        elif word == b"NICK" and state.pop("irc_pass", False):
            logins.pending(pdu, "irc", logins.text(rest), True)
        elif rest.startswith((b"001 ", b"464 ")):
            logins.settle(pdu, rest.startswith(b"001 "))
    return True


def looks_like_irc(data: bytes) -> bool:
    """First line of a registration."""
    return data.startswith((b"NICK ", b"USER ", b"PASS ", b"CAP LS"))


def dissect_xmpp(pdu: Pdu) -> bool:
    """XMPP (RFC 6120): stanzas of XML; one layer per segment, STARTTLS handed over."""
    if pdu.whole and pdu.data and not pdu.data.rstrip().endswith(b">"):
        pdu.wish(0, ONE_MORE)
        return True
    pdu.add(layers.XMPP)
    state = pdu.stream.state
    if b"<starttls" in pdu.data and pdu.stream.to_server(pdu.direction):
        state["xmpp_tls"] = True
    elif b"<proceed" in pdu.data and state.pop("xmpp_tls", False):
        pdu.stream.shared.start_tls(pdu)
    elif b"<auth" in pdu.data and b"PLAIN" in pdu.data:
        blob = pdu.data[pdu.data.find(b">", pdu.data.find(b"<auth")) + 1 :].split(b"<")[0]
        logins.pending(pdu, "xmpp", logins.plain_user(blob), True)
    elif b"<success" in pdu.data or b"<failure" in pdu.data:
        logins.settle(pdu, b"<success" in pdu.data)
    return True
