"""Negated ports in nft: the kernel must test both, whatever nft makes of the text."""

from __future__ import annotations

from firewall.lower import lower
from firewall.render import nftables
from firewall.rules import Action, Direction, Match, Policy, Rule, Vantage
from firewall.sets import PortSet


def test_two_negated_ports_stay_two_comparisons() -> None:
    """nft 1.0.6 joins `!= A` of both ports into one comparison that is true where one of them differs."""
    match = Match(proto=6, sport=PortSet.of(22), dport=PortSet.of(53), negate=frozenset({"sport", "dport"}))
    text = nftables.render(lower(Policy((Rule(Action.DROP, match, Direction.IN),), vantage=Vantage.HOST))).text

    assert "tcp sport != 22-22 tcp dport != 53-53" in text
