"""Addresses that many share are known by their published ranges, or by the names that a capture shows."""

from __future__ import annotations

import pytest

from firewall import shared


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("104.18.32.47", "Cloudflare"), ("172.64.144.52", "Cloudflare"), ("2606:4700::6810:84e5", "Cloudflare"), ("151.101.1.69", "Fastly"),
        ("8.8.8.8", "public DNS resolvers"), ("142.250.1.1", "Google"), ("203.0.113.7", None), ("192.168.1.1", None), ("not an address", None),
    ],
)  # fmt: skip
def test_operator(address: str, expected: str | None) -> None:
    """Content networks and public resolvers have a name, others none."""
    assert shared.operator(address) == expected


def test_everybody_is_the_union() -> None:
    """The set that spares all shared edges holds every range of the table, and no private address."""
    assert all(net.split("/")[0] in shared.everybody() for nets in shared.OPERATORS.values() for net in nets)
    assert not shared.everybody() & shared.private()


def test_owners_are_counted_by_domain() -> None:
    """Three names of one owner are one owner."""
    assert shared.owners(["a.example.com", "b.example.com.", "EXAMPLE.com"]) == 1
    assert shared.owners(["a.example.com", "b.example.org", "c.example.net"]) == 3
