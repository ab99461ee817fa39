"""Rules for QUIC and Google's QUIC over UDP, and the `Tls` facts of their hellos.

In: datagrams. Out: layers, a PDU per coalesced packet; one `Tls` row a connection, completed when the server's hello
is read, and the server's name for its address. Also makes the `Tls` rows of other handshakes in datagrams.
"""

from __future__ import annotations

from analysis import layers
from analysis.columns import address_text
from analysis.facts import Tls
from analysis.protocols import gquic, quic, tls
from analysis.protocols.datagram import MAX_ENDPOINTS, Context, Datagram, Layers

SHORTEST_ID = 4  # bytes of a connection id by which a moved connection is known again


def tls_fact(datagram: Datagram, hello: tls.ClientHello, server: tls.ServerHello | None, transport: str) -> Tls:
    """The row of a ClientHello; `transport` is JA4's letter: q QUIC, d DTLS, t TLS inside something else."""
    return Tls(
        number=datagram.number,
        time_ns=datagram.time_ns,
        flow=datagram.flow,
        sni=hello.sni,
        alpn=hello.alpn,
        client_version=hello.version,
        version=server.version if server else 0,
        cipher=server.cipher if server else 0,
        ja3=tls.ja3(hello),
        ja4=tls.ja4(hello, transport),
        quic=transport == "q",
        certificate_subject="",
        certificate_issuer="",
        not_before=0,
        not_after=0,
        self_signed=False,
        heartbeat=False,
    )


class _QuicFlow:
    """One QUIC flow: its handshake reader and the row of its fact, until the handshake is read."""

    __slots__ = ("connection", "first_from_a", "row")

    def __init__(self) -> None:
        self.connection = quic.Connection()
        self.first_from_a: bool | None = None
        self.row = -1


def quic_heuristic(datagram: Datagram, context: Context) -> Layers | None:
    """A long header of a known version begins a QUIC conversation (RFC 9000 17.2); short headers then belong to it."""
    data = datagram.data
    if data[:1] < b"\x80":
        return _migrated(datagram, context)
    if len(data) < 7:
        return None
    version = int.from_bytes(data[1:5], "big")
    if not quic.known_version(version):
        return None
    if quic.long_header(data) is None:
        return datagram.ends_early(layers.QUIC) if _ids_fit(data) else None
    context.claim(datagram, quic_rule)
    return quic_rule(datagram, context)


def _migrated(datagram: Datagram, context: Context) -> Layers | None:
    """A short header whose connection id was seen on another flow: the connection has moved (RFC 9000 9)."""
    data, ids = datagram.data, context.quic_ids
    if ids and data[0] & 0x40 and any(data[1 : 1 + size] in known for size, known in ids.items()):
        context.claim(datagram, quic_rule)
        return quic_rule(datagram, context)
    return None


def _remember_id(context: Context, scid: bytes) -> None:
    """Keep a connection id that its owner chose; short ones would match by chance."""
    if len(scid) >= SHORTEST_ID:
        known = context.quic_ids.setdefault(len(scid), set())
        if len(known) < MAX_ENDPOINTS:
            known.add(scid)


def _ids_fit(data: bytes) -> bool:
    """True where both connection ids have a length that exists (RFC 9000 17.2)."""
    return data[5] <= 20 and len(data) > 6 + data[5] and data[6 + data[5]] <= 20


def quic_rule(datagram: Datagram, context: Context) -> Layers | None:
    """A QUIC conversation whose handshake is read until both hellos are known."""
    data = datagram.data
    if not datagram.quoted and data[:1] >= b"\x80" and len(data) == datagram.length:
        _quic_hello(datagram, context)
    return _packets(datagram, context)


def _packets(datagram: Datagram, context: Context) -> Layers | None:
    """Every packet of the datagram is a PDU."""
    data = datagram.data
    if not data:
        return None
    if not data[0] & 0x80:
        context.settle(datagram, layers.QUIC, 0x8000, 0)
        return datagram.whole(layers.QUIC)
    if not datagram.quoted:
        header = quic.long_header(data)
        if header is not None:
            _remember_id(context, header.scid)
    return [(layers.QUIC, size) for size in quic.packet_sizes(data, datagram.length)]


def _quic_hello(datagram: Datagram, context: Context) -> None:
    flow = context.keep("quic", datagram.flow, _QuicFlow)
    if flow.first_from_a is None:
        flow.first_from_a = datagram.from_a
    connection = flow.connection
    changed = connection.feed(datagram.data, 0 if datagram.from_a == flow.first_from_a else 1)
    if connection.done:  # nothing more is to be read
        context.claim(datagram, _packets)
        del context.state["quic", datagram.flow]
    if not changed:
        return
    hello, rows = connection.client, context.facts.tls
    if hello is None:
        return
    if flow.row < 0:
        flow.row = len(rows)
        context.facts.add("tls", tls_fact(datagram, hello, connection.server, "q"))
        from_client = (datagram.from_a == flow.first_from_a) == (connection.client_side == 0)
        server = datagram.destination if from_client else datagram.source
        context.names.add(address_text(datagram.family, *server), hello.sni, "tls", datagram.number)
    elif connection.server is not None and flow.row < len(rows):
        chosen = connection.server
        rows[flow.row] = rows[flow.row]._replace(version=chosen.version, cipher=chosen.cipher)


_GQUIC_VERSION, _GQUIC_ID = 0x01, 0x08


def gquic_heuristic(datagram: Datagram, context: Context) -> Layers | None:
    """Google's QUIC: public flags with a connection id and a version Q02x to Q04x, or the long header of Q046."""
    data = datagram.data
    if len(data) < 13:
        return None
    if data[0] >= 0x80:
        if data[1:5] != b"Q046":
            return None
    elif not (
        data[0] < 0x40
        and data[0] & _GQUIC_VERSION
        and data[0] & _GQUIC_ID
        and data[9:11] == b"Q0"
        and data[11] in b"234"
    ):
        return None
    context.claim(datagram, gquic_rule)
    return gquic_rule(datagram, context)


def gquic_rule(datagram: Datagram, context: Context) -> Layers | None:
    """Every packet of the conversation; the first hello leaves a fact, then the flow needs no more reading."""
    name = gquic.server_name(datagram.data)
    if name is not None and not datagram.quoted and context.first(("gquic", "", datagram.flow)):
        row = tls_fact(datagram, _NO_HELLO._replace(sni=name), None, "q")
        context.facts.add("tls", row)
        context.names.add(address_text(datagram.family, *datagram.destination), name, "tls", datagram.number)
    if not datagram.data or not datagram.data[0] & _GQUIC_VERSION:
        context.settle(datagram, layers.GQUIC)
    return datagram.whole(layers.GQUIC)


# A hello of QUIC Crypto offers no TLS: only its name is known, and it has no fingerprint.
_NO_HELLO = tls.ClientHello(0, 0, (), (), (), (), (), (), "", (), b"", False, False)
