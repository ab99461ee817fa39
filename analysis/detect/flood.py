"""Floods: a host is asked far more often than it answers, or faster than anything sensible asks.

SYN floods, UDP and ICMP floods, connection floods from one host, requests of control protocols that nobody waits for.
Why it matters: the service is down for others. What else looks like it: a server that is down with many clients, load
tests, one-way media streams (one source and one port: low), a capture of one direction (not assessable).
Reference: RFC 4987.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from analysis import assess, columns, layers
from analysis.claims import Words, of_links
from analysis.columns import Array, different, median
from analysis.evidence import ACK, Evidence, busiest, dense, large_groups
from analysis.facts import Http
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "flood"
blocked = assess.without_transport
CONTROL = tuple(
    layers.BY_NAME[name]
    for name in (
        "sip",
        "mqtt",
        "coap",
        "dnp3",
        "mbtcp",
        "modbus",
        "s7comm",
        "iec60870_104",
        "enip",
        "cip",
        "bacnet",
        "opcua",
    )
    if name in layers.BY_NAME
)
DIRECT = (("T1498.001", "Network Denial of Service: Direct Network Flood"),)
EXHAUSTION = (("T1499.001", "Endpoint Denial of Service: OS Exhaustion Flood"),)


class Thresholds(Limits):
    """When asking becomes a flood."""

    syn_per_s: float = limit(100.0, "new connections/s", "tapwall's default; rule sets use 10,000 per 60 s")
    seconds: float = limit(2.0, "s", "tapwall's default")
    completed: float = limit(0.2, "share of completed handshakes, at most", "tapwall's default")
    connections_per_s: float = limit(40.0, "connections/s of one source", "tapwall: 6 per host is a browser's limit")
    pages_per_s: float = limit(50.0, "requests/s for one path", "tapwall: polling asks once a second")
    pages_each: float = limit(5.0, "requests of a source for one path", "tapwall: a visitor loads a page once or twice")
    packets_per_s: float = limit(600.0, "packets/s", "tapwall: UDP and ICMP; a ping flood sends 100/s and more")
    forged: int = limit(
        150, "sources with a packet or two", "tapwall: a service has fewer new clients that get no answer"
    )
    forged_per_s: float = limit(100.0, "packets/s of so many sources", "tapwall: peers of a swarm come by the dozen")
    pings_per_s: float = limit(50.0, "echo requests/s", "tapwall: ping without -f sends 1/s to 5/s")
    any_per_s: float = limit(
        5000.0, "packets/s", "tapwall: more than a stream of 4K video, even of one source and port"
    )
    answered: float = limit(0.2, "answers per packet, at most", "tapwall's default")
    spread: int = limit(10, "sources or ports", "tapwall: fewer may be one media stream")
    control_per_s: float = limit(200.0, "requests/s", "tapwall: control systems poll 1 to 50 times a second")
    control_requests: int = limit(20, "requests", "tapwall: below, a burst is no flood")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per kind of flood and target."""
    links = evidence.links
    tcp = links.unicast & (links.kind == columns.TCP)
    opened = np.flatnonzero(tcp & links.known & (links.syns > 0))
    least = int(limits.connections_per_s * limits.seconds)
    told: set[int] = set()
    for chosen in large_groups(opened, least, links.target, links.target_port):
        for finding in _connections(evidence, chosen, limits):
            told.add(int(links.target[chosen[0]]))
            yield finding
    for chosen in large_groups(opened, int(limits.syn_per_s * limits.seconds), links.target):
        many = len(different(links.target_port[chosen])) >= limits.spread
        if many and int(links.target[chosen[0]]) not in told and len(different(links.source[chosen])) >= limits.spread:
            yield from _connections(evidence, chosen, limits, "many ports")
    datagrams = links.unicast & np.isin(links.kind, (columns.UDP, columns.ICMP, columns.ICMPV6))
    yield from _datagrams(evidence, np.flatnonzero(datagrams & links.known), limits)
    yield from _pages(evidence, limits)
    yield from _pages_of_many(evidence, limits)
    asked = evidence.flows.packets_ab[links.row]
    control = np.flatnonzero(np.isin(links.application, CONTROL) & (asked >= limits.control_requests))
    for link in control.tolist():
        yield from _control(evidence, link, limits)


def rate(times_ns: Array, window_s: float) -> tuple[float, Array]:
    """Highest number of events per second over `window_s`, and the order of the events inside."""
    order = np.argsort(times_ns, kind="stable")
    start, end, count = busiest(times_ns[order], window_s)
    return count / window_s, order[start:end]


def bursts(times_ns: Array, window_s: float, least: int) -> Array:
    """Which events lie in a window of `window_s` that holds at least `least`: the flood, not what came before it."""
    order = np.argsort(times_ns, kind="stable")
    ranked = times_ns[order]
    starts = np.arange(len(ranked))
    ends = np.searchsorted(ranked, ranked + int(window_s * 1e9), side="right")
    busy = ends - starts >= least
    steps = np.bincount(starts[busy], minlength=len(ranked) + 1) - np.bincount(ends[busy], minlength=len(ranked) + 1)
    inside = np.zeros(len(ranked), bool)
    inside[order] = np.cumsum(steps)[:-1] > 0
    return inside


def _connections(evidence: Evidence, chosen: Array, limits: Thresholds, ports: str = "") -> Iterator[Finding]:
    links = evidence.links
    per_s, window = rate(links.first_ns[chosen], limits.seconds)
    burst = chosen[window]
    # The client's own ACK completes a handshake, whether or not this capture shows the server's side.
    done = (links.sent_flags[burst] & ACK != 0) & (links.sent[burst] >= 2)
    completed = float(np.mean(done))
    sources, counts = np.unique(links.source[chosen[window]], return_counts=True)
    target, port = evidence.text(int(links.target[chosen[0]])), int(links.target_port[chosen[0]])
    where = f"{evidence.hosts.name(target)} TCP {ports or f'port {port}'}"
    if per_s >= limits.syn_per_s and completed < limits.completed:
        single = len(sources) == 1
        attacker = evidence.text(int(sources[0])) if single else ""
        numbers = {
            "connections_per_s": measured(limits, "syn_per_s", round(per_s, 1)),
            "completed_share": measured(limits, "completed", round(completed, 3)),
            "sources": Number(len(different(links.source[chosen])), "hosts"),
        }
        yield _finding(
            evidence,
            chosen,
            f"SYN flood against {where}: {per_s:.0f} connection attempts a second from "
            f"{attacker or f'{len(different(links.source[chosen]))} addresses'}, {100 * completed:.0f} % completed",
            "A server that is down while many clients retry looks alike; clients retry after 1, 2, 4 s and come from "
            f"addresses seen before: here {len(sources)} sources in {limits.seconds:.0f} s.",
            Severity.HIGH if len(sources) >= limits.spread else Severity.MEDIUM,
            {"rate": margin(per_s, limits.syn_per_s, least=0.6), "handshakes": 0.6 * (1 - completed)},
            numbers,
            (attacker, EXHAUSTION, f"syn {target}:{ports or port}"),
        )
        return
    if ports:
        return
    busy = sources[counts >= limits.connections_per_s * limits.seconds]
    for source in busy.tolist():
        mine = chosen[links.source[chosen] == source]
        mine = mine[bursts(links.first_ns[mine], limits.seconds, int(limits.connections_per_s * limits.seconds))]
        mine_per_s, _ = rate(links.first_ns[mine], limits.seconds)
        brief = median(links.sent_payload[mine] + links.got_payload[mine])
        attacker = evidence.text(int(source))
        yield _finding(
            evidence,
            mine,
            f"{attacker} opened {mine_per_s:.0f} connections a second to {where}",
            "A load test of your own or a proxy with many users behind it; half of these connections carried at most "
            f"{brief:.0f} bytes in all.",
            Severity.MEDIUM,
            {"rate": margin(mine_per_s, limits.connections_per_s, least=0.6)},
            {
                "connections_per_s": measured(limits, "connections_per_s", round(mine_per_s, 1)),
                "connections": Number(len(mine), "connections"),
                "median_payload": Number(brief, "bytes"),
            },
            (attacker, EXHAUSTION, f"connections {attacker}>{target}:{port}"),
        )


def _datagrams(evidence: Evidence, rows: Array, limits: Thresholds) -> Iterator[Finding]:
    """UDP and ICMP by target: packets per second of the target's conversations, and how many were answered."""
    links = evidence.links
    if not len(rows):
        return
    flows = evidence.flows
    # Where nobody answers, the target is who got the packets, whatever the ports say about who serves.
    unanswered = flows.packets_ba[links.row[rows]] == 0
    aim = np.where(unanswered, flows.b_id[links.row[rows]], links.target[rows])
    key = aim.astype(np.int64) * 16 + links.kind[rows]
    where = dense(key)
    codes = np.zeros(int(where.max()) + 1, np.int64)
    codes[where] = key
    sent = np.bincount(where, weights=np.where(unanswered, links.sent[rows] + links.got[rows], links.sent[rows]))
    floor = min(limits.packets_per_s, limits.pings_per_s) * limits.seconds
    from_a = np.where(unanswered, flows.a_id[links.row[rows]], links.source[rows])
    for code in np.flatnonzero(sent >= floor).tolist():
        chosen = rows[where == code]
        ping = int(codes[code]) % 16 != columns.UDP
        per_s = _packet_rate(evidence, chosen, limits.seconds)
        sources = different(from_a[where == code])
        forged = len(sources) >= limits.forged and len(chosen) <= 2 * len(sources) and unanswered[where == code].all()
        threshold = limits.pings_per_s if ping else limits.forged_per_s if forged else limits.packets_per_s
        moved = int((links.sent[chosen] + links.got[chosen]).sum())
        silent = int((links.sent[chosen] + links.got[chosen])[unanswered[where == code]].sum())
        answered = 0.0 if silent == moved else float(links.got[chosen].sum() / max(1, links.sent[chosen].sum()))
        spread = max(len(sources), len(different(links.target_port[chosen])))
        if per_s < threshold or (answered >= limits.answered and not ping):
            continue
        if (
            ping
            and per_s < limits.packets_per_s
            and not forged
            and len(different(links.target_port[chosen])) == 1
            and int(links.target_port[chosen[0]]) not in (8, 128)
        ):
            continue
        target = evidence.text(int(codes[code]) // 16)
        attacker = evidence.text(int(sources[0])) if len(sources) == 1 else ""
        word = "ICMP" if ping else "UDP"
        yield _finding(
            evidence,
            chosen,
            f"{word} flood against {evidence.hosts.name(target)}: {per_s:.0f} packets a second from "
            f"{attacker or f'{len(sources)} addresses'}, {100 * min(answered, 1):.0f} % answered",
            "A video or voice stream sends as fast and gets no answer; it has one source and one port: here "
            f"{len(sources)} sources and {len(different(links.target_port[chosen]))} ports.",
            Severity.MEDIUM if ping or spread >= limits.spread or per_s >= limits.any_per_s else Severity.LOW,
            {"rate": margin(per_s, threshold), "no answers": 0.5 * (1 - min(answered, 1))},
            {
                "packets_per_s": measured(
                    limits, "pings_per_s" if ping else "forged_per_s" if forged else "packets_per_s", round(per_s, 1)
                ),
                "answered": measured(limits, "answered", round(answered, 3)),
                "sources_or_ports": measured(limits, "spread", spread),
            },
            (attacker, DIRECT, f"{word} {target}"),
        )


def _packet_rate(evidence: Evidence, chosen: Array, window_s: float) -> float:
    """Packets per second in the busiest window, with packets spread evenly over their conversation."""
    links = evidence.links
    first, last = links.first_ns[chosen], links.last_ns[chosen]
    sent = np.maximum(links.sent[chosen], links.got[chosen] * (links.sent[chosen] == 0))
    length = np.maximum((last - first) / 1e9, window_s)
    order = np.argsort(first, kind="stable")
    total = np.concatenate(([0.0], np.cumsum((sent * np.minimum(1.0, window_s / length))[order])))
    ends = np.searchsorted(first[order], first[order] + int(window_s * 1e9), side="right")
    return float((total[ends] - total[:-1]).max()) / window_s


def _pages(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """The same page again and again, faster than any person or program needs it, over few connections."""
    asked: defaultdict[tuple[str, str, str], list[Http]] = defaultdict(list)
    for row in evidence.facts.http:
        if row.method:
            asked[evidence.source_of(row.flow), evidence.target_of(row.flow), row.uri.partition("?")[0]].append(row)
    for (source, target, path), rows in asked.items():
        if len(rows) < limits.pages_per_s * limits.seconds:
            continue
        per_s, _ = rate(np.array([row.time_ns for row in rows]), limits.seconds)
        links = np.array(sorted({evidence.link_of(row.flow) for row in rows} - {-1}), np.int64)
        if per_s < limits.pages_per_s or not len(links):
            continue
        yield _finding(
            evidence,
            links,
            f"HTTP flood: {source} asked {evidence.hosts.name(target)} for {path[:60]} {per_s:.0f} times a second",
            f"A load test of your own does the same; a program that needs a page asks once: here {len(rows)} times.",
            Severity.MEDIUM,
            {"rate": margin(per_s, limits.pages_per_s, least=0.6)},
            {
                "pages_per_s": measured(limits, "pages_per_s", round(per_s, 1)),
                "requests": Number(len(rows), "requests"),
            },
            (source, EXHAUSTION, f"pages {source}>{target}{path}"),
        )


def _pages_of_many(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """The same by many sources together, each of which asks for the page again and again."""
    asked: defaultdict[tuple[str, str], list[Http]] = defaultdict(list)
    for row in evidence.facts.http:
        if row.method:
            asked[evidence.target_of(row.flow), row.uri.partition("?")[0]].append(row)
    for (target, path), rows in asked.items():
        if len(rows) < 1.5 * limits.pages_per_s * limits.seconds:
            continue
        per_s, _ = rate(np.array([row.time_ns for row in rows]), limits.seconds)
        sources = Counter(evidence.source_of(row.flow) for row in rows)
        each = len(rows) / len(sources)
        if per_s < 1.5 * limits.pages_per_s or len(sources) < limits.spread or each < limits.pages_each:
            continue
        links = np.array(sorted({evidence.link_of(row.flow) for row in rows} - {-1}), np.int64)
        if max(sources.values()) > len(rows) / 2 or not len(links):
            continue
        yield _finding(
            evidence,
            links,
            f"HTTP flood: {len(sources)} hosts asked {evidence.hosts.name(target)} for {path[:60]} {per_s:.0f} times a second",
            f"A crowd of visitors asks for a page once or twice each; here each asked {each:.0f} times.",
            Severity.MEDIUM,
            {"rate": margin(per_s, 1.5 * limits.pages_per_s, least=0.6)},
            {
                "pages_per_s": measured(limits, "pages_per_s", round(per_s, 1)),
                "requests_each": measured(limits, "pages_each", round(each, 1)),
                "sources": measured(limits, "spread", len(sources)),
            },
            ("", EXHAUSTION, f"pages of many>{target}{path}"),
        )


def _control(evidence: Evidence, link: int, limits: Thresholds) -> Iterator[Finding]:
    """Requests of a control protocol in a row, without waiting for answers."""
    links, flows, row = evidence.links, evidence.flows, int(evidence.links.row[link])
    requests, answers = int(flows.packets_ab[row]), int(flows.packets_ba[row])
    seconds = max(float(links.last_ns[link] - links.first_ns[link]) / 1e9, 0.05)
    per_s, answered = requests / seconds, answers / requests
    if per_s < limits.control_per_s or answered >= limits.answered:
        return
    source, target = evidence.text(int(flows.a_id[row])), evidence.text(int(flows.b_id[row]))
    yield _finding(
        evidence,
        np.array([link]),
        f"{source} floods {evidence.hosts.name(target)} with {requests} {evidence.application(link).upper()} requests "
        f"in {seconds:.2f} s, {answers} packets came back",
        f"A master that reads many points sends in bursts but waits for answers: here {100 * answered:.0f} % came back.",
        Severity.MEDIUM,
        {"rate": margin(per_s, limits.control_per_s, least=0.6), "no answers": 0.4 * (1 - answered)},
        {
            "requests_per_s": measured(limits, "control_per_s", round(per_s, 1)),
            "requests": measured(limits, "control_requests", requests),
            "answered": measured(limits, "answered", round(answered, 3)),
        },
        (source, EXHAUSTION, f"control {source}>{target}"),
    )


def _finding(
    evidence: Evidence,
    chosen: Array,
    title: str,
    benign: str,
    impact: Severity,
    terms: dict[str, float],
    numbers: dict[str, Number],
    who: tuple[str, tuple[tuple[str, str], ...], str],
) -> Finding:
    attacker, attack, subject = who
    links = evidence.links
    ttl = different(evidence.flows.ttl_min[links.row[chosen]])
    spoofed = not attacker and len(ttl) > 8
    return of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=title,
            explanation=f"{len(chosen)} conversations, {int(links.sent[chosen].sum())} packets to the target and "
            f"{int(links.got[chosen].sum())} back."
            + (f" {len(ttl)} different TTLs suggest that source addresses are forged." if spoofed else ""),
            benign=benign,
            advice="Limit the rate towards the target; SYN cookies help against half-open connections. Forged sources "
            "are filtered at the border, not by address.",
            impact=impact,
            evidence=terms,
            numbers=numbers,
            subject=subject,
            attack=attack,
            accountable=attacker,
            extra={"spoofed_sources_likely": spoofed},
        ),
    )
