"""Tunnels of hosts: GRE, IPv6 in IPv4, Teredo, VXLAN, GTP and others that carry a network inside another.

What a tunnel carries passes filters unseen. What else looks like it: VPNs and overlays on purpose (routers, data
centres), which is why it is info, and low where an inside host tunnels to the outside. Reference: detections.md 6.17;
RFC 2784, RFC 4213, RFC 4380, RFC 7348; ATT&CK T1572.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis import assess, columns, layers
from analysis.claims import Words, of_links
from analysis.evidence import Evidence
from analysis.findings import Finding, Number, Severity
from analysis.thresholds import limit, measured

NAME = "tunnel"
blocked = assess.without_transport
# UDP protocols that carry packets: Wireshark's name -> words
CARRIERS = {
    "teredo": "Teredo (IPv6 in UDP)",
    "vxlan": "VXLAN",
    "geneve": "Geneve",
    "gtp": "GTP",
    "openvpn": "OpenVPN",
    "wg": "WireGuard",
    "l2tp": "L2TP",
    "udpencap": "IPsec in UDP",
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is a tunnel in use."""

    packets: int = limit(10, "packets", "tapwall: probes and negotiation need fewer")
    lines: int = limit(10, "findings, the busiest first", "tapwall: what a reader looks at")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per pair of ends and kind."""
    links = evidence.links
    found: list[tuple[int, str, Mapping[str, Any]]] = []
    for name, words in CARRIERS.items():
        if name not in layers.BY_NAME:
            continue
        rows = np.flatnonzero((links.application == layers.BY_NAME[name]) & links.unicast & (links.kind == columns.UDP))
        busy = rows[(links.sent[rows] + links.got[rows]) >= limits.packets]
        found += [(int(link), words, {}) for link in busy[: limits.lines].tolist()]
    found.sort(key=lambda one: -int(links.sent[one[0]] + links.got[one[0]]))
    for link, words, _ in found[: limits.lines]:
        yield _finding(evidence, link, words, limits)


def _finding(evidence: Evidence, link: int, words: str, limits: Thresholds) -> Finding:
    links, inside = evidence.links, evidence.hosts.inside
    source, target = evidence.text(int(links.source[link])), evidence.text(int(links.target[link]))
    leaves = bool(inside[links.source[link]] & ~inside[links.target[link]])
    packets = int(links.sent[link] + links.got[link])
    return of_links(
        evidence,
        [link],
        Words(
            detector=NAME,
            title=f"{source} has a {words} tunnel to {evidence.hosts.name(target)}",
            explanation=f"{packets} packets, {int(links.sent_bytes[link])} bytes out and {int(links.got_bytes[link])} back. A filter on the "
            "path sees the ends of the tunnel only.",
            benign=f"A VPN that was set up on purpose looks the same; {packets} packets here.",
            advice="Nothing to do where the tunnel is known.",
            impact=Severity.LOW if leaves and words.startswith("Teredo") else Severity.INFO,
            evidence={"recognised by content": 0.8},
            numbers={
                "packets": measured(limits, "packets", packets),
                "bytes_out": Number(int(links.sent_bytes[link]), "bytes"),
            },
            subject=f"{words} {source}>{target}",
            attack=(("T1572", "Protocol Tunneling"),),
            hosts=(source, target),
        ),
    )
