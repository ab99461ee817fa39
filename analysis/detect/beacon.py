"""Beaconing: one host opens short connections to another in even steps, as malware does that asks for orders.

Counted are new connections, never packets, per source, destination and port. The score is RITA's: evenness of steps,
evenness of sent bytes, spread over the capture, duration. What else looks like it: NTP, mDNS and other housekeeping
(left out), updates, telemetry and monitoring (named as the benign explanation; well-known services are low), repeated
SYNs of one attempt (failed connections are left out), keep-alives (inside one connection).
Bowley's skew is taken as 0 where the quartiles differ by less than 5 % of the median: RITA's fixed 10 s would call
every fast beacon symmetric. Reference: RITA v5.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_links
from analysis.columns import Array, among, different, median
from analysis.evidence import HOUSEKEEPING_PORTS, Evidence, large_groups
from analysis.findings import Finding, Number, Severity
from analysis.hosts import well_known
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "beacon"
BINS = 24  # RITA: histogram over the span of the data
FLAT = 0.05  # quartiles nearer than this share of the median are no skew
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
    steps = np.diff(times)
    steps = steps[steps > 0]
    if len(steps) < limits.connections - 1:
        return None
    interval = median(steps)
    jitter = median(np.abs(steps - interval)) / interval if interval else 1.0
    if interval < limits.shortest_s or jitter > limits.jitter:
        return None
    parts = score(times, links.sent_payload[chosen], evidence.first_ns / 1e9, evidence.span_s)
    total = sum(parts.values()) / 4
    return _finding(evidence, chosen, limits, (interval, jitter, total), parts) if total >= limits.score else None


def score(times: Array, sizes: Array, begin_s: float, span_s: float) -> dict[str, float]:
    """RITA's four parts, each 0 to 1: `steps`, `sizes`, `histogram`, `duration`. `times` are sorted seconds."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    place = np.clip(((times - begin_s) / max(span_s, 1e-9) * BINS).astype(np.int64), 0, BINS - 1)
    heights = np.bincount(place, minlength=BINS)
    return {
        "steps": _even(steps, 1.0),
        "sizes": _even(sizes.astype(float), 0.0),
        "histogram": _histogram(heights),
        "duration": _duration(heights, times, span_s),
    }


def _even(values: Array, default: float) -> float:
    """Mean of 1 - |Bowley skew| and (median - MAD) / median."""
    low, middle, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    skew = 0.0
    if high - low > FLAT * middle and middle not in (low, high):
        skew = (low + high - 2 * middle) / (high - low)
    spread = median(np.abs(values - middle))
    dispersion = max(0.0, (middle - spread) / middle) if middle >= 1 else default
    if 0 < middle < 1:
        dispersion = max(0.0, (middle - spread) / middle)
    return (1 - abs(skew) + dispersion) / 2


def _histogram(heights: Array) -> float:
    mean = float(heights.mean())
    steady = max(0.0, 1 - float(heights.std()) / mean) if mean else 0.0
    if np.count_nonzero(heights) < 11:
        return steady
    width = int(np.ceil(0.05 * heights.max()))
    counts = np.sort(np.bincount(heights // max(width, 1)))[::-1]
    return max(steady, min(1.0, float(counts[:2].sum()) / (BINS - 1)))


def _duration(heights: Array, times: Array, span_s: float) -> float:
    if np.count_nonzero(heights) < 6:
        return 0.0
    coverage = float(times[-1] - times[0]) / span_s if span_s else 0.0
    around = np.concatenate((heights, heights)) > 0
    runs = np.diff(np.flatnonzero(np.concatenate(([True], ~around, [True])))) - 1
    return min(1.0, max(coverage, min(BINS, int(runs.max())) / 12))


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
