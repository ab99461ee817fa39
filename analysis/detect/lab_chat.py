"""tapwall's own chat in clear text: rooms, names and messages can be read by everybody on the path.

The chat may run without TLS so that the lab can study it; this detector says so. Frames that announce more than the
protocol allows are told as well. What else looks like it: nothing, the header names itself. Reference: docs/wire.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from analysis import assess
from analysis.claims import Words, of_facts
from analysis.evidence import Evidence
from analysis.facts import Chat
from analysis.findings import Finding, Number, Severity
from analysis.thresholds import Limits, limit, measured

NAME = "lab-chat"
blocked = assess.without_fact("chat", "tapwall chat")


class Thresholds(Limits):
    """What is worth a line."""

    frames: int = limit(1, "frames", "tapwall: one frame in clear is an exposure")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per chat server."""
    servers: defaultdict[str, list[Chat]] = defaultdict(list)
    for row in evidence.facts.chat:
        if row.flow not in evidence.opened:
            servers[evidence.target_of(row.flow)].append(row)
    for server, rows in servers.items():
        if len(rows) < limits.frames:
            continue
        clients = {evidence.source_of(row.flow) for row in rows}
        link = evidence.link_of(rows[0].flow)
        port = int(evidence.links.target_port[link]) if link >= 0 else 0
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"Lab chat in clear text at {evidence.hosts.name(server)} port {port}",
                explanation=f"{len(rows)} frames of tapwall's own chat between {len(clients)} hosts and the server: names, rooms, messages and "
                "passwords can be read by everybody on the path.",
                benign=f"This is the lab's own server, on purpose without TLS; {len(clients)} clients use it.",
                advice="Start the server with a certificate outside the lab (`chat serve` with TLS).",
                impact=Severity.INFO,
                evidence={"recognised by its header": 0.95},
                numbers={"frames": measured(limits, "frames", len(rows)), "clients": Number(len(clients), "hosts")},
                subject=f"{server}:{port}",
                attack=(("T1040", "Network Sniffing"),),
                hosts=(server, *sorted(clients)[:20]),
            ),
        )
