"""What must stay reachable is protected, by its place."""

from __future__ import annotations

from dataclasses import replace

import firewall_packets as fp
import pytest

from firewall.essentials import Surroundings, protect, withdraw
from firewall.lockout import cuts
from firewall.rules import Action, Evidence, Match, Policy, Rule, Vantage, icmp_set
from firewall.sets import AddrSet, PortSet
from firewall.shared import private

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
    assert "ICMP errors of known conversations (path MTU)" in guarded(Vantage.HOST, Match(proto=1, icmp=icmp_set(kind)))


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

    rules = [Rule(Action.PERMIT, p.match) for p in protect(Surroundings(), Vantage.HOST, A()) if p.match.proto == 58]
    simulator = Simulator(lower(Policy((*rules, Rule(Action.DROP)), vantage=Vantage.ROUTER)).program)
    verdicts = simulator.update(fp.batch([fp.icmp("fe80::1", "fe80::2", 135), fp.icmp("fe80::1", "fe80::2", 137)]))

    assert verdicts.dropped.tolist() == [False, True]


def test_only_errors_about_known_conversations_are_kept_open() -> None:
    """conntrack calls them RELATED; an error about nothing that was ever sent (INVALID) is no essential."""
    from firewall.lower import lower
    from firewall.simulate import Simulator

    me, router = "192.168.1.5", "192.0.2.1"
    asked, never = fp.udp(me, 1234, "198.51.100.7", 53), fp.udp(me, 4321, "198.51.100.8", 53)
    rules = [Rule(Action.PERMIT, p.match) for p in protect(Surroundings(), Vantage.ROUTER, A())]
    policy = Policy((*rules, Rule(Action.DROP, Match(proto=1))), vantage=Vantage.ROUTER)
    errors = [fp.icmp(router, me, 3, 3, ident=0, body=quoted) for quoted in (asked, never)]
    verdicts = Simulator(lower(policy).program).update(fp.batch([asked, *errors]))

    assert verdicts.dropped.tolist() == [False, False, True]


def drop(match: Match) -> Rule:
    """A block that a finding called for."""
    return Rule(Action.DROP, match, evidence=(Evidence("f"),))


ROGUE, STRANGER, SERVER = "192.168.1.66", "203.0.113.9", "9.9.9.9"
WITHDRAWN: dict[str, tuple[Match, Match]] = {  # the block, and traffic that it alone makes no longer protected
    "a false DHCP server": (
        Match(src=A(ROGUE), proto=17, sport=PortSet.of(67)),
        Match(src=A(ROGUE), proto=17, sport=PortSet.of(67), dport=PortSet.of(68)),
    ),
    "a false router": (Match(src=A("fe80::66"), proto=58), Match(src=A("fe80::66"), proto=58, icmp=icmp_set("134"))),
    "errors of one host": (Match(src=A(STRANGER), proto=1), Match(src=A(STRANGER), proto=1, icmp=icmp_set("3"))),
    "a stranger who asks a name server": (
        Match(src=A(STRANGER), dst=A(SERVER), proto=17, dport=PortSet.of(53)),
        Match(src=A(STRANGER), dst=A(SERVER), proto=17, dport=PortSet.of(53)),
    ),
}


@pytest.mark.parametrize("name", WITHDRAWN)
def test_a_service_is_not_kept_open_to_who_is_blocked_for_it(name: str) -> None:
    """What others send stays protected, and so does all where the block is of everything that the host sends."""
    block, traffic = WITHDRAWN[name]
    items = protect(Surroundings(resolvers=A(SERVER)), Vantage.HOST, A())
    accused = A(ROGUE, STRANGER, "fe80::66")

    def protected(match: Match, *blocks: Rule) -> bool:
        shield = withdraw(items, blocks, accused, private())
        return bool(cuts(Policy((Rule(Action.DROP, match),), protected=shield)))

    assert protected(traffic) and not protected(traffic, drop(block))
    assert protected(replace(traffic, src=A("192.168.1.7", "198.51.100.4", "fe80::7").only(6 if traffic.proto == 58 else 4)), drop(block))  # fmt: skip
    assert protected(traffic, drop(Match(src=block.src)))


def test_a_neighbour_keeps_its_resolver_and_its_neighbours() -> None:
    """A block of a neighbour's questions leaves DNS alone, one of its ICMPv6 leaves address resolution alone."""
    items = protect(Surroundings(resolvers=A(SERVER)), Vantage.HOST, A())
    for match in (
        Match(src=A(ROGUE), dst=A(SERVER), proto=17, dport=PortSet.of(53)),
        Match(src=A("fe80::66"), proto=58, icmp=icmp_set("135")),
    ):
        shield = withdraw(items, [drop(replace(match, icmp=None))], A(ROGUE, "fe80::66"), private())

        assert cuts(Policy((Rule(Action.DROP, match),), protected=shield))


def test_echo_of_a_contained_host_is_cut() -> None:
    """RFC 4890 keeps echo open; the payload of a contained host would tunnel out through it."""
    shield = protect(Surroundings(), Vantage.ROUTER, A("fd00::66"))
    echo = {host: Match(src=A(host), proto=58, icmp=icmp_set("128")) for host in ("fd00::66", "fd00::7")}

    assert not cuts(Policy((Rule(Action.DROP, echo["fd00::66"]),), protected=shield))
    assert cuts(Policy((Rule(Action.DROP, echo["fd00::7"]),), protected=shield))
