"""A rule that others leave nothing for is taken out, with a word where its finding has no other."""

from __future__ import annotations

import firewall_packets as fp

from firewall.explain import Explainer
from firewall.idle import withdraw_idle
from firewall.lower import lower
from firewall.proposal import Proposal
from firewall.rules import Action, Evidence, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.simulate import Simulator

BAD, ME, ABSENT = "203.0.113.9", "192.168.1.5", "203.0.113.10"
PACKETS = fp.talk(BAD, 1024, ME, 22)


def block(finding: str, **match: object) -> Rule:
    return Rule(Action.DROP, Match(**match), evidence=(Evidence(finding),))  # type: ignore[arg-type]


def left(
    *rules: Rule, packets: list[bytes] = PACKETS, vantage: Vantage = Vantage.ROUTER
) -> tuple[list[Rule], list[str]]:
    """Rules and notes after the idle ones are taken out."""
    proposal = Proposal(Policy(rules, vantage=vantage), "as asked")
    program = lower(proposal.policy).program
    simulator = Simulator(program)
    simulator.update(fp.batch(packets))
    explainer = Explainer(simulator.conversations, AddrSet())
    withdraw_idle(proposal, program, simulator.finish(), explainer)
    return list(proposal.policy.rules), [note.text for note in proposal.advice]


ATTACKER = AddrSet.parse(BAD)
WIDE, NARROW = block("one", src=ATTACKER), block("two", src=ATTACKER, proto=6, dport=PortSet.of(22))


def test_what_an_earlier_rule_decides_is_left_out() -> None:
    """Its finding, without another rule, is told why."""
    rules, notes = left(WIDE, NARROW)

    assert rules == [WIDE]
    assert notes == ["all its packets are decided by earlier rules: a rule would stop nothing"]


def test_the_permit_that_stands_before_is_named() -> None:
    """A service that is kept open, in its own words; without a block behind it the permit is not needed either."""
    permit = Rule(Action.PERMIT, Match(proto=6, dport=PortSet.of(22)), description="kept open: the management")
    unmet = Rule(Action.PERMIT, Match(proto=6, dport=PortSet.of(23)), description="kept open: another")
    rules, notes = left(permit, unmet, NARROW)

    assert not rules and notes == ["all its packets are kept open: the management: a rule would stop nothing"]


def test_a_finding_with_another_rule_needs_no_word() -> None:
    """One of two rules is idle."""
    rules, notes = left(WIDE, block("one", src=ATTACKER, proto=6))

    assert rules == [WIDE] and not notes


def test_what_reaches_no_container_needs_no_rule() -> None:
    """In front of containers, packets of no connection (orphan answers) are not translated."""
    orphans = [fp.tcp(BAD, 80, ME, port, fp.SYN | fp.ACK) for port in range(2000, 2010)]
    rules, notes = left(block("one", src=ATTACKER, dst=AddrSet.parse(ME)), packets=orphans, vantage=Vantage.DOCKER)

    assert not rules and "are translated to none" in notes[0]


def test_other_rules_without_hits_stay() -> None:
    """One that this capture has no packet for, and one that was asked for."""
    absent, asked = block("three", src=AddrSet.parse(ABSENT)), Rule(Action.DROP, NARROW.match)
    rules, notes = left(WIDE, absent, asked)

    assert rules == [WIDE, absent, asked] and not notes
