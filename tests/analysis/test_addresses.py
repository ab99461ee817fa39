"""Addresses as text: the canonical forms of all families."""

from __future__ import annotations

import ipaddress
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.addresses import AddressTexts, address_texts, ipv6_text
from analysis.columns import Addresses

WORDS = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 0xFFFF_00000001, 1 << 48, 0x0001_0000_0000_0001])


@pytest.mark.parametrize(
    ("high", "low", "text"),
    [
        (0, 0, "::"),
        (0, 1, "::1"),
        (0x20010DB8 << 32, 1, "2001:db8::1"),
        (0x20010DB8_00000001, 1, "2001:db8:0:1::1"),
        (0x20010DB8_00010001, 0x0001_0000_0001_0001, "2001:db8:1:1:1:0:1:1"),  # one zero group is not shortened
        (0, 0xFFFF_C0000201, "::ffff:192.0.2.1"),
        (0, 0xC0000201, "::192.0.2.1"),
        (-1, -1, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        (0xFE80 << 48, 0, "fe80::"),
    ],
)
def test_ipv6_text(high: int, low: int, text: str) -> None:
    """Canonical text (RFC 5952), embedded IPv4 mixed."""
    assert ipv6_text(high, low) == text


def test_texts_of_a_mixed_address_table() -> None:
    """Every family in its own form, in order of id."""
    table = Addresses(np.array([0, 4, 6], np.uint8), np.array([0, 0, 0]), np.array([0x0200_0000_00FF, 0x7F000001, 2]))

    assert address_texts(table) == ["02:00:00:00:00:ff", "127.0.0.1", "::2"]


@given(WORDS, WORDS)
def test_ipv6_text_is_that_of_the_system(high: int, low: int) -> None:
    """Any address is written as inet_ntop writes it, and reads back."""
    packed = high.to_bytes(8) + low.to_bytes(8)

    assert ipv6_text(high, low) == socket.inet_ntop(socket.AF_INET6, packed)
    assert ipaddress.IPv6Address(ipv6_text(high, low)).packed == packed


TABLE = Addresses(
    np.array([0, 4, 6, 6, 4], np.uint8),
    np.array([0, 0, 0, -2, 0]),
    np.array([0x0200_0000_00FF, 0x7F000001, 2, -1, 2]),
)
TEXTS = ["02:00:00:00:00:ff", "127.0.0.1", "::2", "ffff:ffff:ffff:fffe:ffff:ffff:ffff:ffff", "0.0.0.2"]


def test_texts_are_made_when_asked_for() -> None:
    """One, some, a slice and all of them are those of the whole table."""
    texts = AddressTexts(TABLE)

    assert list(texts) == address_texts(TABLE) == TEXTS
    assert [texts[i] for i in range(len(texts))] == TEXTS
    assert texts[1:3] == TEXTS[1:3]
    assert texts.of(np.array([3, 0])) == [TEXTS[3], TEXTS[0]]


def test_ids_of_texts() -> None:
    """Texts of the table have an id; equal bits of another family, other addresses and what is none have none."""
    texts = AddressTexts(TABLE)
    others = ["0.0.0.3", "::2:0", "printer", "00:00:00:00:00:02", "zz:00:00:00:00:00", ""]

    assert texts.ids([*TEXTS, *others]) == {text: i for i, text in enumerate(TEXTS)}
    assert texts.ids(others) == {}
    assert texts.ids([]) == {}
