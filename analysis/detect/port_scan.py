"""Vertical scan: one host tries many ports or IP protocols of another, and most attempts lead to nothing.

Why it matters: it is how an intruder learns which services a machine offers. What else looks like it: passive FTP and
peer-to-peer clients (their connections succeed and carry data), a traceroute (UDP ports in a row, TTL near 1), a
capture that starts midstream (replies to a server's port look like targets; only initiators count here).
Stealth probes (no flags, FIN alone, FIN+PSH+URG, SYN+FIN) are no program's normal traffic and count at once; bare ACKs to
many ports map a filter. Over SCTP an INIT that is answered by nothing or an ABORT is an attempt (associations have many
packets and few ports); IP protocols are tried with packets that hold nothing else (routers and tunnels use two or three).
Many sources that share the ports of a target are one scan (strangers at a public address try one each).
Reference: bro-simple-scan; nmap's scan types (-sS, -sU, -sA, -sX, -sY, -sO).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from analysis import assess, columns, probes
from analysis.claims import Words, listed, of_facts, of_links
from analysis.columns import Array, different
from analysis.evidence import Evidence, busiest, dense, large_groups
from analysis.facts import Payload
from analysis.findings import Finding, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "port-scan"
TRACEROUTE = range(33434, 33600)  # UDP ports traceroute counts up from (RFC 1393's companion practice)
DISCOVERY = (("T1046", "Network Service Discovery"),)
PER_PORT = 5  # attempts of one port that are the scan: more at the same port is something else (a flood, guesses)
IP_PROTOCOL = "ip-protocol"  # protocols/header_shapes.py


class Thresholds(Limits):
    """When many ports are a scan."""

    ports: int = limit(15, "distinct ports", "Zeek's scan policy; bro-simple-scan uses 25 for outside scanners")
    window_s: float = limit(300.0, "s", "Zeek's scan policy: 5 min")
    slow_ports: int = limit(60, "distinct ports", "tapwall: four times the ports where they need the whole capture")
    failed_share: float = limit(0.8, "share of ports without service", "tapwall's default")
    stealth_ports: int = limit(3, "distinct ports", "tapwall: such segments have no other use")
    monitored: float = limit(3.0, "connections a port, median", "tapwall: monitoring asks again, a scan once or twice")
    protocols: int = limit(
        10, "IP protocols of one host pair", "tapwall: a router has OSPF, PIM, VRRP, GRE and ESP at most"
    )
    shared_ports: int = limit(
        150, "ports that many sources try in window_s", "tapwall: strangers tried 100 of a public host, one each"
    )
    shared_each: float = limit(2.0, "ports a source of many, mean", "tapwall: noise is one; who shares work does some")
    sources: int = limit(
        10, "sources that share the ports of a target", "tapwall: below, each is seen alone or is noise"
    )
    mixed_ports: int = limit(5, "distinct ports", "tapwall: ports without service beside a stealth probe")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs conversations, or packets of many IP protocols."""
    if any(row.shape == IP_PROTOCOL for row in evidence.facts.payload):
        return None
    return assess.without_transport(evidence, limits)


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per scanner, target and kind."""
    links = evidence.links
    tcp = (links.kind == columns.TCP) & links.unicast
    odd = tcp & probes.stealth(links.first_flags) & (links.sent_payload == 0)
    tried = tcp & links.known & (links.syns > 0)
    replies = (links.source_port < 1024) & (links.target_port > 1023)
    udp = (
        (links.kind == columns.UDP) & links.unicast & links.known & ~replies & (links.source_port != links.target_port)
    )
    sctp = (links.kind == columns.SCTP) & links.unicast
    for kind in (tried | odd, udp, probes.bare(links), sctp):
        rows = np.flatnonzero(kind)
        for chosen in large_groups(rows, min(limits.mixed_ports, limits.ports), links.source, links.target):
            finding = _judge(evidence, chosen, odd[chosen], limits)
            if finding is not None:
                yield finding
    yield from _of_many(evidence, np.flatnonzero(tried), limits)
    yield from _protocols(evidence, limits)


def _judge(evidence: Evidence, chosen: Array, odd: Array, limits: Thresholds) -> Finding | None:
    links = evidence.links
    kind = int(links.kind[chosen[0]])
    tcp = kind == columns.TCP
    dead = links.failed[chosen] | ((links.sent_payload[chosen] == 0) & (links.got_payload[chosen] < 512)) | odd
    if kind == columns.SCTP:
        dead = probes.tried(links, chosen)
        if float(np.mean(probes.taken_up(links, chosen))) > 1 - limits.failed_share:
            return None  # heartbeats of associations that are older than the capture
    ports = links.target_port[chosen]
    if kind == columns.UDP and _traceroute(ports[dead]):
        return None
    times = links.first_ns[chosen]
    order = np.argsort(times, kind="stable")
    start, end, _ = busiest(times[order], limits.window_s)
    window = order[start:end]
    total, all_dead = len(different(ports)), len(different(ports[dead]))
    dead_now = len(different(ports[window][dead[window]]))
    odd_ports = len(different(ports[odd]))
    share = all_dead / total
    hidden = odd_ports >= limits.stealth_ports or (odd_ports and all_dead >= limits.mixed_ports)
    many = dead_now >= limits.ports or all_dead >= limits.slow_ports
    if share < limits.failed_share or not (hidden or many):
        return None
    if not hidden and tcp and (links.synacks[chosen] > 0).all() and len(chosen) >= limits.monitored * total:
        return None  # every port is open and is asked again and again: monitoring
    tried = chosen[dead]
    return _finding(evidence, tried[_first_of_each(ports[dead])], limits, (dead_now, all_dead, odd_ports, share))


def _first_of_each(ports: Array) -> Array:
    """Positions of the first PER_PORT attempts of every port."""
    order = np.argsort(ports, kind="stable")
    ranked = ports[order]
    rank = np.arange(len(ranked)) - np.searchsorted(ranked, ranked, side="left")
    return np.sort(order[rank < PER_PORT])


def _finding(evidence: Evidence, chosen: Array, limits: Thresholds, counts: tuple[int, int, int, float]) -> Finding:
    links, (now, dead, odd, share) = evidence.links, counts
    source, target = (evidence.text(int(side[chosen[0]])) for side in (links.source, links.target))
    kind = int(links.kind[chosen[0]])
    answered = links.got[chosen] > 0
    if kind == columns.TCP:
        answered = links.synacks[chosen] > 0
    elif kind == columns.SCTP:
        answered = probes.taken_up(links, chosen)
    still_open = different(links.target_port[chosen][answered]).tolist()
    word = columns.KINDS[kind].upper()
    evidence_terms = {"ports without service": margin(max(now, dead), limits.ports if not odd else limits.mixed_ports)}
    if odd:
        evidence_terms["segments that open nothing"] = margin(odd, 1, least=0.6)
    outside = not bool(evidence.hosts.inside[links.source[chosen[0]]])
    return of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{source} tried {len(different(links.target_port[chosen]))} {word} ports of "
            f"{evidence.hosts.name(target)}" + (f"; open: {listed(still_open)}" if still_open else ""),
            explanation=f"{dead} ports gave no service ({100 * share:.0f} % of those tried), at most {now} of them "
            f"within {limits.window_s:.0f} s."
            + (f" {odd} were probed with segments that no program sends to open a connection." if odd else ""),
            benign="A monitoring or inventory system of your own does the same; it would come from a known address, "
            f"at the same hours, and know its ports: here {100 * share:.0f} % had no service.",
            advice="Ask who runs the source. If nobody does, block it towards the target and look at what it did on "
            "the open ports.",
            impact=Severity.MEDIUM,
            evidence=evidence_terms,
            numbers={
                "ports_in_window": measured(limits, "ports", now),
                "ports_without_service": measured(limits, "slow_ports", dead),
                "failed_share": measured(limits, "failed_share", round(share, 3)),
                "stealth_ports": measured(limits, "stealth_ports", odd),
            },
            subject=f"{word} {source}>{target}",
            attack=DISCOVERY + ((("T1595.001", "Active Scanning: Scanning IP Blocks"),) if outside else ()),
            accountable=source,
            hosts=(source, target),
            extra={"open_ports": still_open[:100]},
        ),
    )


def _of_many(evidence: Evidence, rows: Array, limits: Thresholds) -> Iterator[Finding]:
    """Many sources that try some ports each of one target, together as many as a scan, and each port once or twice."""
    links = evidence.links
    rows = rows[links.failed[rows]]
    for chosen in large_groups(rows, limits.shared_ports, links.target):
        order = np.argsort(links.first_ns[chosen], kind="stable")
        start, end, _ = busiest(links.first_ns[chosen][order], limits.window_s)
        window = chosen[order[start:end]]
        ports, sources = len(different(links.target_port[window])), different(links.source[window])
        each = len(different(links.target_port[window] * 65_536 + dense(links.source[window]))) / len(sources)
        many = len(sources) >= limits.sources and limits.shared_each <= each < limits.ports
        if ports < limits.shared_ports or not many or len(window) > limits.monitored * ports:
            continue
        target = evidence.text(int(links.target[chosen[0]]))
        yield of_links(
            evidence,
            window,
            Words(
                detector=NAME,
                title=f"{len(sources)} hosts together tried {ports} TCP ports of {evidence.hosts.name(target)}",
                explanation=f"Within {limits.window_s:.0f} s each tried {each:.1f} ports on average, too few to be noticed alone; none gave "
                "a service.",
                benign="A host that the Internet sees is tried by strangers all the time, one port each; here each tried "
                f"{each:.1f}.",
                advice="Look which of its ports are open; close or filter what nobody needs.",
                impact=Severity.MEDIUM,
                evidence={
                    "ports": margin(ports, limits.shared_ports, least=0.5),
                    "sources": margin(len(sources), limits.sources, least=0.2, most=0.4),
                },
                numbers={
                    "ports_in_window": measured(limits, "shared_ports", ports),
                    "sources": measured(limits, "sources", len(sources)),
                    "ports_each": measured(limits, "shared_each", round(each, 2)),
                },
                subject=f"many>{target}",
                attack=DISCOVERY,
                hosts=(target, *(evidence.text(one) for one in sources[:20].tolist())),
            ),
        )


def _protocols(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """IP protocols without ports, tried one after the other."""
    tried: defaultdict[tuple[int, bool], list[Payload]] = defaultdict(list)
    for row in evidence.facts.payload:
        if row.shape == IP_PROTOCOL:
            tried[row.flow, row.from_a].append(row)
    for (flow, from_a), rows in tried.items():
        if len(rows) < limits.protocols:
            continue
        source, target = evidence.sender_of(flow, from_a), evidence.receiver_of(flow, from_a)
        numbers = sorted(int(row.detail) for row in rows)
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{source} tried {len(numbers)} IP protocols of {evidence.hosts.name(target)}",
                explanation=f"Packets of the protocols {listed(numbers)}, one after the other: the target tells by an ICMP error "
                "which of them it does not speak.",
                benign="Routers and tunnels use protocols without ports as well, two or three between the same hosts: here "
                f"{len(numbers)}.",
                advice="Ask who runs the source. If nobody does, block it towards the target.",
                impact=Severity.MEDIUM,
                evidence={"protocols": margin(len(numbers), limits.protocols, least=0.65)},
                numbers={"protocols": measured(limits, "protocols", len(numbers))},
                subject=f"protocols {source}>{target}",
                attack=DISCOVERY,
                accountable=source,
                hosts=(source, target),
            ),
        )


def _traceroute(ports: Array) -> bool:
    return bool(len(ports)) and bool(np.all((ports >= TRACEROUTE.start) & (ports < TRACEROUTE.stop)))
