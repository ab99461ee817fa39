"""DNS messages in their four dresses."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.protocols import dns

QUERY = bytes.fromhex("1a2b01000001000000000000") + b"\x03www\x07example\x03com\0\0\x01\0\x01"
ANSWER = (
    bytes.fromhex("1a2b81830001000200000000")
    + b"\x03www\x07example\x03com\0\0\x01\0\x01"
    + b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\7\4host\xc0\x10"
    + b"\xc0\x2d\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"
)


def answer(kind: int, body: bytes) -> str:
    """The text of one answer's data."""
    message = dns.parse(
        b"\0\1\x80\0\0\0\0\1\0\0\0\0\0"
        + kind.to_bytes(2, "big")
        + b"\0\1\0\0\0\5"
        + len(body).to_bytes(2, "big")
        + body
    )
    assert message is not None and not message.malformed
    return message.answers[0][3]


def test_a_question_is_read() -> None:
    """Id, name and type of a query."""
    message = dns.parse(QUERY)
    assert message is not None
    assert (message.id, message.name, message.type, message.response) == (0x1A2B, "www.example.com", dns.A, False)


def test_an_answer_is_read_through_its_compression() -> None:
    """A CNAME and the address behind it; response code 3 of the flags."""
    message = dns.parse(ANSWER)
    assert message is not None and message.response and message.rcode == 3 and not message.malformed
    assert message.answers == (
        ("www.example.com", dns.CNAME, 60, "host.example.com"),
        ("host.example.com", dns.A, 60, "1.2.3.4"),
    )


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        (dns.A, b"\x0a\0\0\x01", "10.0.0.1"),
        (dns.AAAA, bytes.fromhex("20010db8000000000000000000000001"), "2001:db8::1"),
        (dns.AAAA, bytes(10) + b"\xff\xff\xc0\x00\x02\x01", "::ffff:192.0.2.1"),
        (dns.TXT, b"\x03abc\x02de", "abcde"),
        (dns.MX, b"\0\x0a\x04mail\0", "10 mail"),
        (dns.SRV, b"\0\0\0\0\x14\xe9\x02pc\0", "pc:5353"),
        (dns.PTR, b"\x02pc\0", "pc"),
        (dns.NULL, b"\x01\x02", "0102"),
        (dns.A, b"", ""),
    ],
)
def test_data_has_a_text(kind: int, body: bytes, text: str) -> None:
    """What has no short text is hex."""
    assert answer(kind, body) == text


def test_netbios_names_are_decoded() -> None:
    """First-level encoding (RFC 1001 14.1): the name `WORKGROUP`, suffix 1d."""
    encoded = b"".join(bytes([65 + (octet >> 4), 65 + (octet & 15)]) for octet in b"WORKGROUP".ljust(15) + b"\x1d")
    message = dns.parse(b"\0\1\x01\x10\0\1\0\0\0\0\0\0\x20" + encoded + b"\0\0\x20\0\1", netbios=True)
    assert message is not None and message.name == "WORKGROUP<1d>" and message.type == dns.NB
    assert dns.netbios_text("not encoded") == "not encoded"


@pytest.mark.parametrize(
    "data",
    [
        QUERY[:-1],
        QUERY[:20],
        b"\0\1\x01\0\0\1\0\0\0\0\0\0\x80\0\1\0\1",  # a label type that does not exist
        ANSWER[:-2],
    ],
)
def test_what_does_not_fit_is_malformed(data: bytes) -> None:
    """Cut, looping or impossible: marked, with what was read until then."""
    message = dns.parse(data)
    assert message is not None and message.malformed


def test_a_name_that_points_to_itself_is_no_name() -> None:
    """Followed a bounded number of times, then read on behind it, as Wireshark does."""
    message = dns.parse(b"\0\1\x01\0\0\1\0\0\0\0\0\0\xc0\x0c\0\x1c\0\1")
    assert message is not None and not message.malformed and (message.name, message.type) == ("", dns.AAAA)


def test_below_the_header_there_is_no_message() -> None:
    """RFC 1035 4.1.1: twelve bytes."""
    assert dns.parse(QUERY[:11]) is None


@given(st.binary(max_size=300), st.integers(0, 80), st.binary(max_size=6), st.booleans())
def test_no_bytes_raise(noise: bytes, at: int, patch: bytes, netbios: bool) -> None:
    """Random and mutated messages are read with bounds."""
    for data in (noise, ANSWER[:at] + patch + ANSWER[at + len(patch) :], b"\0\1\x81\x80\0\1\0\x20\0\0\0\0" + noise):
        message = dns.parse(data, netbios=netbios, additional=True)
        assert message is None or len(message.answers) <= dns.MAX_ANSWERS


def test_names_that_all_point_to_a_long_chain_of_labels_do_not_walk_it_each() -> None:
    """One name of 8,000 labels and 4,000 records that point to it: read once, not 4,000 times (32 million labels)."""
    chain = b"\x01a" * 8000 + b"\0" + bytes(10)
    message = bytes(6) + (4001).to_bytes(2, "big") + bytes(4) + chain + (b"\xc0\x0c" + bytes(10)) * 4000
    began = time.process_time()

    found = dns.parse(message)

    assert found is not None and not found.malformed
    assert [name for name, *_ in found.answers[1:]] == [""] * 63
    assert time.process_time() - began < 1
