"""Canonical sets: exact, never widened, nothing guessed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firewall.errors import RuleError
from firewall.sets import AddrSet, PortSet, canonical, complement, intersect, size, subtract, union

REFUSED = (
    "010.0.0.1",
    "10.0.0.1/24",
    "10.0.0.9-10.0.0.1",
    "10.0.0.1-::1",
    "fe80::1%eth0",
    "host.example",
    "",
    "1.2.3.4; reboot",
)
small = st.lists(st.tuples(st.integers(0, 63), st.integers(0, 63)).map(lambda p: (min(p), max(p))), max_size=8)


def values(ranges: object) -> set[int]:
    return {v for low, high in ranges for v in range(low, high + 1)}  # type: ignore[attr-defined]


@given(small, small)
def test_algebra_is_that_of_sets(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    """Union, intersection, difference and complement agree with Python's sets; equal sets are equal values."""
    a, b = canonical(one, 63), canonical(two, 63)

    assert values(union(a, b, 63)) == values(a) | values(b)
    assert values(intersect(a, b)) == values(a) & values(b)
    assert values(subtract(a, b, 63)) == values(a) - values(b)
    assert values(complement(a, 63)) == set(range(64)) - values(a)
    assert size(a) == len(values(a))
    assert (a == b) == (values(a) == values(b))


@pytest.mark.parametrize("text", REFUSED)
def test_addresses_are_not_guessed(text: str) -> None:
    """What the kernel or a resolver would reinterpret is refused."""
    with pytest.raises(RuleError, match="address: got"):
        AddrSet.parse(text)


@pytest.mark.parametrize("text", ["443-80", "70000", "http", "-5", "1,,2", "²"])
def test_ports_are_not_guessed(text: str) -> None:
    """Names, reversed ranges and impossible numbers are refused."""
    with pytest.raises(RuleError, match=r"port: got|range: got"):
        PortSet.parse(text)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
def test_prefixes_cover_exactly(numbers: list[int]) -> None:
    """The prefixes of a set are what ipaddress collapses it to, and hold the same addresses."""
    made = AddrSet.of(4, [(n, n) for n in numbers])
    expected = ipaddress.collapse_addresses(ipaddress.IPv4Network(n) for n in numbers)

    assert [ipaddress.ip_network(text) for text in made.nets(4)] == list(expected)
    assert AddrSet.parse(*made.texts()) == made


def test_neighbours_are_joined() -> None:
    """Two adjacent /25 are a /24, and no more."""
    assert AddrSet.parse("10.0.0.0/25", "10.0.0.128/25").texts() == ("10.0.0.0/24",)
    assert AddrSet.parse("10.0.0.0/8", "11.0.0.0/8").texts() == ("10.0.0.0/7",)


def test_families_are_apart() -> None:
    """An IPv4 address is not in the IPv6 part that has the same integer."""
    made = AddrSet.parse("0.0.0.1", "::2")

    assert ("0.0.0.1" in made, "::1" in made, "::2" in made, "0.0.0.2" in made) == (True, False, True, False)
    assert made.families == {4, 6}
    assert (made - AddrSet.parse("::/0")).families == {4}


def test_slots() -> None:
    """A range takes two of multiport's slots."""
    assert PortSet.parse("22,80,8000-9000").slots() == 4
