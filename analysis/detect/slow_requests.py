"""Slow requests: one host holds many connections to a server open with requests that never end (Slowloris, R-U-Dead-Yet).

Why it matters: a server with a worker per connection serves nobody else, at next to no traffic. Counted are established
connections of one host to one service that stay open for long, send a little now and then and have got no answer.
What else looks like it: long polling and push (few connections, their requests are complete and answered in the end),
a server that hangs (connections of many hosts). Reference: CVE-2007-6750; ATT&CK T1499.002.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_links
from analysis.columns import median
from analysis.evidence import Evidence, large_groups
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "slow-requests"


class Thresholds(Limits):
    """When waiting is an attack."""

    connections: int = limit(
        20, "connections open at once", "tapwall: a browser opens 6 to a server, a proxy some more"
    )
    open_s: float = limit(10.0, "s median time open", "tapwall: a request takes well below a second to send")
    sent_bytes: float = limit(4000.0, "bytes sent a connection, at most", "tapwall: a request line and some headers")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs both directions, and a capture as long as what it asks for."""
    if (missing := assess.one_sided(evidence, limits)) is not None:
        return missing
    return assess.short(evidence, limits.open_s, "a slow request")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per source and service."""
    links = evidence.links
    length = links.last_ns - links.first_ns
    rows = np.flatnonzero(
        (links.kind == columns.TCP)
        & links.unicast
        & (links.synacks > 0)
        & (links.sent_payload > 0)
        & (links.sent_payload <= limits.sent_bytes)
        & (links.got_payload == 0)
        & (length >= limits.open_s * 1e9)
        & (links.sent >= 4)
    )
    for chosen in large_groups(rows, limits.connections, links.source, links.target, links.target_port):
        first, last = np.sort(links.first_ns[chosen]), np.sort(links.last_ns[chosen])
        together = int((np.arange(1, len(first) + 1) - np.searchsorted(last, first)).max())
        if together < limits.connections:
            continue
        seconds = median(length[chosen]) / 1e9
        source, target = evidence.text(int(links.source[chosen[0]])), evidence.text(int(links.target[chosen[0]]))
        port = int(links.target_port[chosen[0]])
        sent = median(links.sent_payload[chosen])
        yield of_links(
            evidence,
            chosen,
            Words(
                detector=NAME,
                title=f"{source} keeps {together} connections to {evidence.hosts.name(target)} port {port} busy with requests "
                "that never end",
                explanation=f"{len(chosen)} connections, half of them open for at least {seconds:.0f} s, sent {sent:.0f} bytes each (median) "
                "in small pieces and got no answer.",
                benign="Long polling holds a handful of connections whose requests are complete; a server that hangs shows "
                f"many clients: here one client holds {together}.",
                advice="Limit connections per client and the time for a request's headers at the server or a proxy before it.",
                impact=Severity.MEDIUM,
                evidence={
                    "connections at once": margin(together, limits.connections, least=0.6),
                    "no answer": 0.3,
                },
                numbers={
                    "connections_at_once": measured(limits, "connections", together),
                    "median_open_s": measured(limits, "open_s", round(seconds, 1)),
                    "median_sent": measured(limits, "sent_bytes", sent),
                    "connections": Number(len(chosen), "connections"),
                },
                subject=f"{source}>{target}:{port}",
                attack=(("T1499.002", "Endpoint Denial of Service: Service Exhaustion Flood"),),
                accountable=source,
                hosts=(source, target),
            ),
        )
