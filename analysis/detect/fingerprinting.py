"""Active fingerprinting: a few packets that no program sends, to see how a system answers them.

Nmap's system detection sends SYNs with odd options, segments without flags, SYN+FIN+PSH+URG, FIN+PSH+URG, an ACK out of
nowhere, a UDP datagram of 300 bytes `C` to a closed port and two odd pings. What else looks like it: nothing in normal use;
broken middle boxes now and then make one kind. Reference: nmap.org, TCP/IP fingerprinting methods; ATT&CK T1595.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_links
from analysis.columns import Array, different
from analysis.evidence import ACK, FIN, PSH, RST, SYN, URG, Evidence, large_groups
from analysis.findings import Finding, Number, Severity
from analysis.thresholds import Limits, limit, measured

NAME = "fingerprinting"
blocked = assess.without_transport
MOST_PAIRS = 500  # pairs of hosts judged: a bound against captures made to be slow
PROBE_BYTES, PROBE = 300, b"C" * 32


class Thresholds(Limits):
    """How many kinds."""

    kinds: int = limit(2, "kinds of impossible segments", "tapwall: one kind may be a broken device")
    ports: int = limit(8, "ports, at most", "tapwall: more ports are a scan")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per prober and target."""
    links = evidence.links
    plain = links.first_flags & (FIN | SYN | RST | PSH | ACK | URG)
    odd = (links.kind == columns.TCP) & (links.first_flags >= 0) & (links.sent_payload == 0)
    odd &= (plain == 0) | ((plain & FIN != 0) & (plain & ACK == 0)) | ((plain & (SYN | FIN)) == (SYN | FIN))
    ends = evidence.flows.a_id[links.row], evidence.flows.b_id[links.row]
    pairs = large_groups(np.flatnonzero(odd & links.unicast), limits.kinds, *ends)
    for chosen in islice(pairs, MOST_PAIRS):
        finding = _judge(evidence, chosen, plain, ends, limits)
        if finding is not None:
            yield finding


def _judge(
    evidence: Evidence, chosen: Array, plain: Array, ends: tuple[Array, Array], limits: Thresholds
) -> Finding | None:
    flows, links = evidence.flows, evidence.links
    kinds = len(different(plain[chosen]))
    ports = len(different(flows.b_port[links.row[chosen]]))
    if kinds < limits.kinds or ports > limits.ports:
        return None
    source, target = (int(end[chosen[0]]) for end in ends)
    mine = np.flatnonzero((ends[0] == source) & (ends[1] == target))
    near = mine[
        (links.sent_payload[mine] <= PROBE_BYTES)
        & (links.first_ns[mine] >= links.first_ns[chosen].min() - 5_000_000_000)
    ]
    datagrams = sum(
        row.size_bytes == PROBE_BYTES and row.data.startswith(PROBE) and evidence.flow_link[row.flow] in near
        for row in evidence.facts.opening
    )
    who, whom = evidence.text(source), evidence.text(target)
    terms = {"kinds of impossible segments": min(0.85, 0.35 * kinds)}
    if datagrams:
        terms["nmap's UDP probe"] = 0.6
    return of_links(
        evidence,
        near,
        Words(
            detector=NAME,
            title=f"{who} probed which system runs on {evidence.hosts.name(whom)} ({kinds} kinds of impossible segments)",
            explanation=f"{len(chosen)} connections begin with flags that open nothing, of {kinds} kinds, on {ports} ports"
            + (f"; {datagrams} UDP probes of nmap's form." if datagrams else "."),
            benign=f"A broken device makes one kind of odd segment, again and again; here {kinds} kinds come within seconds.",
            advice="Ask who runs the source; expect attempts that fit the system it found.",
            impact=Severity.MEDIUM,
            evidence=terms,
            numbers={
                "kinds": measured(limits, "kinds", kinds),
                "ports": measured(limits, "ports", ports),
                "udp_probes": Number(datagrams, "datagrams"),
            },
            subject=f"{who}>{whom}",
            attack=(("T1595.001", "Active Scanning: Scanning IP Blocks"), ("T1046", "Network Service Discovery")),
            accountable=who,
            hosts=(who, whom),
        ),
    )
