"""What a finding says of its numbers: one thing in the singular, the rest in the plural that was declared."""

from __future__ import annotations

import pytest

from analysis.findings import counted, unit_of


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("names", "name"),
        ("addresses", "address"),
        ("queries", "query"),
        ("matches", "match"),
        ("searches", "search"),
        ("prefixes", "prefix"),
        ("names for spraying", "name for spraying"),
        ("ports, at most", "port, at most"),
        ("packets/s", "packet/s"),
        ("distinct long subdomains, whatever is answered", "distinct long subdomain, whatever is answered"),
        ("attempts for severity low", "attempt for severity low"),
    ],
)
def test_one_thing_is_told_in_the_singular(plural: str, singular: str) -> None:
    """The noun of a unit, wherever it stands in it."""
    assert (counted(1, plural), counted(2, plural), counted(0, plural)) == (
        f"1 {singular}",
        f"2 {plural}",
        f"0 {plural}",
    )


@pytest.mark.parametrize("unit", ["s", "ms", "", "share of ports without service", "sources or ports", "MAD / median"])
def test_a_unit_that_is_no_plural_stays(unit: str) -> None:
    """Seconds, shares and alternatives."""
    assert unit_of(1, unit) == unit
