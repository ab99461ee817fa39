"""DTLS: TLS over UDP (RFC 6347, RFC 4347), opened where a key log holds the secrets of its session.

In: datagrams. Out: one `dtls` layer, behind it what opened records carry, and a `Tls` fact of a ClientHello that lies in
one piece. Records bring their own numbers, so one that was lost does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator

from analysis import layers
from analysis.named_tuples import NamedTuple
from analysis.protocols import tls
from analysis.protocols.coap import coap_rule
from analysis.protocols.datagram import Context, Datagram, Layers, Rule
from analysis.protocols.quic_rules import tls_fact
from analysis.protocols.tls_session import TLS11, TLS12, Session

HEADER = 13  # type, version 16, epoch 16, sequence number 48, length 16 (RFC 6347 4.1)
MESSAGE_HEADER = 12  # type, length 24, message 16, fragment's offset 24, its length 24 (RFC 6347 4.2.2)
HANDSHAKE, APPLICATION = 22, 23
TYPES = (20, 21, 22, 23, 24, 25)
VERSIONS = (0xFEFF, 0xFEFD, 0x0100)  # 1.0, 1.2, and OpenSSL's early 1.0
AS_TLS = {0xFEFF: TLS11, 0xFEFD: TLS12}  # whose keys and records they have
INSIDE: dict[int, Rule] = {5684: coap_rule}  # Wireshark's dtls.port table, what of it has a rule here


class Record(NamedTuple):
    """A record of a datagram, as captured."""

    kind: int
    epoch: int
    header: bytes
    body: bytes


class _Flow:
    """State of a flow: the session, once its ClientHello was one whose secrets are known."""

    def __init__(self) -> None:
        self.session: Session | None = None


def _is_record(data: bytes, length: int, at: int = 0) -> bool:
    return (
        at + HEADER <= len(data)
        and data[at] in TYPES
        and int.from_bytes(data[at + 1 : at + 3], "big") in VERSIONS
        and 0 < int.from_bytes(data[at + 11 : at + 13], "big") <= length - at - HEADER
    )


def dtls_heuristic(datagram: Datagram, context: Context) -> Layers | None:
    """A record header of a known type and version, whose length fits."""
    if not _is_record(datagram.data, datagram.length):
        return None
    context.claim(datagram, dtls_heuristic)
    _hello(datagram, context)
    data = datagram.data
    if data[0] == HANDSHAKE and data[3:5] == b"\0\0" and int.from_bytes(data[11:13], "big") < MESSAGE_HEADER:
        return datagram.ends_early(layers.DTLS)
    return datagram.whole(layers.DTLS) + (_opened(datagram, context) if context.key_log else [])


def dtls_rule(datagram: Datagram, context: Context) -> Layers | None:
    """On a port of its own DTLS takes every payload."""
    if _is_record(datagram.data, datagram.length):
        return dtls_heuristic(datagram, context)
    return datagram.whole(layers.DTLS)


def _hello(datagram: Datagram, context: Context) -> None:
    """An unfragmented ClientHello in the first record gives a `Tls` fact."""
    data = datagram.data
    if datagram.quoted or data[0] != HANDSHAKE or len(data) < 25 or data[13] != tls.CLIENT_HELLO:
        return
    size = int.from_bytes(data[14:17], "big")
    if data[19:22] != b"\0\0\0" or int.from_bytes(data[22:25], "big") != size:
        return  # a fragment
    hello = tls.client_hello(data[13:17] + data[25 : 25 + size])
    if hello is not None and (hello.dtls or data[1] == 0xFE):
        keyed = context.key_log.secrets(data[27:59]) is not None
        context.facts.add("tls", tls_fact(datagram, hello, None, "d")._replace(keyed=keyed))


def _opened(datagram: Datagram, context: Context) -> Layers:
    """What the records of a datagram carry, of a session whose secrets are known."""
    if datagram.quoted:
        return []
    flow = context.keep("dtls", datagram.flow, _Flow)
    direction = 0 if datagram.from_a else 1
    found: Layers = []
    for record in _records(datagram.data):
        if record.epoch == 0:
            if record.kind == HANDSHAKE:
                _handshake(record.body, direction, flow, context)
            continue
        text = flow.session.open_numbered(direction, record.header, record.body) if flow.session is not None else None
        if text and record.kind == APPLICATION:
            found += _inside(datagram, text, context)
    return found


def _records(data: bytes) -> Iterator[Record]:
    """The records of a datagram that are whole."""
    at = 0
    while _is_record(data, len(data), at):
        end = at + HEADER + int.from_bytes(data[at + 11 : at + 13], "big")
        yield Record(
            data[at], int.from_bytes(data[at + 3 : at + 5], "big"), data[at : at + HEADER], data[at + HEADER : end]
        )
        at = end


def _handshake(body: bytes, direction: int, flow: _Flow, context: Context) -> None:
    """Take randoms and cipher from hellos that lie in one piece."""
    at = 0
    while at + MESSAGE_HEADER <= len(body):
        size = int.from_bytes(body[at + 1 : at + 4], "big")
        piece = int.from_bytes(body[at + 9 : at + 12], "big")
        message = body[at : at + 4] + body[at + MESSAGE_HEADER : at + MESSAGE_HEADER + piece]
        at += MESSAGE_HEADER + piece
        if piece != size or len(message) < 4 + size:
            continue
        if message[0] == tls.CLIENT_HELLO:
            secrets = context.key_log.secrets(message[6:38])
            flow.session = Session(secrets, message[6:38], direction) if secrets is not None else None
        elif message[0] == tls.SERVER_HELLO and flow.session is not None:
            server = tls.server_hello(message)
            if server is not None and server.version in AS_TLS:
                flow.session.hello(message[6:38], AS_TLS[server.version], server.cipher, server.alpn)


def _inside(datagram: Datagram, text: bytes, context: Context) -> Layers:
    """The layers of one opened payload: by the server's port, else `data`."""
    rule = INSIDE.get(datagram.dst_port) or INSIDE.get(datagram.src_port)
    found = rule(datagram.carrying(text), context) if rule is not None else None
    return found if found is not None else [(layers.DATA, len(text))]
