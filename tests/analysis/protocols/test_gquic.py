"""The server name in a hello of Google's QUIC."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from udp_batches import Sent, batch, path

from analysis.facts import Facts
from analysis.protocols import gquic
from analysis.protocols.datagrams import DatagramNaming


def chlo(*tags: tuple[bytes, bytes]) -> bytes:
    """A CHLO message: tags with the ends of their values, then the values."""
    entries, values = b"", b""
    for tag, value in tags:
        values += value
        entries += tag + len(values).to_bytes(4, "little")
    return b"CHLO" + len(tags).to_bytes(2, "little") + b"\0\0" + entries + values


HELLO = chlo((b"PAD\0", b"-" * 10), (b"SNI\0", b"www.example.org"), (b"VER\0", b"Q039"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"frame header" + HELLO, "www.example.org"),
        (chlo((b"VER\0", b"Q039")), ""),
        (HELLO[:40], None),
        (b"CHLO\xff\xff\0\0" + bytes(40), None),
        (b"CHLO", None),
        (chlo((b"A\0\0\0", b"xy"), (b"SNI\0", b""))[:-2].replace(b"\2\0\0\0", b"\\9\0\0\0"), None),
        (b"", None),
    ],
)
def test_names(data: bytes, expected: str | None) -> None:
    """Whole messages have a name or none; cut and impossible ones have no answer."""
    assert gquic.server_name(data) == expected


def test_a_hello_leaves_a_fact_and_the_flow_is_known_from_then_on() -> None:
    """Packets without version belong to the conversation; the name belongs to the server's address."""
    hello = b"\x0d" + bytes(range(1, 9)) + b"Q039\1" + bytes(12) + HELLO
    facts = Facts()
    made = batch(
        Sent(hello, destination_port=443),
        Sent(b"\x0c" + bytes(range(1, 9)) + bytes(20), "10.0.0.2", 443, "10.0.0.1", 40000),
        Sent(b"\x40" + bytes(20), destination_port=443),
    )
    DatagramNaming(facts).update(made)
    assert [path(made, row) for row in range(3)] == ["gquic"] * 3
    (row,) = facts.tls
    assert (row.sni, row.quic, row.ja3, row.ja4) == ("www.example.org", True, "", "")
    assert [(name.address, name.name) for name in facts.name] == [("10.0.0.2", "www.example.org")]


@given(st.binary(max_size=80), st.integers(0, 60), st.binary(max_size=4))
def test_no_bytes_raise(noise: bytes, at: int, patch: bytes) -> None:
    """Random and mutated messages."""
    for data in (noise, b"CHLO" + noise, HELLO[:at] + patch + HELLO[at + len(patch) :]):
        name = gquic.server_name(data)
        assert name is None or len(name) <= 255
