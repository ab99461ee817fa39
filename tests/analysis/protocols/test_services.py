"""Samples of many protocols against the paths that tshark showed for them, whole, in one segment and cut into two."""

from __future__ import annotations

import pytest
from protocol_samples import DATAGRAMS, STREAMS, Exchange, Payload
from tcp_talk import CLIENT, Talk
from udp_batches import Sent, batch, path

from analysis import layers
from analysis.facts import Facts
from analysis.protocols import registry, services
from analysis.protocols.datagrams import DatagramNaming


@pytest.mark.parametrize("exchange", STREAMS, ids=[row.name for row in STREAMS])
def test_messages_have_wiresharks_layers(exchange: Exchange) -> None:
    """Every message of the exchange, each in a segment of its own."""
    talk = Talk(exchange.port)

    for direction, data, expected in exchange.messages:
        names = talk.say(direction, data).split("/")

        assert "/".join(name for name, before in zip(names, ["", *names]) if name != before) == expected


@pytest.mark.parametrize("payload", DATAGRAMS, ids=[row.name for row in DATAGRAMS])
def test_datagrams_have_wiresharks_layers(payload: Payload) -> None:
    """One datagram to the protocol's port."""
    made = batch(Sent(payload.data, destination_port=payload.port))
    DatagramNaming(Facts()).update(made)

    assert path(made) == payload.path


FRAMED = [
    (row, message)
    for row in STREAMS
    for message in row.messages[:1]
    if row.name in {"afp", "agentx", "bgp", "bitcoin", "dicom", "drda", "git", "iscsi", "openflow 1.3", "rpki", "smpp", "stun", "z39.50"}
]  # fmt: skip


@pytest.mark.parametrize(("exchange", "message"), FRAMED, ids=[row.name for row, _ in FRAMED])
def test_a_unit_in_two_segments_is_named_where_it_ends(exchange: Exchange, message: tuple[int, bytes, str]) -> None:
    """Wherever it is cut behind what recognises it, the first piece is bare TCP."""
    direction, data, path = message
    known = Talk(exchange.port)
    known.say(direction, data)
    for cut in range(2 if exchange.name != "bgp" else 16, len(data)):
        talk = Talk(exchange.port)
        talk.stream.dissector = known.stream.dissector

        assert [talk.say(direction, data[:cut]), talk.say(direction, data[cut:])] == ["", path], cut


@pytest.mark.parametrize(
    ("port", "data"),
    [
        (41_000, b"\x43\x00\x00\x00" + b"\xff" * 44),  # an iSCSI opcode, but not its fields
        (41_000, b"\x00\x20\xd0\x41\x00\x01\x00\x30\x10\x41" + bytes(22)),  # DRDA whose inner length differs
        (41_000, b"\x00\x00\x00\x10\x00\x00\x00\x77" + bytes(8)),  # no SMPP command
        (4661, b"hello"),
        (104, b"\x09\x00\x00\x00\x00\x01a"),
        (2000, b"\x08\x00\x00\x00\x77\x00\x00\x00" + bytes(8)),  # no such version of Skinny
        (3389, b"\x00\x10" + bytes(14)),  # RDP's fast path in a connection that has shown no TPKT
    ],
)
def test_what_wireshark_refuses_is_data(port: int, data: bytes) -> None:
    """Checks are what tells a protocol from another on its port."""
    assert Talk(port).client(data) == "data"


def test_the_answer_of_whois_is_named_where_it_ends() -> None:
    """The server's text is one unit up to its FIN."""
    talk = Talk(43)
    talk.client(b"example.com\r\n")

    assert talk.server(b"Domain: x\r\n") == ""
    assert talk.say(1, b"end\r\n", flags=25) in ("whois", "")


@pytest.mark.parametrize("row", services.ROWS, ids=[row[0] for row in services.ROWS])
def test_rows_of_the_table_are_complete(row: tuple[str, tuple[int, ...], object, object]) -> None:
    """A row is reachable by a port or by a heuristic."""
    assert row[1] or row[3] in registry.HEURISTICS


def test_http_through_a_socks_tunnel_stays_below_it() -> None:
    """However its messages are cut: the tunnel's content is guessed anew, HTTP is never handed over to itself."""
    talk = Talk(1080)
    for direction, data in ((0, b"\x05\x01\x00"), (1, b"\x05\x00"), (0, b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50")):
        assert talk.say(direction, data) == "socks"
    talk.server(b"\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50")
    request = b"GET /a HTTP/1.1\r\nHost: example.org\r\n\r\n"

    assert talk.client(request) == "socks/http"
    assert [talk.client(request[:20]), talk.client(request[20:])] == ["", "socks/http"]
    assert talk.client(request) == "socks/http"


def test_fix_goes_on_where_messages_are_broken() -> None:
    """A conversation of FIX stays it: what is no message lasts until the next one begins, a message as long as it says."""
    talk = Talk(4000)
    logon = b"8=FIX.4.2\x019=5\x0135=0\x0110=123\x01"
    assert talk.client(logon) == "fix"
    assert talk.client(b"8=O\x019=0075\x0135=G\x01\x02 binary rest") == "fix"
    assert talk.sized(CLIENT, b"nonsense" * 3 + b"\x01" + logon) == [(layers.FIX, 25), (layers.FIX, len(logon))]
    assert [talk.client(logon[:-7]), talk.client(logon[-7:])] == ["", "fix"]
