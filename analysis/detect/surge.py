"""Surge: a few seconds with far more packets than the rest, and what they were made of.

Why it matters: the first thing a reader sees in an I/O graph, and the easiest to misread. A surge is taken apart by
conversation: few large answered ones are a bulk transfer (info, named with direction, protocol and peer); what is a
flood or scan is told by those detectors, and this one stays silent then. What else looks like an attack: downloads,
backups, speed tests, video starts, updates. Reference: robust z-score (Iglewicz and Hoaglin 1993).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_links
from analysis.columns import NO_TIME, Array, median
from analysis.evidence import Evidence, coded
from analysis.findings import Finding, Number, Severity
from analysis.thresholds import Limits, limit, measured

NAME = "surge"
SIGMA = 1.4826  # makes the MAD of normal data its standard deviation


class Thresholds(Limits):
    """When a second stands out."""

    z: float = limit(5.0, "robust standard deviations", "tapwall's default")
    packets_per_s: int = limit(100, "packets/s", "tapwall: the floor below which nothing is a surge")
    times: float = limit(2.0, "times the usual second", "tapwall: an even stream is no surge, however even it is")
    seconds: int = limit(10, "s with packets", "tapwall: a median of fewer bins says nothing")
    pair_share: float = limit(0.5, "share of packets of one host pair", "tapwall: one cause explains the surge")
    lines: int = limit(10, "findings, the largest first", "tapwall: what a reader looks at")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs conversations and some seconds to compare with."""
    if (missing := assess.without_transport(evidence, limits)) is not None:
        return missing
    return assess.short(evidence, limits.seconds, "a comparison of seconds")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per host pair that made a surge, the largest first."""
    graph = evidence.seconds
    packets = np.asarray(graph.packets)
    if graph.start_ns is None or len(packets) < limits.seconds:
        return
    usual = median(packets)
    spread = SIGMA * median(np.abs(packets - usual))
    level = max(usual + limits.z * spread, float(limits.packets_per_s), limits.times * usual)
    hot = np.flatnonzero((packets >= level) & (packets > usual))
    times = evidence.links.first_ns[:], evidence.links.last_ns[:]
    told: set[tuple[int, int]] = set()
    for bins in sorted(_episodes(hot), key=lambda bins: -int(packets[bins].sum()))[: 3 * limits.lines]:
        pair, chosen, counted = _cause(evidence, times, bins)
        if not len(chosen) or pair in told or len(told) >= limits.lines:
            continue
        told.add(pair)
        z = (float(packets[bins].max()) - usual) / spread if spread else float("inf")
        yield _finding(evidence, limits, bins, chosen, counted, z)


def _episodes(hot: Array) -> list[Array]:
    """Bins in a row, or with one quiet bin between them, are one episode."""
    return [part for part in np.split(hot, np.flatnonzero(np.diff(hot) > 2) + 1) if len(part)]


def _cause(evidence: Evidence, times: tuple[Array, Array], bins: Array) -> tuple[tuple[int, int], Array, float]:
    """The host pair with most packets in these bins: pair, its links that overlap them, packets it sent there."""
    links, graph = evidence.links, evidence.seconds
    low = int(graph.start_ns + bins[0] * graph.interval_s * 1e9)
    high = int(graph.start_ns + (bins[-1] + 1) * graph.interval_s * 1e9)
    first, last = times
    active = np.flatnonzero((first != NO_TIME) & (first < high) & (last >= low))
    if not len(active):
        return (-1, -1), active, 0.0
    first, last = first[active], last[active]
    inside = (np.minimum(last, high) - np.maximum(first, low) + 1) / (last - first + 1)
    counted = inside * (links.sent[active] + links.got[active])
    code = coded(active, np.minimum(links.source, links.target), np.maximum(links.source, links.target))
    sums = np.bincount(code, weights=counted)
    best = int(np.argmax(sums))
    chosen = active[(code == best) & (counted >= 1)]
    if not len(chosen):
        return (-1, -1), chosen, 0.0
    return (int(links.source[chosen[0]]), int(links.target[chosen[0]])), chosen, float(sums[best])


def _finding(evidence: Evidence, limits: Thresholds, bins: Array, chosen: Array, counted: float, z: float) -> Finding:
    links = evidence.links
    total = int(np.asarray(evidence.seconds.packets)[bins].sum())
    big = chosen[np.argsort(-(links.sent_bytes[chosen] + links.got_bytes[chosen]), kind="stable")]
    top = int(big[0])
    source, target = evidence.text(int(links.source[top])), evidence.text(int(links.target[top]))
    sent, got = int(links.sent_bytes[chosen].sum()), int(links.got_bytes[chosen].sum())
    share = counted / max(total, 1)
    single = share >= limits.pair_share
    direction = "a download" if got > 2 * sent else "an upload" if sent > 2 * got else "an exchange"
    names = _names(evidence, big)
    peer = f"{', '.join(names)} ({target})" if names else evidence.hosts.name(target)
    packets = np.asarray(evidence.seconds.packets)
    peak = int(bins[np.argmax(packets[bins])])
    when = f"second {peak}" if len(bins) == 1 else f"second {peak} (from {int(bins[0])} to {int(bins[-1])})"
    protocol = _protocol(evidence, top)
    answered = bool((links.got[chosen] > 0).all())
    opened = "opened from inside" if evidence.hosts.inside[links.source[top]] else f"opened by {source}"
    what = (
        f"{direction} over {protocol} from {peer}"
        if direction != "an upload"
        else f"an upload over {protocol} to {peer}"
    )
    if direction == "an exchange":
        what = f"an exchange over {protocol} with {peer}"
    many = f"traffic of many hosts, most of it {what}"
    return of_links(
        evidence,
        big,
        Words(
            detector=NAME,
            title=f"Surge in {when}, {int(packets[peak])} packets: {what if single else many}, {opened} by {source}"
            if opened == "opened from inside"
            else f"Surge in {when}, {int(packets[peak])} packets: {what if single else many}, {opened}",
            explanation=f"About {counted:.0f} of {total} packets belong to {len(chosen)} "
            f"conversation{'s' * (len(chosen) != 1)} between two hosts, {got} bytes to and {sent} bytes from the "
            f"side that opened them, {'all answered' if answered else 'not all answered'}.",
            benign="Few large, answered conversations opened from inside are a transfer; a flood has many sources, many "
            f"half-open connections or no answers: here {100 * share:.0f} % of the packets are one pair.",
            advice="Nothing to do, unless nobody asked for this transfer.",
            impact=Severity.INFO,
            evidence={"packets of one pair": min(0.95, share), "answered": 0.5 if answered else 0.1},
            numbers={
                "robust_z": measured(limits, "z", round(z, 1) if z != float("inf") else "infinite"),
                "packets_per_s": measured(
                    limits, "packets_per_s", int(np.asarray(evidence.seconds.packets)[bins].max())
                ),
                "pair_share": measured(limits, "pair_share", round(share, 3)),
                "bytes_in": Number(got, "bytes"),
                "bytes_out": Number(sent, "bytes"),
            },
            subject=f"{source}>{target}",
            hosts=(source, target),
            extra={"kind": "bulk transfer" if single and answered else "mixed", "server_names": names},
        ),
    )


def _names(evidence: Evidence, links: Array) -> list[str]:
    """Server names that hellos of these conversations show."""
    rows = {int(evidence.links.row[link]) for link in links[:20]}
    return list(dict.fromkeys(row.sni for row in evidence.facts.tls if row.sni and row.flow in rows))[:3]


def _protocol(evidence: Evidence, link: int) -> str:
    word = evidence.application(link)
    kind = columns.KINDS[int(evidence.links.kind[link])].upper()
    return word.upper() if word and word != "data" else f"{kind} port {int(evidence.links.target_port[link])}"
