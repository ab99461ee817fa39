"""Exfiltration: far more sent than received, and far more than to the host's other peers.

What else looks like it: backups, photo synchronisation, video calls, git push, test uploads; the service is named where
the capture shows it. In short captures only volume can be told. Slips asks for 500 MB
a window, RITA for 25 MB together with a threat-intelligence hit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess
from analysis.claims import Words, of_links
from analysis.columns import Array, median
from analysis.evidence import Evidence, coded
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "exfiltration"
blocked = assess.without_transport


class Thresholds(Limits):
    """When an upload stands out."""

    bytes: float = limit(20e6, "bytes sent", "tapwall's default")
    ratio: float = limit(5.0, "bytes sent / received", "tapwall's default")
    peers: float = limit(5.0, "times the median of the host's other peers", "tapwall's default")
    names_bytes: float = limit(500e6, "bytes sent to a named service for medium", "Slips: 500 MB a window")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per inside host and outside peer."""
    links, inside = evidence.links, evidence.hosts.inside
    rows = np.flatnonzero(links.unicast & inside[links.source] & ~inside[links.target] & (links.sent_payload > 0))
    if not len(rows):
        return
    code = coded(rows, links.source, links.target)
    sent = np.bincount(code, weights=links.sent_payload[rows])
    got = np.bincount(code, weights=links.got_payload[rows])
    first = np.zeros(len(sent), np.int64)
    first[code[::-1]] = rows[::-1]
    source = links.source[first]
    for pair in np.flatnonzero((sent >= limits.bytes) & (sent >= limits.ratio * np.maximum(got, 1))).tolist():
        others = np.delete(sent[source == source[pair]], np.flatnonzero(np.flatnonzero(source == source[pair]) == pair))
        usual = median(others) if len(others) else 0.0
        if sent[pair] >= limits.peers * usual:
            yield _finding(evidence, rows[code == pair], (float(sent[pair]), float(got[pair]), usual), limits)


def _finding(evidence: Evidence, chosen: Array, sums: tuple[float, float, float], limits: Thresholds) -> Finding:
    links, (sent, got, usual) = evidence.links, sums
    source, target = evidence.text(int(links.source[chosen[0]])), evidence.text(int(links.target[chosen[0]]))
    named = bool(evidence.hosts.names.get(target))
    return of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{source} sent {sent / 1e6:.0f} MB to {evidence.hosts.name(target)} and got {got / 1e6:.1f} MB back",
            explanation=f"{len(chosen)} conversations carried {sent:.0f} bytes out, {sent / max(got, 1):.0f} times what came back; the "
            f"median of this host's other peers is {usual:.0f} bytes.",
            benign="Backups, photo synchronisation and video calls upload as much; they go to a service with a name "
            f"({evidence.hosts.name(target) if named else 'none here'}) that the host uses every day.",
            advice="Ask the host's user what was uploaded there; look at what was read before.",
            impact=Severity.LOW if named and sent < limits.names_bytes else Severity.MEDIUM,
            evidence={
                "volume": margin(sent, limits.bytes, least=0.4),
                "direction": margin(sent / max(got, 1), limits.ratio, least=0.3, most=0.6),
            },
            numbers={
                "bytes_sent": measured(limits, "bytes", int(sent)),
                "ratio": measured(limits, "ratio", round(sent / max(got, 1), 1)),
                "times_other_peers": measured(limits, "peers", round(sent / usual, 1) if usual else "no other peer"),
                "bytes_received": Number(int(got), "bytes"),
            },
            subject=f"{source}>{target}",
            attack=(("T1048", "Exfiltration Over Alternative Protocol"), ("T1567", "Exfiltration Over Web Service")),
            accountable=source,
            hosts=(source, target),
        ),
    )
