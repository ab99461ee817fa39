"""From rules to lines: families, chains, named sets, and what iptables needs split."""

from __future__ import annotations

import firewall_packets as fp
import pytest
from hypothesis import given, settings

from firewall.lower import LIST_MAX, MULTIPORT_SLOTS, for_iptables, lower
from firewall.program import Line, Verdict
from firewall.rules import Action, Direction, Match, Policy, Rate, Rule, Vantage, icmp_set
from firewall.sets import AddrSet, PortSet

A = AddrSet.parse
ODD_PORTS = PortSet.of(*range(1, 60, 2))  # 30 ports, two multiport lines


def lines(match: Match, vantage: Vantage = Vantage.ROUTER) -> list[Line]:
    """The lines of one DROP."""
    program = lower(Policy((Rule(Action.DROP, match),), vantage=vantage)).program
    return [line for _, _, line in program.lines() if line.rule]


def test_one_line_a_family() -> None:
    """Both families from one rule, one where a field belongs to one."""
    assert [line.family for line in lines(Match(proto=6))] == [4, 6]
    assert [line.family for line in lines(Match(src=A("10.0.0.1")))] == [4]


@pytest.mark.parametrize("count", [LIST_MAX, LIST_MAX + 1])
def test_long_lists_become_sets(count: int) -> None:
    """More than eight like addresses are one named set, one line."""
    program = lower(Policy((Rule(Action.DROP, Match(src=A(*(f"10.0.{n}.1" for n in range(count))))),))).program

    assert len(program.sets) == (count > LIST_MAX)


def test_a_hundred_thousand_addresses_are_one_line() -> None:
    """A set of any size is one rule."""
    suspects = AddrSet.of(4, [(n * 7919, n * 7919) for n in range(1, 100_001)])
    found = lines(Match(src=suspects))

    assert len(found) == 1
    assert found[0].conditions[0].value == suspects


def test_set_names_are_of_their_content() -> None:
    """The same list is the same set in every run; another list is another."""

    def name(*texts: str) -> str:
        return next(iter(lower(Policy((Rule(Action.DROP, Match(src=A(*texts))),))).program.sets))

    one = [f"10.0.{n}.1" for n in range(20)]
    assert name(*one) == name(*reversed(one)) != name(*one[1:])


@pytest.mark.parametrize(
    ("vantage", "direction", "expected"),
    [
        (Vantage.HOST, Direction.IN, ["TAPWALL-IN"]), (Vantage.HOST, Direction.OUT, ["TAPWALL-OUT"]), (Vantage.HOST, Direction.ANY, ["TAPWALL-IN", "TAPWALL-OUT"]),
        (Vantage.HOST, Direction.FORWARD, []), (Vantage.ROUTER, Direction.IN, ["TAPWALL-FWD"]), (Vantage.DOCKER, Direction.ANY, ["TAPWALL-DOCKER"]), (Vantage.SPAN, Direction.OUT, ["TAPWALL"]),
    ],
)  # fmt: skip
def test_chains_follow_vantage_and_direction(vantage: Vantage, direction: Direction, expected: list[str]) -> None:
    """A rule without a chain at this vantage is named, never silently lost."""
    rule = Rule(Action.DROP, Match(src=A("10.0.0.1")), direction)
    lowered = lower(Policy((rule,), vantage=vantage))

    assert [chain for chain, _, line in lowered.program.lines() if line.rule] == expected
    assert [why[0] for why in lowered.empty] == ([] if expected else [rule.id])


def test_docker_matches_what_the_client_sent() -> None:
    """In front of containers the destination is the one before translation; the source is as it is."""
    match = Match(src=A("10.0.0.1"), dst=A("192.0.2.1"), proto=6, dport=PortSet.of(80))

    assert [c.field for c in lines(match, Vantage.DOCKER)[0].conditions] == ["src", "orig_dst", "proto", "orig_dport"]


def test_multiport_slots() -> None:
    """Fifteen slots a line, a range takes two."""
    parts = for_iptables(tuple(lines(Match(proto=6, dport=ODD_PORTS))), "X", 4)["X"]
    found = [part.get("dport").value for part in parts]  # type: ignore[union-attr]

    assert [p.slots() for p in found] == [MULTIPORT_SLOTS, MULTIPORT_SLOTS]
    assert sorted(low for p in found for low, _ in p.ranges) == list(range(1, 60, 2))


def test_a_negated_list_is_said_by_its_complement() -> None:
    """Several lines of "not these" would let everything through: they become lines of the others."""
    match = Match(proto=6, dport=ODD_PORTS, negate=frozenset({"dport"}))
    parts = for_iptables(tuple(lines(match)), "X", 4)["X"]
    ports = [p for part in parts for low, high in part.get("dport").value.ranges for p in range(low, high + 1)]  # type: ignore[union-attr]

    assert not any(part.get("dport").negate for part in parts)  # type: ignore[union-attr]
    assert sorted(ports) == [p for p in range(65536) if p not in ODD_PORTS]


def test_a_bucket_is_not_multiplied() -> None:
    """A line with a rate that must be split keeps one bucket: its parts jump to the chain that holds it."""
    rate = Rate(5, 1, 5, True, ())
    made = for_iptables(tuple(lines(Match(proto=6, dport=ODD_PORTS, rate=rate))), "X", 4)

    holders = [line for chain in made.values() for line in chain if line.get("rate")]
    assert len(holders) == 1
    assert [line.verdict for line in made["X"]] == [Verdict.JUMP, Verdict.JUMP]


def test_icmp_types_one_a_line() -> None:
    """Whole types stay whole, single codes are single."""
    parts = for_iptables(tuple(lines(Match(proto=1, icmp=icmp_set("3/4,8,11")))), "X", 4)["X"]

    assert [part.get("icmp").value.ranges for part in parts] == [((772, 772),), ((2048, 2303),), ((2816, 3071),)]  # type: ignore[union-attr]


@settings(deadline=None, max_examples=25)
@given(fp.policies(states=True))
def test_every_rule_has_a_line_or_a_reason(policy: Policy) -> None:
    """Nothing is lost on the way: each rule id stands in a line or among the reasons."""
    lowered = lower(policy)
    seen = {line.rule for _, _, line in lowered.program.lines()} | {rule for rule, _ in lowered.empty}

    assert {rule.id for rule in policy.rules} <= seen
