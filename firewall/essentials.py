"""What must stay reachable whatever a finding says: services that keep a network alive, and the way in for the analyst.

In: the surroundings (gateway, resolvers, own addresses …) and the analyst's decisions. Out: `Protected` entries for a
policy. `exempt` ones are services that a permit in front of a broad drop keeps open; the others make a rule that would
cut them refused. ICMP follows RFC 4890 (sections 4.3 and 4.4) and its IPv4 counterparts; errors are kept open where they
are about a known conversation (conntrack: RELATED), for nothing else of theirs is essential and a flood of them is not.
A service is not kept open to who is blocked for that very service: `withdraw`. Must not know findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from firewall.errors import RuleError
from firewall.rules import Match, Protected, Rule, Vantage, icmp_set
from firewall.sets import PORT_LAST, AddrSet, PortSet, subtract
from firewall.shared import private

KEPT_OPEN = "kept open: "  # how the description of an exempt service begins
ECHO = "ICMPv6 echo (RFC 4890)"  # not of a contained host: its data would tunnel out
NEIGHBOURS = "neighbour discovery and multicast listeners (RFC 4890)"
ABOUT_KNOWN = frozenset({"RELATED"})  # what conntrack calls an error that quotes a packet of a known conversation
# RFC 4890 4.3.1 (must not drop in transit) and 4.3.2 (normally kept) with the IPv4 counterparts: name, protocol, types
# (v4: destination unreachable with path MTU, time exceeded, parameter problem), states
TRANSIT: tuple[tuple[str, int, str, frozenset[str] | None], ...] = (
    ("ICMP errors of known conversations (path MTU)", 1, "3,11,12", ABOUT_KNOWN),
    ("ICMPv6 errors of known conversations (path MTU)", 58, "1-4", ABOUT_KNOWN),
    (ECHO, 58, "128,129", None),
)
MOBILE = (("ICMPv6 of mobile hosts (RFC 4890)", 58, "144-147", None),)
# 4.4.1 adds what a link needs: NDP, MLD, SEND, MRD. Who advertises as a router can be blocked for it, so that is apart.
LINK = (
    ("IPv6 router advertisements", 58, "134", None),
    (NEIGHBOURS, 58, "130-133,135,136,141-143,148-149,151-153", None),
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Who keeps this network alive, and the session that the analyst sits in: (peer, own address, port) or None."""

    own: AddrSet = field(default_factory=AddrSet)
    gateways: AddrSet = field(default_factory=AddrSet)
    resolvers: AddrSet = field(default_factory=AddrSet)
    time_servers: AddrSet = field(default_factory=AddrSet)
    session: tuple[str, str, int] | None = None


def protect(around: Surroundings, vantage: Vantage, contained: AddrSet) -> tuple[Protected, ...]:
    """The protected traffic. A contained host keeps DHCP, DNS and ICMP essentials, but not the rest of its gateway."""
    out = [*_icmp(vantage, contained), *_dhcp()]
    for name, servers, port in (("DNS", around.resolvers, 53), ("time", around.time_servers, 123)):
        if servers:
            protocols = (17, 6) if port == 53 else (17,)
            out += [p for proto in protocols for p in _service(name, servers, proto, port)]
    neighbours = private() - contained
    for family in (4, 6):
        gateways = around.gateways.only(family) - contained
        if gateways:
            near = neighbours.only(family)
            out.append(Protected("gateway", Match(src=gateways, dst=near)))
            out.append(Protected("gateway", Match(src=near, dst=gateways)))
    own = around.own - contained
    if own:
        out.append(Protected("own addresses", Match(src=own, dst=own)))
    out += _session(around.session)
    return tuple(out)


def _icmp(vantage: Vantage, contained: AddrSet) -> list[Protected]:
    here = LINK if vantage in (Vantage.HOST, Vantage.SPAN) else MOBILE
    return [
        Protected(name, match, exempt=True)
        for name, proto, types, states in (*TRANSIT, *here)
        for match in _without(
            Match(proto=proto, icmp=icmp_set(types), states=states), contained if name == ECHO else AddrSet()
        )
    ]


def _dhcp() -> list[Protected]:
    four, six = PortSet.of(67, 68), PortSet.of(546, 547)
    both = [AddrSet.everything().only(family) for family in (4, 6)]
    return [
        Protected("DHCP", Match(src=both[0], proto=17, sport=four, dport=four), exempt=True),
        Protected("DHCPv6", Match(src=both[1], proto=17, sport=six, dport=six), exempt=True),
    ]


def _service(name: str, servers: AddrSet, proto: int, port: int) -> list[Protected]:
    at = PortSet.of(port)
    return [
        Protected(name, Match(dst=servers, proto=proto, dport=at), exempt=True),
        Protected(name, Match(src=servers, proto=proto, sport=at), exempt=True),
    ]


def withdraw(
    items: Sequence[Protected], blocks: Sequence[Rule], accused: AddrSet, near: AddrSet
) -> tuple[Protected, ...]:
    """The protected traffic without services that a block is about: what an `accused` address sends as the server of that
    service (a false DHCP server, a false router), and what strangers (not `near`) ask of a server that they attack. A
    neighbour's own questions stay open, and so does finding an address on the link, without which nothing else works."""
    out: list[Protected] = []
    for item in items:
        if not item.exempt or item.name == NEIGHBOURS:
            out.append(item)
            continue
        gone = AddrSet()
        for rule in blocks:
            if rule.evidence and rule.match.src is not None and _about(rule.match, item.match):
                gone |= rule.match.src - near if item.match.dst is not None else rule.match.src & accused
        out += [replace(item, match=match) for match in _without(item.match, gone)]
    return tuple(out)


def _about(block: Match, service: Match) -> bool:
    """True where a block names the service's protocol and, if it has ports, one of its sides: no drop of all that a host
    sends, in front of which the service stays open."""
    if "src" in block.negate or block.proto != service.proto:
        return False
    if service.sport is None and service.dport is None:
        return True
    sides = [(block.sport, service.sport), (block.dport, service.dport)]
    return any(mine and theirs and not subtract(mine.ranges, theirs.ranges, PORT_LAST) for mine, theirs in sides)


def _without(service: Match, gone: AddrSet) -> list[Match]:
    """The service without what some addresses send, a family at a time."""
    if not gone:
        return [service]
    out = []
    for family in sorted(service.families):
        here, everybody = gone.only(family), AddrSet.everything().only(family)
        dst = None if service.dst is None else service.dst.only(family)
        src = None if service.src is None else service.src.only(family)
        if here and src in (None, everybody):
            out.append(replace(service, src=here, dst=dst, negate=frozenset({"src"})))
        elif src is None or src - here:
            out.append(replace(service, src=None if src is None else src - here, dst=dst))
    return out


def _session(session: tuple[str, str, int] | None) -> list[Protected]:
    if session is None:
        return []
    peer, mine, port = AddrSet.parse(session[0]), AddrSet.parse(session[1]), PortSet.of(session[2])
    return [
        Protected("management session", Match(src=peer, dst=mine, proto=6, dport=port)),
        Protected("management session", Match(src=mine, dst=peer, proto=6, sport=port)),
    ]


def session_of(ssh_connection: str) -> tuple[str, str, int] | None:
    """(peer, own address, port) from SSH_CONNECTION ("peer port own port"), None where it says nothing."""
    parts: Sequence[str] = ssh_connection.split()
    if len(parts) != 4 or not parts[3].isdigit() or not 0 < int(parts[3]) < 65536:
        return None
    peer, own = (p.split("%")[0] for p in (parts[0], parts[2]))
    try:
        return (peer, own, int(parts[3])) if AddrSet.parse(peer).families == AddrSet.parse(own).families else None
    except RuleError:  # the environment is not ours: nonsense there protects nothing
        return None
