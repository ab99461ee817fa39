"""Beaconing: one host opens short connections to another in even steps, as malware does that asks for orders.

Counted are new connections, never packets, per source, destination and port. The score is RITA's: evenness of steps,
evenness of sent bytes, spread over the capture, duration. What else looks like it: NTP, mDNS and other housekeeping
(left out), updates, telemetry and monitoring (named as the benign explanation; well-known services are low), repeated
SYNs of one attempt (failed connections are left out), keep-alives (inside one connection).
Reference: RITA v5.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_links
from analysis.columns import Array, among, different
from analysis.evidence import HOUSEKEEPING_PORTS, Evidence, large_groups
from analysis.findings import Finding, Number, Severity
from analysis.hosts import well_known
from analysis.rhythm import score, steps_of
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "beacon"
PEER_PORTS = (80, 443)


class Thresholds(Limits):
    """When steps are even enough."""

    connections: int = limit(12, "connections", "tapwall's default; RITA 4, later 23 because of false positives")
    span_s: float = limit(80.0, "s", "tapwall: twelve steps of 7 s")
    score: float = limit(0.7, "RITA score 0-1", "RITA: 0.7 medium, 0.9 high")
    jitter: float = limit(0.25, "MAD / median, at most", "tapwall: what a jitter of 50 % makes; implants use 0 to 50 %")
    shortest_s: float = limit(1.0, "s between connections", "tapwall: faster is work, not waiting")
    most: int = limit(86_400, "connections", "RITA: above it is a strobe")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs a span in which so many even steps fit."""
    if (missing := assess.without_transport(evidence, limits)) is not None:
        return missing
    return assess.short(evidence, limits.span_s, f"{limits.connections} even steps")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per source, destination and port."""
    links = evidence.links
    tcp = (links.kind == columns.TCP) & links.known & (links.synacks > 0)
    udp = (links.kind == columns.UDP) & (links.got > 0) & ~among(links.target_port, HOUSEKEEPING_PORTS)
    rows = np.flatnonzero((tcp | udp) & links.unicast & ~links.failed)
    for chosen in large_groups(rows, limits.connections, links.source, links.target, links.target_port):
        if len(chosen) < limits.most:
            finding = _judge(evidence, chosen, limits)
            if finding is not None:
                yield finding


def _judge(evidence: Evidence, chosen: Array, limits: Thresholds) -> Finding | None:
    links = evidence.links
    order = np.argsort(links.first_ns[chosen], kind="stable")
    chosen = chosen[order]
    times = links.first_ns[chosen] / 1e9
    count, interval, jitter = steps_of(times)
    if count < limits.connections - 1:
        return None
    if interval < limits.shortest_s or jitter > limits.jitter:
        return None
    parts = score(times, links.sent_payload[chosen], evidence.first_ns / 1e9, evidence.span_s)
    total = sum(parts.values()) / 4
    return _finding(evidence, chosen, limits, (interval, jitter, total), parts) if total >= limits.score else None


def _finding(
    evidence: Evidence, chosen: Array, limits: Thresholds, found: tuple[float, float, float], parts: dict[str, float]
) -> Finding:
    links, (interval, jitter, total) = evidence.links, found
    source, target = evidence.text(int(links.source[chosen[0]])), evidence.text(int(links.target[chosen[0]]))
    port = int(links.target_port[chosen[0]])
    names = list(evidence.hosts.names.get(target, ()))
    known = bool(names) and all(well_known(name) for name in names)
    inside = evidence.hosts.inside
    leaves = not bool(inside[links.target[chosen[0]]])  # orders come from outside; inside, machines watch each other
    same = links.target == links.target[chosen[0]]
    sharers = len(different(links.source[same]))
    word = columns.KINDS[int(links.kind[chosen[0]])].upper()
    terms = {"score": margin(total, limits.score, least=0.5, most=0.8, decades=0.15)}
    terms["jitter"] = 0.4 * (1 - jitter / limits.jitter)
    if sharers > 3:
        terms = {name: weight / 2 for name, weight in terms.items()}
    return of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{source} connects to {evidence.hosts.name(target)} {word} port {port} every {interval:.1f} s "
            f"({len(chosen)} times, jitter {100 * jitter:.0f} %)",
            explanation=f"Score {total:.2f}: "
            + ", ".join(f"{name} {value:.2f}" for name, value in parts.items())
            + ". "
            "Even steps with even sizes are what a program does that waits for orders.",
            benign="Update checks, telemetry, monitoring and polling do the same. What decides: who the destination is "
            f"({names[0] if names else 'the capture gives it no name'}) and how many hosts use it ({sharers} here).",
            advice="Find the program behind these connections on the source; look the destination up.",
            impact=Severity.MEDIUM if leaves and not known else Severity.LOW,
            evidence=terms,
            numbers={
                "connections": measured(limits, "connections", len(chosen)),
                "score": measured(limits, "score", round(total, 3)),
                "jitter": measured(limits, "jitter", round(jitter, 3)),
                "interval_s": Number(round(interval, 3), "s"),
                "hosts_using_it": Number(sharers, "hosts"),
            },
            subject=f"{source}>{target}:{port}",
            attack=(("T1071.001", "Application Layer Protocol: Web Protocols"),)
            if port in PEER_PORTS
            else (("T1071", "Application Layer Protocol"),),
            accountable=source,
            hosts=(source, target),
            extra={"rita": {name: round(value, 3) for name, value in parts.items()}},
        ),
    )
