"""Horizontal sweep: one host asks many others for the same thing, and few answer.

Ping sweeps, ARP sweeps and one port tried on many hosts (worms, scanners), within minutes, or four times as many hosts over
the whole capture; also by FIN, bare ACK or SCTP INIT. Why it matters: a search for victims. What
else looks like it: browsers with many servers (they answer), monitoring (its hosts answer), peer-to-peer clients (many
ports), a router that refreshes its ARP table (it forwards for the subnet: low), a resolver that asks many name servers
(it is asked itself) and a server that looks its visitors up (they came first).
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from analysis import assess, columns, probes
from analysis.claims import Words, listed, of_facts, of_links
from analysis.columns import Array, different, median
from analysis.evidence import HOUSEKEEPING_PORTS, Evidence, busiest, large_groups
from analysis.facts import Arp
from analysis.findings import Finding, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "sweep"
MAIL = 25
ECHO, TIMESTAMP, MASK, ECHO_V6, SOLICITATION = 8, 13, 17, 128, 135
DNS = 53
SEARCHED = (DNS, 123, 137, 1900)  # housekeeping, asked of many hosts: who searches for such servers abuses them
DISCOVERY = (("T1018", "Remote System Discovery"),)


class Thresholds(Limits):
    """When many hosts are a sweep."""

    hosts: int = limit(15, "distinct hosts", "Zeek 25, Slips 5, Elastic raised 10 to 100")
    window_s: float = limit(300.0, "s", "Zeek's scan policy: 5 min")
    slow_hosts: int = limit(60, "distinct hosts", "tapwall: four times the hosts where they need the whole capture")
    failed_share: float = limit(0.8, "share of hosts without answer", "tapwall's default")
    named: float = limit(0.5, "share of hosts with a name", "tapwall: who is looked up by name is not searched for")
    monitored: float = limit(
        4.0, "requests a host, median", "tapwall: monitoring asks again and again, a sweep once or twice"
    )
    monitored_silent: float = limit(0.2, "share of hosts without answer, at most", "tapwall: monitored hosts exist")
    arp_targets: int = limit(20, "distinct addresses", "tapwall's default; Slips 5")
    arp_per_s: int = limit(
        100, "requests of one card within a second", "tapwall: a host repeats a request once a second"
    )
    arp_window_s: float = limit(60.0, "s", "tapwall's default")
    arp_answered: float = limit(0.3, "share of requests answered, at most", "tapwall's default")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs conversations or ARP."""
    return None if evidence.facts.arp else assess.without_transport(evidence, limits)


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per sweeper and service, and per ARP sender."""
    links = evidence.links
    echo = np.isin(links.kind, (columns.ICMP, columns.ICMPV6)) & np.isin(
        links.target_port, (ECHO, TIMESTAMP, MASK, ECHO_V6)
    )
    service = (links.kind == columns.TCP) & links.known & (links.syns > 0)
    service |= (
        (links.kind == columns.UDP)
        & links.known
        & ~np.isin(links.target_port, [port for port in HOUSEKEEPING_PORTS if port not in SEARCHED])
    )
    service |= probes.tried(links)
    service |= (links.kind == columns.TCP) & probes.stealth(links.first_flags) & (links.sent_payload == 0)
    service |= probes.bare(links)
    group = evidence.hosts.group  # a network's own address and its broadcast are swept with the others
    rows = np.flatnonzero(np.where(echo, ~group[links.source], links.unicast & service))
    for chosen in large_groups(rows, limits.hosts, links.source, links.kind, links.target_port):
        finding = _judge(evidence, _uncalled(evidence, chosen), limits)
        if finding is not None:
            yield finding
    yield from _mail(evidence, limits)
    yield from _arp(evidence, limits)
    yield from _neighbours(evidence, limits)


def _uncalled(evidence: Evidence, chosen: Array) -> Array:
    """Who asks many hosts for names has its reasons where they came to it first (a server that looks its visitors up), or
    where it is asked for names itself (a resolver): those conversations are left out."""
    links = evidence.links
    port = int(links.target_port[chosen[0]])
    if int(links.kind[chosen[0]]) != columns.UDP or port not in SEARCHED:
        return chosen
    came = links.target == links.source[chosen[0]]
    if port == DNS and bool((came & (links.target_port == DNS)).any()):
        return chosen[:0]
    return chosen[~np.isin(links.target[chosen], links.source[came])]


def _judge(evidence: Evidence, chosen: Array, limits: Thresholds) -> Finding | None:
    links = evidence.links
    if len(chosen) < limits.hosts:
        return None
    kind, port = int(links.kind[chosen[0]]), int(links.target_port[chosen[0]])
    ping = kind in (columns.ICMP, columns.ICMPV6)
    failed = links.failed[chosen] | (
        (links.sent_payload[chosen] == 0) & (links.got_payload[chosen] == 0) & ~np.bool_(ping)
    )
    if kind == columns.SCTP:
        failed = ~probes.taken_up(links, chosen)
    if bool(probes.bare(links, chosen).all()) and not bool((links.got[chosen] > 0).any()):
        return None  # without any RST they may be half of what was said
    if kind == columns.UDP and _replies(links.source_port[chosen], port):
        return None
    order = np.argsort(links.first_ns[chosen], kind="stable")
    start, end, _ = busiest(links.first_ns[chosen][order], limits.window_s)
    window = chosen[order[start:end]]
    hosts, tried = len(different(links.target[window])), len(different(links.target[chosen]))
    silent = len(different(links.target[chosen][failed])) / tried
    slow = hosts < limits.hosts
    if (slow and tried < limits.slow_hosts) or ((slow or not ping) and silent < limits.failed_share):
        return None
    if not ping and _named(evidence, chosen) > limits.named:
        return None
    again = median(_packets_by_target(evidence, chosen))
    if again >= limits.monitored and (slow or (ping and silent < limits.monitored_silent)):
        return None
    source = evidence.text(int(links.source[chosen[0]]))
    what = "pinged" if ping else f"tried {columns.KINDS[kind].upper()} port {port} of"
    terms = {"hosts": margin(tried, limits.slow_hosts, least=0.55) if slow else margin(hosts, limits.hosts, least=0.55)}
    if silent:
        terms["no answer"] = 0.5 * silent
    return of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{source} {what} {tried} hosts; {100 * (1 - silent):.0f} % answered",
            explanation=f"{tried} different hosts, {hosts} of them within {limits.window_s:.0f} s, were asked for the same thing; "
            f"{100 * silent:.0f} % gave no service. This is how a network is searched for hosts or one weakness.",
            benign="Monitoring asks the same hosts again and again and gets answers; here "
            f"{100 * (1 - silent):.0f} % answered.",
            advice="Ask who runs the source; look at what it did with the hosts that answered.",
            impact=Severity.MEDIUM,
            evidence=terms,
            numbers={
                "hosts_in_window": measured(limits, "hosts", hosts),
                "hosts": measured(limits, "slow_hosts", tried),
                "silent_share": measured(limits, "failed_share", round(silent, 3)),
            },
            subject=f"{source} {columns.KINDS[kind]}/{port}",
            attack=DISCOVERY if ping else (("T1046", "Network Service Discovery"), *DISCOVERY),
            accountable=source,
        ),
    )


def _named(evidence: Evidence, chosen: Array) -> float:
    """Share of the targets whose address the capture itself gives a name: they were looked up, not tried in a row."""
    targets = different(evidence.links.target[chosen]).tolist()
    return sum(evidence.text(one) in evidence.hosts.names for one in targets) / len(targets)


def _packets_by_target(evidence: Evidence, chosen: Array) -> Array:
    """Requests sent to each target."""
    links = evidence.links
    _, where = np.unique(links.target[chosen], return_inverse=True)
    return np.asarray(np.bincount(where, weights=links.sent[chosen]))


def _replies(source_ports: Array, port: int) -> bool:
    """UDP that goes from a service to high ports is answers, not questions."""
    return port > 1023 and bool(np.mean(source_ports < 1024) > 0.5)


def _mail(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """A host that delivers mail to many servers and is none itself: a spam bot."""
    links = evidence.links
    mail = (links.kind == columns.TCP) & links.known & (links.target_port == MAIL) & links.unicast & ~links.failed
    servers = different(links.target[mail])
    rows = np.flatnonzero(mail & ~evidence.hosts.inside[links.target] & ~np.isin(links.source, servers))
    for chosen in large_groups(rows, limits.hosts, links.source):
        order = np.argsort(links.first_ns[chosen], kind="stable")
        start, end, _ = busiest(links.first_ns[chosen][order], limits.window_s)
        hosts = len(different(links.target[chosen[order[start:end]]]))
        if hosts < limits.hosts:
            continue
        source = evidence.text(int(links.source[chosen[0]]))
        yield of_links(
            evidence,
            chosen,
            Words(
                detector=NAME,
                title=f"{source} delivers mail to {len(different(links.target[chosen]))} servers outside, as a spam bot does",
                explanation=f"{hosts} mail servers within {limits.window_s:.0f} s, and nobody delivers mail to this host.",
                benign=f"A mail server does so too, and gets mail itself; a workstation knows one server: here {hosts}.",
                advice="If this is no mail server, find the program; let only the mail server use port 25.",
                impact=Severity.MEDIUM,
                evidence={"mail servers": margin(hosts, limits.hosts, least=0.55)},
                numbers={"servers_in_window": measured(limits, "hosts", hosts)},
                subject=f"mail {source}",
                attack=(("T1071.003", "Application Layer Protocol: Mail Protocols"),),
                accountable=source,
            ),
        )


def _arp(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Requests for many addresses of which few exist, per sender's MAC."""
    asked: defaultdict[str, list[Arp]] = defaultdict(list)
    answered = {row.sender for row in evidence.facts.arp if row.operation == 2}
    for row in evidence.facts.arp:
        if row.operation == 1 and row.sender != row.target:
            asked[row.sender_mac].append(row)
    for rows in asked.values():
        yield from _arp_flood(evidence, rows, limits)
        if len({row.target for row in rows}) < limits.arp_targets:
            continue
        rows.sort(key=lambda row: row.time_ns)
        start, end, _ = busiest(np.array([row.time_ns for row in rows]), limits.arp_window_s)
        targets = {row.target for row in rows[start:end]}
        slow = len(targets) < limits.arp_targets
        if slow:
            targets = {row.target for row in rows}
            if len(targets) < limits.slow_hosts or len(rows) >= limits.monitored * len(targets):
                continue
        share = len(targets & answered) / len(targets)
        if share < limits.arp_answered:
            yield _arp_finding(evidence, rows, targets, share, limits, slow=slow)


def _neighbours(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """The same over IPv6: solicitations for many neighbours (RFC 4861 4.3), each to the multicast group of its address."""
    links = evidence.links
    asked = (links.kind == columns.ICMPV6) & (links.target_port == SOLICITATION) & evidence.hosts.group[links.target]
    there = {_low_bits(row.target) for row in evidence.facts.neighbour}
    for chosen in large_groups(np.flatnonzero(asked), limits.arp_targets, links.source):
        order = np.argsort(links.first_ns[chosen], kind="stable")
        start, end, _ = busiest(links.first_ns[chosen][order], limits.arp_window_s)
        targets = [evidence.text(one) for one in different(links.target[chosen[order[start:end]]]).tolist()]
        share = sum(_low_bits(target) in there for target in targets) / len(targets)
        source = evidence.text(int(links.source[chosen[0]]))
        if len(targets) < limits.arp_targets or share >= limits.arp_answered or source == "::":
            continue
        yield of_links(
            evidence,
            chosen,
            Words(
                detector=NAME,
                title=f"{source} looked for {len(targets)} IPv6 neighbours; {100 * share:.0f} % answered",
                explanation=f"Neighbour solicitations for {len(targets)} addresses within {limits.arp_window_s:.0f} s, "
                f"{100 * share:.0f} % of them exist: a host looks for its neighbours.",
                benign="A router asks for every address that somebody outside scans; it would know most of them: here "
                f"{100 * share:.0f} % answered.",
                advice="Find the machine by its MAC. If it is the router, look for a scan of the network from outside.",
                impact=Severity.MEDIUM,
                evidence={
                    "addresses": margin(len(targets), limits.arp_targets, least=0.6),
                    "no answer": 0.5 * (1 - share),
                },
                numbers={
                    "addresses_in_window": measured(limits, "arp_targets", len(targets)),
                    "answered_share": measured(limits, "arp_answered", round(share, 3)),
                },
                subject=f"neighbours {source}",
                attack=DISCOVERY,
                accountable=source,
                hosts=(source,),
            ),
        )


def _low_bits(address: str) -> int:
    """The last 24 bits, which an IPv6 address and its solicited-node group share (RFC 4291 2.7.1)."""
    return int(ipaddress.ip_address(address.partition("%")[0])) & 0xFFFFFF


def _arp_flood(evidence: Evidence, rows: list[Arp], limits: Thresholds) -> Iterator[Finding]:
    """One card that asks for a few addresses, faster than anybody answers: a storm or a loop."""
    times = np.sort(np.array([row.time_ns for row in rows]))
    _, _, count = busiest(times, 1.0)
    targets = sorted({row.target for row in rows})
    if count < limits.arp_per_s or len(targets) >= limits.arp_targets:
        return
    mac = rows[0].sender_mac
    yield of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{mac} floods the segment with ARP requests: {count} within a second, for {listed(targets, 3)}",
            explanation=f"{len(rows)} requests for {len(targets)} addresses; every host of the segment has to read each.",
            benign=f"A host repeats a request once a second; a loop between switches repeats frames: here {count} a second.",
            advice="Find the card by its switch port; look for a loop.",
            impact=Severity.MEDIUM,
            evidence={"rate": margin(count, limits.arp_per_s, least=0.6)},
            numbers={"requests_per_s": measured(limits, "arp_per_s", count)},
            subject=f"arp flood {mac}",
            attack=(("T1498.001", "Network Denial of Service: Direct Network Flood"),),
            accountable=rows[0].sender,
            hosts=(rows[0].sender, mac),
        ),
    )


def _arp_finding(
    evidence: Evidence, rows: list[Arp], targets: set[str], share: float, limits: Thresholds, *, slow: bool
) -> Finding:
    """A slow one is low: a router asks so all day, for addresses that strangers try."""
    mac, senders = rows[0].sender_mac, sorted({row.sender for row in rows})
    span = max(1.0, (rows[-1].time_ns - rows[0].time_ns) / 1e9)
    source = senders[0]
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{source} ({mac}) asked by ARP for {len({row.target for row in rows})} addresses; "
            f"{100 * share:.0f} % answered",
            explanation=f"{len(rows)} ARP requests, {len(rows) / span:.1f} per second, for {len(targets)} addresses within "
            f"{span if slow else limits.arp_window_s:.0f} s. A host looks for its neighbours, or a storm of requests loads the segment.",
            benign="A router asks for every address that somebody outside scans, and refreshes its table; it would "
            f"know most of them: here {100 * share:.0f} % answered"
            + (f", and the sender speaks for {len(senders)} networks." if len(senders) > 1 else "."),
            advice="Find the machine by its MAC. If it is the router, look for a scan of the network from outside.",
            impact=Severity.LOW if slow else Severity.MEDIUM,
            evidence={
                "addresses": margin(len(targets), limits.slow_hosts if slow else limits.arp_targets, least=0.6),
                "no answer": 0.5 * (1 - share),
            },
            numbers={
                "addresses": measured(limits, "slow_hosts" if slow else "arp_targets", len(targets)),
                "answered_share": measured(limits, "arp_answered", round(share, 3)),
                "requests_per_s": measured(limits, "arp_window_s", round(len(rows) / span, 2)),
            },
            subject=f"arp {mac}",
            attack=DISCOVERY,
            accountable=source,
            hosts=tuple(senders[:10]),
            filter=f"arp.opcode == 1 && arp.src.hw_mac == {mac}",
        ),
    )
