"""Why a rule was hit by nothing, in the capture's own numbers."""

from __future__ import annotations

import firewall_packets as fp
import pytest

from firewall.explain import Explainer
from firewall.lower import lower
from firewall.report import totals, why_dead
from firewall.rules import Action, Direction, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet, PortSet
from firewall.simulate import Simulator

ME, WEB = "192.168.1.5", "203.0.113.9"
A = AddrSet.parse
PACKETS = fp.talk(ME, 50000, WEB, 443)  # 6 packets out, 5 in
DEAD: dict[str, tuple[Rule, str]] = {
    "the remote port": (Rule(Action.DROP, Match(dst=A(ME), proto=6, dport=PortSet.of(443)), Direction.IN), "443 is the remote port here: 5 packets come from port 443, none go to it; match the source port"),
    "the other side's port": (Rule(Action.DROP, Match(src=A(ME), proto=6, sport=PortSet.of(443)), Direction.OUT), "443 is the port they go to: 6 packets, none come from it; match the destination port"),
    "no such port": (Rule(Action.PERMIT, Match(src=A("192.168.1.0/24"), proto=6, dport=PortSet.of(80)), Direction.OUT), "no packet of this capture has destination port 80"),
    "no such host": (Rule(Action.DROP, Match(src=A("10.9.9.9")), Direction.IN), "no packet of this capture has source 10.9.9.9"),
    "the wrong chain": (Rule(Action.DROP, Match(src=A(ME)), Direction.IN), "6 packets match, but in the other direction than this chain sees"),
    "not together": (Rule(Action.DROP, Match(src=A(WEB), proto=17), Direction.IN), "no packet of this capture has protocol 17"),
    "a pair that never met": (Rule(Action.DROP, Match(src=A(WEB), dst=A("192.168.1.9")), Direction.IN), "no packet of this capture has destination 192.168.1.9"),
}  # fmt: skip


def reason(*rules: Rule) -> str:
    """Why the last rule is dead."""
    policy = Policy(rules, vantage=Vantage.HOST, local=A(ME))
    program = lower(policy).program
    simulator = Simulator(program, local=policy.local)
    simulator.update(fp.batch(PACKETS + fp.talk(ME, 50001, "203.0.113.10", 8080)[:0]))
    found = totals(program, simulator.finish())[rules[-1].id]
    assert found.hits == 0
    return why_dead(found, Explainer(simulator.conversations, policy.local))


@pytest.mark.parametrize("name", DEAD)
def test_why(name: str) -> None:
    """Each with the number that shows it."""
    rule, expected = DEAD[name]

    assert reason(rule) == expected


def test_decided_earlier() -> None:
    """A rule below one that takes its packets."""
    first = Rule(Action.PERMIT, Match(src=A(WEB)), Direction.IN)
    second = Rule(Action.DROP, Match(src=A(WEB), proto=6), Direction.IN)

    assert reason(first, second).startswith("earlier rules decide all 5 packets")
