"""DHCP misuse: a second server with other answers, and clients that ask for every address or far too often.

A rogue server gives its own router or name server and so gets the traffic; starvation takes all addresses first. Over
IPv6 nobody else need answer: Windows asks for DHCPv6 where there is none (mitm6), so a server stands out that names itself
as name server, is no router, and gives addresses that no server gives or answers for whatever domain. What else looks like
it: two servers that share the work (equal answers), a busy wireless network (many clients, an even pace), relays (one
server behind several addresses), a home router or a domain controller that is DHCPv6 and name server at once (it
announces a prefix; it leases addresses of the network and answers with those of others).
Reference: RFC 2131, RFC 8415; ATT&CK T1557.003; mitm6 as published.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.domains import registered
from analysis.evidence import Evidence, busiest
from analysis.facts import Dhcp, Dns
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "dhcp-attack"
blocked = assess.without_fact("dhcp", "DHCP messages")
DISCOVER, OFFER, REQUEST, ACK, INFORM = 1, 2, 3, 5, 8
ADDRESSES = (1, 28)  # A, AAAA
ADVERTISE6, REPLY6 = 2, 7  # RFC 8415 7.3
SPOOFING = ("T1557.003", "Adversary-in-the-Middle: DHCP Spoofing")


class Thresholds(Limits):
    """When asking is too much."""

    clients: int = limit(30, "new clients in the window", "tapwall: a full class room joins slower")
    requests: int = limit(
        50, "requests of one client in the window", "RFC 2131 4.1: clients wait 4, 8, 16 s between repeats"
    )
    addresses: int = limit(
        6, "addresses that one client asks for in the window", "Slips: 4; RFC 2131 3.2: a client wants its last one"
    )
    window_s: float = limit(60.0, "s", "tapwall")
    domains: int = limit(
        3, "domains that a server answers for with one address", "tapwall: a domain controller answers so for its own"
    )
    servers: int = limit(2, "servers with different answers", "tapwall: shared work has equal answers")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Rogue servers of both families, starvation, floods."""
    rows = [row for row in evidence.facts.dhcp if row.version == 4]
    yield from _rogue(evidence, [row for row in rows if row.message in (OFFER, ACK)], limits)
    told6 = [row for row in evidence.facts.dhcp if row.version == 6 and row.message in (ADVERTISE6, REPLY6)]
    contested = list(_rogue(evidence, told6, limits))
    yield from contested
    if not contested:
        yield from _own_names(evidence, told6, limits)
    asked = sorted((row for row in rows if row.message in (DISCOVER, REQUEST, INFORM)), key=lambda row: row.time_ns)
    if not asked:
        return
    start, end, _ = busiest(np.array([row.time_ns for row in asked]), limits.window_s)
    window = asked[start:end]
    clients = {row.client_mac for row in window}
    per_client: defaultdict[str, int] = defaultdict(int)
    for row in window:
        per_client[row.client_mac] += 1
    busy, most = max(per_client.items(), key=lambda item: item[1])
    if len(clients) >= limits.clients:
        yield _flood(
            evidence,
            asked,
            limits,
            "clients",
            len(clients),
            f"{len(clients)} new clients ask for addresses at once: the pool is being emptied",
        )
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for row in window:
        if row.offered not in ("", "0.0.0.0"):
            wanted[row.client_mac].add(row.offered)
    for mac, addresses in wanted.items():
        if len(addresses) >= limits.addresses and len(clients) < limits.clients:
            mine = [row for row in asked if row.client_mac == mac]
            title = f"{mac} asked the DHCP service for {len(addresses)} different addresses"
            yield _flood(evidence, mine, limits, "addresses", len(addresses), title)
    if most >= limits.requests and len(clients) < limits.clients:
        mine = [row for row in asked if row.client_mac == busy]
        yield _flood(evidence, mine, limits, "requests", most, f"{busy} floods the DHCP service with {most} requests")


def _flood(evidence: Evidence, rows: list[Dhcp], limits: Thresholds, name: str, count: int, title: str) -> Finding:
    macs = {row.client_mac for row in rows}
    span = max(1.0, (rows[-1].time_ns - rows[0].time_ns) / 1e9)
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{title} ({len(rows) / span:.0f} a second)",
            explanation=f"{len(rows)} DHCP requests of {len(macs)} clients in {span:.0f} s. Servers run out of addresses or of time, "
            "often before a rogue server takes over.",
            benign="Many devices start together after a power cut, and each asks once or twice: here "
            f"{len(rows) / len(macs):.0f} requests a client.",
            advice="Limit DHCP per switch port (DHCP snooping); find the port these MACs come from.",
            impact=Severity.MEDIUM,
            evidence={"requests": margin(count, getattr(limits, name), least=0.6)},
            numbers={
                name: measured(limits, name, count),
                "per_second": Number(round(len(rows) / span, 1), "requests/s"),
            },
            subject=f"flood {sorted(macs)[0] if len(macs) == 1 else 'many'}",
            attack=(SPOOFING, ("T1499.002", "Endpoint Denial of Service: Service Exhaustion Flood")),
            accountable=next(iter(macs)) if len(macs) == 1 else "",
            filter="dhcp.option.dhcp in {1, 3, 8}"
            + (f" && dhcp.hw.mac_addr == {next(iter(macs))}" if len(macs) == 1 else ""),
        ),
    )


def _rogue(evidence: Evidence, rows: list[Dhcp], limits: Thresholds) -> Iterator[Finding]:
    answers: defaultdict[str, list[Dhcp]] = defaultdict(list)
    for row in rows:
        if row.server and (row.router or row.dns):
            answers[row.server].append(row)
    told = {server: {(row.router, row.dns) for row in mine} for server, mine in answers.items()}
    least = max(2, limits.servers)
    if len(answers) < least or len({frozenset(one) for one in told.values()}) < least:
        return
    clients: defaultdict[str, set[str]] = defaultdict(set)
    for server, mine in answers.items():
        for row in mine:
            clients[row.client_mac or evidence.target_of(row.flow)].add(server)
    contested = [mac for mac, servers in clients.items() if len(servers) > 1]
    first = min(answers, key=lambda server: answers[server][0].time_ns)
    rogue = min((server for server in answers if server != first), key=lambda server: answers[server][0].time_ns)
    mine = answers[rogue]
    announced = {rogue, first} <= {row.source for row in evidence.facts.router_advert if row.lifetime_s}
    yield of_facts(
        evidence,
        mine,
        Words(
            detector=NAME,
            title=f"A second DHCP{'v6' * (mine[0].version == 6)} server, {rogue}, gives other answers than {first}",
            explanation=f"{rogue} names router {mine[0].router or 'none'} and name server {listed(mine[0].dns) or 'none'}; {first} names "
            f"{answers[first][0].router or 'none'} and {listed(answers[first][0].dns) or 'none'}. {len(contested)} clients got both.",
            benign=f"Two networks in one capture have two servers; then no client hears both: here {len(contested)} do."
            + (" Both announce themselves as routers: a house may have two." if announced else ""),
            advice="Find the second server's port; DHCP snooping allows answers from known ports only.",
            impact=Severity.LOW if not contested else Severity.MEDIUM if announced else Severity.HIGH,
            evidence={"two servers, two answers": 0.5, "same clients": 0.4 * bool(contested)},
            numbers={
                "servers": measured(limits, "servers", len(answers)),
                "contested_clients": Number(len(contested), "clients"),
            },
            subject=f"rogue {rogue}",
            attack=(SPOOFING,),
            accountable=rogue,
            hosts=(rogue, first),
        ),
    )


def _own_names(evidence: Evidence, rows: list[Dhcp], limits: Thresholds) -> Iterator[Finding]:
    """A DHCPv6 server that is no router and makes itself the name server (mitm6)."""
    routers = {row.source for row in evidence.facts.router_advert if row.lifetime_s}
    by_server: defaultdict[str, list[Dhcp]] = defaultdict(list)
    for row in rows:
        if row.server in row.dns and row.server not in routers:
            by_server[row.server].append(row)
    for server, mine in by_server.items():
        strange = sorted({row.offered for row in mine if _link_local(row.offered)})
        domains, answers = _answered_alike(evidence, server)
        if not strange and len(domains) < limits.domains:
            continue
        clients = sorted({_other_end(evidence, row.flow, server) for row in mine})
        yield of_facts(
            evidence,
            [*mine, *answers],
            Words(
                detector=NAME,
                title=f"{server} gives itself out by DHCPv6 as name server of {len(clients)} hosts, and is no router (mitm6)",
                explanation=f"{len(mine)} DHCPv6 answers; "
                + (
                    f"they lease link-local addresses ({listed(strange, 2)}), which hosts make themselves. "
                    if strange
                    else ""
                )
                + (
                    f"It answers for {len(domains)} domains with one address ({listed(domains, 3)}). "
                    if domains
                    else ""
                )
                + "Windows prefers an IPv6 name server, so all names are looked up there, and logins follow.",
                benign="A home router or a domain controller is DHCPv6 and name server too: the router announces a prefix, and both "
                f"lease addresses of the network; here {len(strange)} leases are link-local.",
                advice="Find the port of this host; DHCPv6 guard (RFC 7610) on the switch; where IPv6 is not used, drop DHCPv6 and "
                "router advertisements on the clients' ports.",
                impact=Severity.HIGH,
                evidence={
                    "its own name server, no router": 0.4,
                    "link-local leases": 0.5 * bool(strange),
                    "answers for all": margin(len(domains), limits.domains, least=0.4),
                },
                numbers={
                    "domains": measured(limits, "domains", len(domains)),
                    "link_local_leases": Number(len(strange), "addresses"),
                    "clients": Number(len(clients), "hosts"),
                },
                subject=f"names {server}",
                attack=(SPOOFING,),
                accountable=server,
                hosts=(server, *clients[:20]),
            ),
        )


def _link_local(address: str) -> bool:
    return address.startswith("fe80:")


def _other_end(evidence: Evidence, flow: int, address: str) -> str:
    source, target = evidence.source_of(flow), evidence.target_of(flow)
    return target if source == address else source


def _answered_alike(evidence: Evidence, server: str) -> tuple[list[str], list[Dns]]:
    """Domains for which a host gave the address that it gave for most, and its answers with that address."""
    given: defaultdict[str, set[str]] = defaultdict(set)
    said: defaultdict[str, list[Dns]] = defaultdict(list)
    for row in evidence.facts.dns:
        if row.response and row.protocol == "dns" and evidence.sender_of(row.flow, row.from_a) == server:
            for _, kind, _, text in row.answers:
                if kind in ADDRESSES:
                    given[text].add(registered(row.name))
                    said[text].append(row)
    if not given:
        return [], []
    most = max(given, key=lambda text: len(given[text]))
    return sorted(given[most]), said[most]
