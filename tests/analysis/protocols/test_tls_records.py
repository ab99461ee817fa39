"""TLS records on a stream, and the facts of a handshake."""

from __future__ import annotations

import pytest
from tcp_talk import CLIENT, Talk

from analysis import layers
from analysis.protocols.tls_records import looks_like_tls


def _hello(name: bytes) -> bytes:
    """A ClientHello record of TLS 1.2 with a server name (RFC 5246 7.4.1.2, RFC 6066 3)."""
    entry = b"\x00" + len(name).to_bytes(2, "big") + name
    extension = b"\x00\x00" + (len(entry) + 2).to_bytes(2, "big") + len(entry).to_bytes(2, "big") + entry
    body = (
        b"\x03\x03"
        + bytes(32)
        + b"\x00"
        + b"\x00\x02\x13\x01"
        + b"\x01\x00"
        + len(extension).to_bytes(2, "big")
        + extension
    )
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def _server_hello() -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\xc0\x2f" + b"\x00"
    message = b"\x02" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x03" + len(message).to_bytes(2, "big") + message


def test_a_handshake_becomes_one_fact() -> None:
    """Server name, fingerprints, and what the server chose."""
    talk = Talk(443)
    assert talk.client(_hello(b"example.org")) == "tls"
    assert talk.server(_server_hello()) == "tls"
    assert talk.server(b"\x14\x03\x03\x00\x01\x01") == "tls"
    (fact,) = talk.facts.tls
    assert (fact.sni, fact.version, fact.cipher, fact.number) == ("example.org", 0x0303, 0xC02F, 1)
    assert len(fact.ja3) == 32 and fact.ja4.startswith("t")


def test_a_hello_over_two_segments_is_read_whole() -> None:
    """The fact comes with the frame that completes the record."""
    talk = Talk(443)
    hello = _hello(b"a" * 200)
    assert [talk.client(hello[:100]), talk.client(hello[100:])] == ["", "tls"]
    talk.server(_server_hello() + b"\x14\x03\x03\x00\x01\x01")
    assert [fact.number for fact in talk.facts.tls] == [2]


def test_plain_text_is_refused_and_continuations_are_kept() -> None:
    """Four printable bytes are no TLS; other bytes may be the rest of a record that was missed."""
    assert Talk(443).client(b"HELO there") == "data"
    assert Talk(443).sized(CLIENT, b"\xf0\x01\xff\x7f\x33" * 9) == [(layers.TLS, 45)]
    assert Talk(443).client(b"\x01\xff\x04\x04\x03\x02") == "tls"  # no SSL 2: its first byte has the high bit


def _session(version: bytes) -> Talk:
    """A connection in which the server has sent a whole record of `version`."""
    talk = Talk(443)
    assert talk.server(b"\x14" + version + b"\x00\x01\x01") == "tls"
    return talk


@pytest.mark.parametrize(
    ("version", "lost", "expected"),
    [
        (b"\x03\x03", b"\x15\xc0\xb0\x00\x40", ["", "tls"]),  # the type of a record by chance: 64 bytes are waited for
        (b"\x03\x03", b"\x19\x44\x26\x00\x40", ["", "tls"]),  # RFC 9146 4: records with a connection id
        (b"\x03\x03", b"\x1a\x03\x03\x00\x40", ["tls", "tls"]),
        (b"\x03\x03", b"\xb6\x01\x00\x00\xef", ["tls", "tls"]),  # no SSL 2 in a session of TLS
        (b"\x03\x04", b"\x15\xc0\xb0\x00\x40", ["tls", "tls"]),  # TLS 1.3 is not among the versions that ask so little
    ],
)
def test_what_follows_a_gap_is_judged_by_the_version_of_the_session(
    version: bytes, lost: bytes, expected: list[str]
) -> None:
    """The middle of a record whose beginning was not captured."""
    talk = _session(version)
    assert [talk.server(lost + bytes(35)), talk.server(bytes(29))] == expected


def test_in_a_session_of_unknown_version_messages_of_ssl_2_are_waited_for() -> None:
    """High bit and a known message type, among them an error (0)."""
    talk = Talk(443)
    assert [talk.server(b"\x80\x40\x00" + bytes(37)), talk.server(bytes(26))] == ["", "tls"]


def test_a_session_of_ssl_2_stays_one() -> None:
    """A server hello (4) fixes the version; records then have two or three header bytes."""
    talk = Talk(443)
    assert talk.server(b"\x80\x0b\x04" + bytes(10)) == "tls"
    assert [talk.client(b"\x16\x03\x03\x00\x05"), talk.client(bytes(5633))] == ["", "tls"]  # 0x1603 bytes and three


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x16\x03\x01\x00\x05", True),
        (b"\x17\x03\x04\x40\x00", True),
        (b"\x17\x03\x05\x00\x05", False),
        (b"\x19\x03\x03\x00\x05", False),
        (b"\x17\x03\x03\x00\x00", False),
        (b"\x17\x03\x03\xff\xff", False),
        (b"\x16\x03", False),
    ],
)
def test_record_headers(data: bytes, expected: bool) -> None:
    """Type, version and length of a record (RFC 8446 5.1)."""
    assert looks_like_tls(data) is expected


def test_heartbleed() -> None:
    """A heartbeat request longer than its record (RFC 6520 4) is a payload shape."""
    talk = Talk(443)
    talk.client(_hello(b"h"))
    talk.client(b"\x18\x03\x02\x00\x03\x01\x40\x00")
    assert [row.shape for row in talk.facts.payload] == ["heartbleed"]
    quiet = Talk(443)
    quiet.client(b"\x18\x03\x02\x00\x13\x01\x00\x00" + bytes(16))
    assert quiet.facts.payload == []
