"""What must stay reachable is protected, by its place."""

from __future__ import annotations

import firewall_packets as fp
import pytest

from firewall.essentials import Surroundings, protect
from firewall.lockout import cuts
from firewall.rules import Action, Match, Policy, Rule, Vantage, icmp_set
from firewall.sets import AddrSet, PortSet

A = AddrSet.parse
# RFC 4890: 4.3.1 and 4.3.2 in transit, 4.4.1 and 4.4.2 at a host
TRANSIT = [1, 2, 3, 4, 128, 129, 144, 145, 146, 147]
LOCAL = [1, 2, 3, 4, 128, 129, 130, 131, 132, 133, 134, 135, 136, 141, 142, 143, 148, 149, 151, 152, 153]


def guarded(vantage: Vantage, match: Match) -> set[str]:
    """What a drop of `match` would cut."""
    around = Surroundings(A("192.168.1.5"), A("192.168.1.1"), A("9.9.9.9", "2620:fe::fe"), A("192.0.2.123"))
    policy = Policy(
        (Rule(Action.DROP, match),), vantage=vantage, local=around.own, protected=protect(around, vantage, A())
    )
    return {name for _, name in cuts(policy)}


@pytest.mark.parametrize(
    ("vantage", "types"), [(Vantage.HOST, LOCAL), (Vantage.SPAN, LOCAL), (Vantage.ROUTER, TRANSIT)], ids=str
)
def test_icmpv6_of_rfc_4890(vantage: Vantage, types: list[int]) -> None:
    """Every type that the RFC says must not be dropped is protected there, and no other."""
    found = [kind for kind in range(256) if guarded(vantage, Match(proto=58, icmp=icmp_set(str(kind))))]

    assert found == types


@pytest.mark.parametrize("kind", ["3/4", "11", "12"])
def test_icmpv4_errors(kind: str) -> None:
    """Path MTU discovery and traceroute survive."""
    assert "ICMP errors (path MTU)" in guarded(Vantage.HOST, Match(proto=1, icmp=icmp_set(kind)))


@pytest.mark.parametrize(
    ("match", "name"),
    [
        (Match(dst=A("9.9.9.9")), "DNS"), (Match(src=A("2620:fe::fe"), proto=17), "DNS"), (Match(dst=A("192.0.2.123"), proto=17), "time"),
        (Match(proto=17, dport=PortSet.of(67)), "DHCP"), (Match(proto=17, sport=PortSet.of(547)), "DHCPv6"),
        (Match(src=A("192.168.1.1"), dst=A("192.168.1.0/24"), proto=6), "gateway"), (Match(dst=A("192.168.1.5"), proto=6), "own addresses"),
    ],
)  # fmt: skip
def test_services(match: Match, name: str) -> None:
    """Resolvers, time, DHCP, the gateway and the machine itself."""
    assert name in guarded(Vantage.HOST, match)


def test_internet_behind_the_gateway_is_nobodys_lifeline() -> None:
    """The gateway forwards foreign traffic under its card's address, not under its own."""
    met = guarded(Vantage.HOST, Match(src=A("203.0.113.9")))

    assert not met & {"gateway", "own addresses", "management session"}


def test_icmp_permits_are_found_by_the_simulator() -> None:
    """The protected matches mean what a packet has: type 135 is one of them, type 137 is not."""
    from firewall.lower import lower
    from firewall.simulate import Simulator

    rules = [Rule(Action.PERMIT, p.match) for p in protect(Surroundings(), Vantage.HOST, A()) if "ICMPv6" in p.name]
    simulator = Simulator(lower(Policy((*rules, Rule(Action.DROP)), vantage=Vantage.ROUTER)).program)
    verdicts = simulator.update(fp.batch([fp.icmp("fe80::1", "fe80::2", 135), fp.icmp("fe80::1", "fe80::2", 137)]))

    assert verdicts.dropped.tolist() == [False, True]
