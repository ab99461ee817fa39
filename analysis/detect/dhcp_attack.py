"""DHCP misuse: a second server with other answers, and clients that ask for every address or far too often.

A rogue server gives its own router or name server and so gets the traffic; starvation takes all addresses first. What
else looks like it: two servers that share the work (equal answers), a busy wireless network (many clients, an even pace),
relays (one server behind several addresses). Reference: RFC 2131; ATT&CK T1557.003.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.evidence import Evidence, busiest
from analysis.facts import Dhcp
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "dhcp-attack"
blocked = assess.without_fact("dhcp", "DHCP messages")
DISCOVER, OFFER, REQUEST, ACK, INFORM = 1, 2, 3, 5, 8
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
    servers: int = limit(2, "servers with different answers", "tapwall: shared work has equal answers")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Rogue servers, starvation, floods."""
    rows = [row for row in evidence.facts.dhcp if row.version == 4]
    yield from _rogue(evidence, [row for row in rows if row.message in (OFFER, ACK)], limits)
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
    if len(answers) < limits.servers or len({frozenset(one) for one in told.values()}) < limits.servers:
        return
    clients: defaultdict[str, set[str]] = defaultdict(set)
    for server, mine in answers.items():
        for row in mine:
            clients[row.client_mac].add(server)
    contested = [mac for mac, servers in clients.items() if len(servers) > 1]
    first = min(answers, key=lambda server: answers[server][0].time_ns)
    rogue = min((server for server in answers if server != first), key=lambda server: answers[server][0].time_ns)
    mine = answers[rogue]
    yield of_facts(
        evidence,
        mine,
        Words(
            detector=NAME,
            title=f"A second DHCP server, {rogue}, gives other answers than {first}",
            explanation=f"{rogue} names router {mine[0].router or 'none'} and name server {listed(mine[0].dns) or 'none'}; {first} names "
            f"{answers[first][0].router or 'none'} and {listed(answers[first][0].dns) or 'none'}. {len(contested)} clients got both.",
            benign=f"Two networks in one capture have two servers; then no client hears both: here {len(contested)} do.",
            advice="Find the second server's port; DHCP snooping allows answers from known ports only.",
            impact=Severity.HIGH if contested else Severity.LOW,
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
