"""The restore files: own chains, one atomic table, nothing of anybody else's."""

from __future__ import annotations

import firewall_packets as fp
import pytest
from hypothesis import given, settings

from firewall.errors import UnsupportedError
from firewall.lower import CHAINS, lower
from firewall.render import iptables
from firewall.rules import Action, Direction, Match, Policy, Rule, Vantage
from firewall.sets import AddrSet

GOLDEN = """\
# tapwall rules, vantage host, 2 rules, default PERMIT
# load with: iptables-restore -n
# hooked by apply.sh, once: iptables -I INPUT -j TAPWALL-IN
# hooked by apply.sh, once: iptables -I OUTPUT -j TAPWALL-OUT
*filter
:TAPWALL-IN - [0:0]
:TAPWALL-OUT - [0:0]
-A TAPWALL-IN -s 203.0.113.9 -m time --datestop 2033-05-19T03:33:20 -m comment --comment "tw-c12061808d scan _of 10.0.0.5_" -j DROP
-A TAPWALL-OUT -d 203.0.113.9 -m comment --comment "tw-75867143b2 REJECT out any any to 203.0.113.9 any" -j REJECT
COMMIT
"""


def test_golden() -> None:
    """The file, whole, for both directions."""
    bad = AddrSet.parse("203.0.113.9")
    rules = (
        Rule(Action.DROP, Match(src=bad), Direction.IN, 86400, "scan (of 10.0.0.5)"),
        Rule(Action.REJECT, Match(dst=bad), Direction.OUT),
    )

    assert iptables.render(lower(Policy(rules, created=2_000_000_000)), 4).text == GOLDEN


@pytest.mark.parametrize("vantage", [Vantage.HOST, Vantage.ROUTER, Vantage.SPAN])
@pytest.mark.parametrize("family", [4, 6])
@settings(deadline=None, max_examples=8)
@given(policy=fp.policies(states=True))
def test_only_own_chains(vantage: Vantage, family: int, policy: Policy) -> None:
    """Every declaration and every rule is of a chain of ours; none is hooked, none flushes another."""
    text = iptables.render(lower(Policy(policy.rules, policy.default, vantage)), family).text
    body = [line for line in text.splitlines() if not line.startswith("#")]

    assert body[0] == "*filter" and body[-1] == "COMMIT"
    assert all(line.startswith((":TAPWALL", "-A TAPWALL")) for line in body[1:-1])
    assert [c for c, _, _ in CHAINS[vantage]] == [
        line[1:].split()[0] for line in body if line.startswith(":") and line.count("-") <= 2
    ]


def test_a_rule_without_chain_is_named() -> None:
    """What has no place at this vantage stands in the file's head and in `unsupported`."""
    rule = Rule(Action.DROP, Match(src=AddrSet.parse("10.0.0.1")), Direction.FORWARD)
    artifact = iptables.render(lower(Policy((rule,), vantage=Vantage.HOST)), 4)

    assert artifact.unsupported == ((rule.id, "direction forward has no chain at vantage host"),)
    assert f"# no line for {rule.id}" in artifact.text


def test_published_addresses_are_one_a_line() -> None:
    """conntrack --ctorigdst takes one address and no set: a list is as many lines, its opposite is an error."""
    hosts = AddrSet.parse(*(f"10.0.{n}.1" for n in range(20)))
    text = iptables.render(lower(Policy((Rule(Action.DROP, Match(dst=hosts)),), vantage=Vantage.DOCKER)), 4).text
    opposite = Rule(Action.DROP, Match(dst=hosts, negate=frozenset({"dst"})))

    assert text.count("--ctorigdst 10.0.") == 20
    with pytest.raises(UnsupportedError, match="destination"):
        iptables.render(lower(Policy((opposite,), vantage=Vantage.DOCKER)), 4)
