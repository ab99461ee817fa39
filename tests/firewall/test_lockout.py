"""No drop meets trusted or protected traffic unnoticed."""

from __future__ import annotations

import pytest

from firewall.errors import ProtectedError
from firewall.essentials import NEIGHBOURS, Surroundings, protect, session_of
from firewall.lockout import cuts, refuse_cuts
from firewall.rules import Action, Direction, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet

A = AddrSet.parse
AROUND = Surroundings(
    A("192.168.1.5"),
    A("192.168.1.1"),
    A("192.168.1.1", "9.9.9.9"),
    A("192.168.1.2"),
    ("203.0.113.9", "192.168.1.5", 22),
)
CUTTING = {
    "everything": (
        Match(),
        {"DNS", "DHCP", "gateway", "management session", "own addresses", NEIGHBOURS},
    ),
    "the analyst's peer": (Match(src=A("203.0.113.0/24")), {"management session"}),
    "the gateway": (Match(src=A("192.168.1.1")), {"gateway", "DNS"}),
    "all UDP": (Match(proto=17), {"DNS", "DHCP", "time"}),
    "ICMP errors": (Match(proto=1), {"ICMP errors of known conversations (path MTU)"}),
}


def policy(*rules: Rule, trusted: str = "") -> Policy:
    shield = protect(AROUND, Vantage.HOST, AddrSet())
    return Policy(rules, local=AROUND.own, protected=shield, trusted=A(trusted) if trusted else AddrSet())


@pytest.mark.parametrize("name", CUTTING)
def test_cuts_are_named(name: str) -> None:
    """Each broad drop names what it would cut."""
    match, expected = CUTTING[name]
    found = {what for _, what in cuts(policy(Rule(Action.DROP, match)))}

    assert expected <= found


def test_a_narrow_drop_cuts_nothing() -> None:
    """One foreign host's port 22 is nobody's lifeline."""
    assert cuts(policy(Rule(Action.DROP, Match(src=A("198.51.100.7"), proto=6, dport=PortSet.of(22))))) == []


def test_a_permit_in_front_counts() -> None:
    """It is the effect that is judged, not the text: a permit before the drop keeps the traffic."""
    drop = Rule(Action.DROP, Match(src=A("10.0.0.0/8")))
    permit = Rule(Action.PERMIT, Match(src=A("10.1.0.0/16")))

    trusted = AddrSet.parse("10.1.0.0/16")

    assert cuts(Policy((permit, drop), trusted=trusted)) == []
    assert {rule.id for rule, _ in cuts(Policy((drop, permit), trusted=trusted))} == {drop.id}


def test_a_stranger_may_be_kept_from_a_permitted_network() -> None:
    """A permit is for what the network sends: an attacker on the way in is dropped, but not the way out to anybody."""
    net = "10.1.0.0/16"
    inward = Rule(Action.DROP, Match(src=A("203.0.113.66"), dst=A(net)))
    outward = Rule(Action.DROP, Match(src=A(net), dst=A("203.0.113.66")))

    assert cuts(Policy((inward,), trusted=A(net))) == []
    assert cuts(Policy((outward,), trusted=A(net))) == [(outward, "what a permitted network sends")]


def test_dropping_everybody_cuts_the_answers_of_a_permitted_network() -> None:
    """Whatever comes in from anybody includes the answers; a service or new connections may be closed."""
    net, others = A("10.1.0.0/16"), frozenset({"src"})
    closed = {
        "everything": (Match(src=net, dst=net, negate=others), True),
        "all TCP": (Match(src=net, dst=net, proto=6, negate=others), True),
        "a service": (Match(src=net, dst=net, proto=6, dport=PortSet.of(23), negate=others), False),
        "new connections": (Match(src=net, dst=net, states=frozenset({"NEW", "INVALID"}), negate=others), False),
        "a stranger": (Match(src=A("203.0.113.0/24"), dst=net), False),
    }
    found = {name: bool(cuts(Policy((Rule(Action.DROP, m),), trusted=net))) for name, (m, _) in closed.items()}

    assert found == {name: expected for name, (_, expected) in closed.items()}


def test_a_permit_of_another_direction_does_not() -> None:
    """What is permitted on its way out is still dropped on its way in."""
    drop = Rule(Action.DROP, Match(src=A("10.0.0.0/8")), Direction.IN)
    permit = Rule(Action.PERMIT, Match(src=A("10.0.0.0/8")), Direction.OUT)

    assert cuts(policy(permit, drop, trusted="10.1.0.0/16"))


def test_refusal_names_rule_and_reason() -> None:
    """One line, with the way to insist."""
    with pytest.raises(ProtectedError, match=r"rule tw-\w+: DROP would cut .*--force"):
        refuse_cuts(policy(Rule(Action.DROP, Match(src=A("203.0.113.9")))))


def test_contained_hosts_are_not_trusted() -> None:
    """A host that is cut off on purpose is no reason to refuse, though its network is permitted."""
    rule = Rule(Action.DROP, Match(dst=A("10.1.0.9")))
    plain = Policy((rule,), trusted=A("10.1.0.0/16") - A("10.1.0.9"))
    meant = Policy((rule,), trusted=A("10.1.0.0/16") - A("10.1.0.9"), contained=A("10.1.0.9"))

    assert cuts(plain) and not cuts(meant)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("203.0.113.9 50022 10.0.0.5 22", ("203.0.113.9", "10.0.0.5", 22)), ("fe80::1%eth0 1 fe80::2%eth0 22", ("fe80::1", "fe80::2", 22)), ("", None), ("a b c d", None), ("1.2.3.4 1 ::1 22", None)],
)  # fmt: skip
def test_session(text: str, expected: object) -> None:
    """SSH_CONNECTION is read, nonsense protects nothing."""
    assert session_of(text) == expected
