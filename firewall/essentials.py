"""What must stay reachable whatever a finding says: services that keep a network alive, and the way in for the analyst.

In: the surroundings (gateway, resolvers, own addresses …) and the analyst's decisions. Out: `Protected` entries for a
policy. `exempt` ones are services that a permit in front of a broad drop keeps open; the others make a rule that would
cut them refused. ICMP follows RFC 4890 (sections 4.3 and 4.4) and its IPv4 counterparts.
Must not know findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from firewall.errors import RuleError
from firewall.rules import Match, Protected, Vantage, icmp_set
from firewall.sets import AddrSet, PortSet
from firewall.shared import private

# RFC 4890 4.3.1 (must not drop in transit) and 4.3.2 (normally kept); 4.4.1 adds what a link needs: NDP, MLD, SEND, MRD
ICMPV6_TRANSIT = "1,2,3,4,128,129,144-147"
ICMPV6_LOCAL = "1,2,3,4,128,129,130-132,133-136,141-143,148-149,151-153"
KEPT_OPEN = "kept open: "  # how the description of an exempt service begins
ICMPV4 = "3,11,12"  # destination unreachable (path MTU), time exceeded, parameter problem


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
    out = [*_icmp(vantage), *_dhcp()]
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


def _icmp(vantage: Vantage) -> list[Protected]:
    six = ICMPV6_LOCAL if vantage in (Vantage.HOST, Vantage.SPAN) else ICMPV6_TRANSIT
    return [
        Protected("ICMP errors (path MTU)", Match(proto=1, icmp=icmp_set(ICMPV4)), exempt=True),
        Protected("ICMPv6 essentials (RFC 4890)", Match(proto=58, icmp=icmp_set(six)), exempt=True),
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
