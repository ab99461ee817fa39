"""Fewer rules, the same decisions."""

from __future__ import annotations

import firewall_packets as fp
from hypothesis import given, settings

from firewall.errors import RuleError
from firewall.minimise import minimise, same_decisions
from firewall.rules import Action, Match, Policy, Rule
from firewall.sets import AddrSet, PortSet


@settings(deadline=None, max_examples=25)
@given(fp.policies(most=5))
def test_decides_alike(policy: Policy) -> None:
    """Any policy and its minimised form are proved equal, and the form is not larger."""
    try:
        smaller = minimise(policy)
    except RuleError as error:
        assert "entangled" in str(error)
        return

    assert len(smaller.rules) <= len(policy.rules)
    assert same_decisions(policy, smaller)


def test_neighbours_become_one() -> None:
    """Rules that differ in their source only are one rule with a set; evidence is kept."""
    parts = tuple(
        Rule(Action.DROP, Match(src=AddrSet.parse(f"10.0.0.{n}"), proto=6, dport=PortSet.of(22))) for n in range(1, 30)
    )
    smaller = minimise(Policy(parts))

    assert [r.match.src for r in smaller.rules] == [AddrSet.parse("10.0.0.1-10.0.0.29")]


def test_a_difference_is_seen() -> None:
    """One address more is another policy."""
    one = Policy((Rule(Action.DROP, Match(src=AddrSet.parse("10.0.0.0/24"))),))
    two = Policy((Rule(Action.DROP, Match(src=AddrSet.parse("10.0.0.0/24", "10.0.1.0"))),))

    assert not same_decisions(one, two)


def test_never_reordered() -> None:
    """A permit between two drops keeps its place."""
    rules = (
        Rule(Action.DROP, Match(src=AddrSet.parse("10.0.0.1"))),
        Rule(Action.PERMIT, Match(src=AddrSet.parse("10.0.0.0/24"))),
        Rule(Action.DROP, Match(src=AddrSet.parse("10.0.0.0/23"))),
    )

    assert minimise(Policy(rules)).rules == rules


def test_families_apart_are_no_contradiction() -> None:
    """Neighbours of different families are compared, not mixed: an ICMPv6 rule beside an IPv4 one stays as it is."""
    rules = (
        Rule(Action.DROP, Match(src=AddrSet.parse("2001:db8::1"), proto=58)),
        Rule(Action.DROP, Match(src=AddrSet.parse("10.0.0.1"))),
    )

    assert minimise(Policy(rules)).rules == rules
