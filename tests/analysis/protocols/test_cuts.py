"""Segments of which the capture kept only the beginning: what tshark 4.0.17 shows of them, protocol by protocol."""

from __future__ import annotations

import pytest
from tcp_talk import CLIENT, SERVER, Talk

from analysis import layers
from analysis.protocols.cuts import as_cut

HELLO = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(194)
APPLICATION = b"\x17\x03\x03\x01\x00" + bytes(range(256))
REQUEST = b"GET /abcdefg HTTP/1.1\r\nHost: abc\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"a" * 100

# port, direction, what was sent, bytes kept, layers
CUTS = [
    (443, CLIENT, HELLO, 60, "tls/_ws.short"),
    (443, CLIENT, HELLO, 5, "tls/_ws.short"),
    (443, CLIENT, HELLO, 3, "tls/_ws.short"),
    (443, SERVER, APPLICATION, 100, "tls/_ws.short"),
    (443, SERVER, APPLICATION + APPLICATION, 264, "tls/_ws.short"),
    (22, CLIENT, b"SSH-2.0-abcdefghijkl\r\n", 10, "ssh"),
    (25, SERVER, b"220 abcdefg hijkl\r\n", 10, "smtp"),
    (21, SERVER, b"220 abcdefg hijkl\r\n", 10, "ftp"),
    (110, SERVER, b"+OK abcdefg hijkl\r\n", 10, "pop"),
    (143, SERVER, b"* OK abcdefg hijkl\r\n", 10, ""),
    (119, CLIENT, b"GROUP abcdef\r\n", 6, "nntp"),
    (6667, CLIENT, b"NICK abcdefg\r\nUSER a b c d\r\n", 10, "irc"),
    (23, CLIENT, b"abcdefghijkl", 5, "telnet/_ws.short"),
    (80, CLIENT, REQUEST, 10, "http/_ws.short"),
    (80, SERVER, RESPONSE, 80, "http/_ws.short"),
    (80, SERVER, b"a" * 100, 50, "http/_ws.short"),
    (41_001, CLIENT, REQUEST, 30, "http/_ws.short"),
    (3306, SERVER, b"\x4a\x00\x00\x00\x0a5.7.1\x00" + bytes(66), 20, "mysql/_ws.short"),
    (53, CLIENT, b"\x00\x1d\x00\x01\x01\x00\x00\x01" + bytes(6) + b"\x03www\x07example\x03org\x00\x00\x01\x00\x01", 20, "dns/_ws.short"),
    (389, CLIENT, b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00", 8, "ldap/_ws.short"),
    (445, CLIENT, b"\x00\x00\x00\x60\xfeSMB\x40\x00" + bytes(90), 40, "nbss/smb2/_ws.short"),
    (88, CLIENT, b"\x00\x00\x00\x20\x6a\x1e\x30\x1c\xa1\x03\x02\x01\x05\xa2\x03\x02\x01\x0a" + bytes(18), 20, "kerberos"),
    (5432, CLIENT, b"Q\x00\x00\x00\x1dSELECT 1 from abcdefghijk\x00", 12, "pgsql/_ws.short"),
    (6379, CLIENT, b"*1\r\n$4\r\nPING\r\n", 6, "resp"),
    (5672, CLIENT, b"AMQP\x00\x00\x09\x01", 4, "_ws.short"),
    (6881, CLIENT, b"\x13BitTorrent protocol" + bytes(48), 30, "bittorrent/_ws.short"),
    (41_002, CLIENT, b"\x99" * 60, 30, "data"),
    (9092, CLIENT, b"\x00\x00\x00\x20" + bytes(32), 10, "kafka/_ws.short"),
    (1433, CLIENT, b"\x12\x01\x00\x2f\x00\x00\x01\x00" + bytes(39), 20, "tds/_ws.short"),
    (20, CLIENT, b"a" * 60, 30, "ftp-data/data-text-lines"),
    (502, CLIENT, b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x00\x00\x01", 9, "mbtcp/modbus/_ws.short"),
    (5222, CLIENT, b"<stream:stream to='x' xmlns='jabber:client'>", 20, "_ws.short"),
    (873, CLIENT, b"@RSYNCD: 30.0\n", 6, "rsync/_ws.short"),
    (4840, CLIENT, b"HELF\x20\x00\x00\x00" + bytes(24), 12, "opcua/_ws.short"),
]  # fmt: skip


@pytest.mark.parametrize(("port", "direction", "sent", "kept", "expected"), CUTS)
def test_cut_segments_have_wiresharks_layers(port: int, direction: int, sent: bytes, kept: int, expected: str) -> None:
    """A cut segment is dissected by itself; most protocols end in `_ws.short`, readers of lines do not."""
    assert Talk(port).say(direction, sent, cut=len(sent) - kept) == expected


@pytest.mark.parametrize("port", [80, 443, 25, 22, 3306, 502, 389, 41_000])
def test_of_a_segment_without_captured_bytes_nothing_is_shown(port: int) -> None:
    """Nobody is called for an empty buffer."""
    talk = Talk(port)

    assert talk.say(CLIENT, b"x" * 40, cut=40) == ""


def test_a_sealed_handshake_is_read_by_nobody() -> None:
    """Behind the change to encryption only the record's header is looked at."""
    talk = Talk(443)
    talk.client(HELLO)
    sealed = b"\x16\x03\x03\x00\xc8" + b"\x99" * 200

    assert talk.say(CLIENT, b"\x14\x03\x03\x00\x01\x01" + sealed, cut=125) == "tls"
    assert talk.say(CLIENT, sealed, cut=170) == "tls"


def test_what_a_cut_request_says_is_kept() -> None:
    """Facts are taken from the bytes that are there."""
    talk = Talk(80)
    talk.say(CLIENT, REQUEST + b"x" * 50, cut=40)

    assert [(row.method, row.host) for row in talk.facts.http] == [("GET", "abc")]


def test_marks_become_short() -> None:
    """A dissector that ran off the captured bytes was not told a wrong length."""
    assert as_cut([(layers.TPKT, 4), (layers.COTP, 7), (layers.MALFORMED, 0)], b"xx")[-1] == (layers.SHORT, 0)
    assert as_cut([], b"xx") == []
    assert as_cut([(layers.HTTP, 3)], b"") == []
