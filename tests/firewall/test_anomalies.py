"""Anomalies: planted ones are found with their culprits, clean policies have none."""

from __future__ import annotations

import pytest

from firewall.anomalies import find
from firewall.rules import Action, Direction, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet

D, P = Action.DROP, Action.PERMIT


def rule(action: Action, src: str = "", port: str = "", ttl: int | None = None) -> Rule:
    return Rule(
        action,
        Match(
            src=AddrSet.parse(src) if src else None,
            proto=6 if port else None,
            dport=PortSet.parse(port) if port else None,
        ),
        ttl_s=ttl,
    )


PLANTED = {
    "shadowing": ([rule(P, "10.0.0.0/8"), rule(D, "10.1.0.0/16")], "shadowing", [0]),
    "union shadowing": (
        [rule(P, "10.0.0.0/25"), rule(P, "10.0.0.128/25"), rule(D, "10.0.0.0/24")],
        "shadowing",
        [0, 1],
    ),
    "union of ports": (
        [rule(P, port="1-100"), rule(P, port="101-200"), rule(D, "10.0.0.1", "50-150")],
        "shadowing",
        [0, 1],
    ),
    "redundancy": ([rule(D, "10.0.0.0/8"), rule(D, "10.1.0.0/16", "80")], "redundancy", [0]),
    "generalisation": ([rule(D, "10.1.0.0/16"), rule(P, "10.0.0.0/8")], "generalisation", [0]),
    "correlation": ([rule(D, "10.0.0.0/8"), rule(P, port="80")], "correlation", [0]),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("vantage", [Vantage.ROUTER, Vantage.HOST])
def test_planted(name: str, vantage: Vantage) -> None:
    """Found once, on the last rule, naming exactly the rules to blame."""
    rules, kind, blamed = PLANTED[name]
    found = find(Policy(tuple(rules), vantage=vantage))

    assert [(a.kind, a.rule, list(a.others)) for a in found] == [(kind, rules[-1].id, [rules[i].id for i in blamed])]


def test_bystanders_are_not_blamed() -> None:
    """Of 255 host rules only the one that overlaps is named."""
    hosts = [rule(P, f"10.0.0.{n}") for n in range(1, 256)]
    last = rule(D, "10.0.0.77", "22")
    found = [a for a in find(Policy((*hosts, last), vantage=Vantage.ROUTER)) if a.rule == last.id]

    assert [(a.kind, a.others) for a in found] == [("shadowing", (hosts[76].id,))]


def test_clean_policy() -> None:
    """Disjoint drops have no anomaly."""
    assert find(Policy(tuple(rule(D, f"10.0.{n}.0/24", "22") for n in range(20)))) == []


def test_other_directions_do_not_meet() -> None:
    """A rule for what comes in shadows nothing that goes out."""
    rules = (Rule(P, Match(), Direction.IN), Rule(D, Match(), Direction.OUT))

    assert find(Policy(rules)) == []


def test_irrelevance() -> None:
    """A forwarding rule on a host has no chain."""
    one = Rule(D, Match(proto=6), Direction.FORWARD)

    assert [(a.kind, a.rule) for a in find(Policy((one,)))] == [("irrelevance", one.id)]


def test_an_expiring_rule_covers_nothing_lasting() -> None:
    """A permanent drop behind one that expires in an hour is needed afterwards."""
    assert find(Policy((rule(D, "10.0.0.0/8", ttl=3600), rule(D, "10.1.0.0/16")))) == []
