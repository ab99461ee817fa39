"""Long connections: open for hours, as remote control channels are, and as VPN, SSH, push services and streams are too.

A connection cut by the capture counts as "at least". Low at best: duration alone says little. Reference: RITA (base 1 h,
low 4 h, medium 8 h, high 12 h).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_links
from analysis.evidence import Evidence
from analysis.findings import Finding, Severity
from analysis.thresholds import Limits, limit, measured

NAME = "long-connection"


class Thresholds(Limits):
    """What is long."""

    hours: float = limit(4.0, "h", "RITA: low from 4 h")
    most: int = limit(10, "findings, the longest first", "tapwall: what a reader looks at")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs a capture as long as what it asks for."""
    return assess.short(evidence, limits.hours * 3600, "a long connection")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """The longest connections to outside hosts."""
    links, inside = evidence.links, evidence.hosts.inside
    hours = (links.last_ns - links.first_ns) / 3.6e12
    rows = np.flatnonzero(
        links.unicast
        & (links.kind == columns.TCP)
        & (hours >= limits.hours)
        & ~inside[links.target]
        & (links.got_payload > 0)
    )
    for link in rows[np.argsort(-hours[rows], kind="stable")][: limits.most].tolist():
        source, target = evidence.text(int(links.source[link])), evidence.text(int(links.target[link]))
        yield of_links(
            evidence,
            [link],
            Words(
                detector=NAME,
                title=f"{source} kept a connection to {evidence.hosts.name(target)} port {int(links.target_port[link])} "
                f"open for at least {hours[link]:.1f} h",
                explanation=f"{int(links.sent[link] + links.got[link])} packets over {hours[link]:.1f} h.",
                benign="VPN, SSH, push services and streams stay open as long; the destination's name decides "
                f"({evidence.hosts.name(target)}).",
                advice="Look what the program on the source is.",
                impact=Severity.LOW if target not in evidence.hosts.names else Severity.INFO,
                evidence={"duration": 0.5},
                numbers={"hours": measured(limits, "hours", round(float(hours[link]), 2))},
                subject=f"{source}>{target}:{int(links.target_port[link])}",
                attack=(("T1071", "Application Layer Protocol"),),
                hosts=(source, target),
            ),
        )
