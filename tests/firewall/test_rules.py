"""The model refuses what cannot be meant, and names equal rules alike."""

from __future__ import annotations

from typing import Any

import pytest

from firewall.errors import RuleError
from firewall.rules import (
    Action,
    Direction,
    Evidence,
    Match,
    Policy,
    Rate,
    Rule,
    flags_text,
    flags_value,
    icmp_set,
    icmp_text,
)
from firewall.sets import AddrSet, PortSet

FOUR, SIX = AddrSet.parse("10.0.0.1"), AddrSet.parse("2001:db8::1")
IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "port without protocol": {"dport": PortSet.of(80)},
    "port of ICMP": {"proto": 1, "dport": PortSet.of(80)},
    "port of a negated protocol": {"proto": 6, "dport": PortSet.of(80), "negate": frozenset({"proto"})},
    "ICMP type of TCP": {"proto": 6, "icmp": icmp_set("8")},
    "flags of UDP": {"proto": 17, "tcp_flags": (2, 2)},
    "flags outside their mask": {"proto": 6, "tcp_flags": (2, 16)},
    "two families": {"src": FOUR, "dst": SIX},
    "ICMP over IPv6": {"src": SIX, "proto": 1},
    "ICMPv6 over IPv4": {"dst": FOUR, "proto": 58},
    "unknown state": {"states": frozenset({"NEU"})},
    "shell in an interface": {"iif": "eth0; reboot"},
    "long interface": {"oif": "a" * 16},
    "negation of nothing": {"negate": frozenset({"src"})},
    "protocol 256": {"proto": 256},
    "protocol 0, which iptables takes for any": {"proto": 0},
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_matches_are_refused(name: str) -> None:
    """Each would load somewhere and match nothing, or the wrong thing."""
    with pytest.raises(RuleError, match=r"match: "):
        Match(**IMPOSSIBLE[name])


def test_id_is_of_what_it_does() -> None:
    """The same rule has the same id, whatever was found; another match has another."""
    one = Rule(Action.DROP, Match(src=FOUR), Direction.IN, 60, "why", (Evidence("f1"),))
    two = Rule(Action.DROP, Match(src=FOUR), Direction.IN, None, "other words")

    assert one.id == two.id
    assert one.id != Rule(Action.REJECT, Match(src=FOUR), Direction.IN).id
    assert one.id != Rule(Action.DROP, Match(dst=FOUR), Direction.IN).id
    assert len(one.id) == 13


def test_a_rule_stands_once() -> None:
    """A policy with the same rule twice is refused."""
    rule = Rule(Action.DROP, Match(src=FOUR))
    with pytest.raises(RuleError, match="twice"):
        Policy((rule, rule))


@pytest.mark.parametrize(
    "values", [{"packets": 0}, {"packets": 1, "per_s": 2}, {"packets": 1, "burst": 0}, {"packets": 1, "key": ("mac",)}]
)
def test_impossible_rates(values: dict[str, Any]) -> None:
    """Rates that no dialect can say are refused."""
    with pytest.raises(RuleError, match="rate"):
        Rate(**values)


@pytest.mark.parametrize("text", ["3", "3/4", "128-129", "0,3/0,3/1,8", "255"])
def test_icmp_both_ways(text: str) -> None:
    """Types and codes keep their text form."""
    assert icmp_text(icmp_set(text)) == text


@pytest.mark.parametrize("text", ["SYN,RST/SYN", "FIN,SYN,RST,PSH,ACK,URG/NONE"])
def test_flags_both_ways(text: str) -> None:
    """Mask and value keep their meaning."""
    assert flags_value(flags_text(flags_value(text))) == flags_value(text)


def test_families_of_a_match() -> None:
    """Both families from one rule, unless a field belongs to one."""
    assert Match(proto=6).families == {4, 6}
    assert Match(proto=58).families == {6}
    assert Match(src=FOUR | SIX, dst=SIX).families == {6}
