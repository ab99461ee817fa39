"""QUIC: keys, packet boundaries, and hellos put together from Initial packets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quic_packets import DCID, client_hello, crypto, initial

from analysis.protocols import quic

# RFC 9001 A.3: the server's Initial, as it goes over the wire.
SERVER_INITIAL = bytes.fromhex(
    "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c3ec249"
    "3a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbdca3d"
    "20398c276456cbc42158407dd074ee"
)


def test_initial_keys_are_those_of_the_rfc() -> None:
    """RFC 9001 A.1."""
    keys = quic.initial_keys(quic.VERSION_1, DCID)
    assert keys is not None
    assert keys[0].key.hex() == "1f369613dd76d5467730efcbe3b1a22d"
    assert keys[0].iv.hex() == "fa044b2f42a3fd3b46fb255c"
    assert keys[0].hp.hex() == "9f50449e04a0e810283a1e9933adedd2"
    assert keys[1].key.hex() == "cf3a5331653c364c88f0f379b6067e37"


def test_version_2_keys_are_those_of_its_rfc() -> None:
    """RFC 9369 A.1: its own salt and labels."""
    keys = quic.initial_keys(quic.VERSION_2, DCID)
    assert keys is not None
    assert keys[0].key.hex() == "8b1a0bc121284290a29e0971b5cd045d"
    assert keys[0].iv.hex() == "91f73e2351d8fa91660e909f"


def test_the_servers_initial_of_the_rfc_opens() -> None:
    """RFC 9001 A.3: an ACK and the ServerHello in a CRYPTO frame."""
    keys = quic.initial_keys(quic.VERSION_1, DCID)
    header = quic.long_header(SERVER_INITIAL)
    assert keys is not None and header is not None and header.kind == quic.INITIAL
    plain = quic.open_packet(SERVER_INITIAL, header.number_at, keys[1])
    assert plain is not None and plain.hex().startswith("02000000000600405a020000560303eefce7f7b37ba1d1")
    assert [offset for offset, _ in quic.crypto_frames(plain)] == [0]


@pytest.mark.parametrize("version", [quic.VERSION_1, quic.VERSION_2, 0xFF00001D])
def test_a_handshake_is_read_in_every_version(version: int) -> None:
    """Version 2 numbers its packet types differently (RFC 9369 3.2)."""
    connection = quic.Connection()
    assert connection.feed(initial(crypto(0, client_hello()) + bytes(40), version=version), 0)
    assert connection.client is not None and connection.client.sni == "example.org"
    answer = bytes.fromhex("02000056") + b"\x03\x03" + bytes(32) + b"\0\x13\x02\0" + bytes(48)
    assert connection.feed(initial(crypto(0, answer), server=True, version=version), 1)
    assert connection.server is not None and connection.server.cipher == 0x1302
    assert connection.done


def test_a_scattered_hello_is_put_in_order() -> None:
    """Browsers cut the hello in pieces, send them in any order, over several packets, with PING and padding between."""
    hello = client_hello(b"scattered.example")
    first = b"\x01" + crypto(40, hello[40:60]) + bytes(3) + crypto(0, hello[:20])
    second = crypto(60, hello[60:]) + b"\x01" + crypto(20, hello[20:40]) + bytes(20)
    connection = quic.Connection()
    assert not connection.feed(initial(first + bytes(20)), 0)
    assert connection.feed(initial(second, 1), 0)
    assert connection.client is not None and connection.client.sni == "scattered.example"


def test_after_a_retry_the_new_connection_id_makes_the_keys() -> None:
    """RFC 9001 5.2: the client's second first flight goes to the id the server chose."""
    connection = quic.Connection()
    hello = client_hello()
    assert not connection.feed(initial(crypto(0, hello[:30]) + bytes(20)), 0)
    assert connection.feed(initial(crypto(0, hello), dcid=b"chosen-by-server"), 0)


def test_coalesced_packets_are_counted_one_by_one() -> None:
    """RFC 9000 12.2: an Initial and a short-header packet in one datagram."""
    packet = initial(crypto(0, client_hello()))
    assert quic.packet_sizes(packet + b"\x40" + bytes(29), len(packet) + 30) == [len(packet), 30]
    assert quic.packet_sizes(packet + packet, 2 * len(packet)) == [len(packet), len(packet)]


def test_an_initial_that_does_not_open_ends_the_attempts() -> None:
    """A flow of garbage is left alone after a few tries."""
    connection = quic.Connection()
    packet = bytearray(initial(crypto(0, client_hello())))
    packet[-1] ^= 1
    for _ in range(quic.MAX_FAILURES):
        assert not connection.feed(bytes(packet), 0)
    assert connection.done and connection.client is None


@settings(max_examples=200)
@given(st.binary(max_size=120), st.integers(0, 100), st.binary(max_size=4))
def test_no_bytes_raise(noise: bytes, at: int, patch: bytes) -> None:
    """Random bytes, and a good Initial with some bytes replaced: sizes cover the datagram, nothing is raised."""
    good = initial(crypto(0, client_hello()))
    for data in (noise, b"\xc0\0\0\0\x01" + noise, good[:at] + patch + good[at + len(patch) :]):
        assert sum(quic.packet_sizes(data, len(data))) == len(data)
        connection = quic.Connection()
        connection.feed(data, 0)
        connection.feed(data, 1)
        quic.crypto_frames(data)


def test_a_changed_packet_does_not_open() -> None:
    """Whatever byte of header or content was changed, and with the other side's keys."""
    keys, packet = quic.initial_keys(quic.VERSION_1, DCID), initial(crypto(0, client_hello()) + bytes(900))
    header = quic.long_header(packet)
    assert keys is not None and header is not None
    plain = quic.open_packet(packet, header.number_at, keys[0])
    assert plain is not None and plain == crypto(0, client_hello()) + bytes(len(plain) - len(crypto(0, client_hello())))
    assert quic.open_packet(packet, header.number_at, keys[1]) is None
    for at in (0, header.number_at - 1, len(packet) // 2, len(packet) - 1):
        changed = packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :]
        assert quic.open_packet(changed, header.number_at, keys[0]) is None
