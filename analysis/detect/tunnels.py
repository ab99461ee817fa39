"""Tunnels of hosts: GRE, IPv6 in IPv4, Teredo, VXLAN, GTP and others that carry a network inside another.

What a tunnel carries passes filters unseen. What else looks like it: VPNs and overlays on purpose (routers, data
centres), which is why it is info, and low where an inside host tunnels to the outside. Reference:
RFC 2784, RFC 4213, RFC 4380, RFC 7348; ATT&CK T1572.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess, columns, layers
from analysis.claims import Words, of_links, of_rows
from analysis.columns import among
from analysis.evidence import Evidence
from analysis.findings import Finding, Number, Severity
from analysis.thresholds import Limits, limit, measured

NAME = "tunnel"


def blocked(evidence: Evidence, limits: object) -> assess.Blocked:
    """Needs IP traffic."""
    if among(evidence.flows.kind, (columns.IP, columns.IPV6)).any():
        return None
    return "no IP traffic in this capture", "a capture with IP traffic"


# UDP protocols that carry packets: Wireshark's name -> words
CARRIERS = {
    "openvpn": "OpenVPN",
    "wg": "WireGuard",
    "l2tp": "L2TP",
    "udpencap": "IPsec in UDP",
}
# Tunnels that were counted by their headers: words, display filter
KINDS = {
    "GRE": ("GRE", "gre"),
    "IPv6-in-IPv4": ("IPv6 in IPv4 (6in4)", "ip.proto == 41"),
    "IP-in-IP": ("IPv4 in IP", "(ip.proto == 4 || ipv6.nxt == 4)"),
    "IPv6-in-IPv6": ("IPv6 in IPv6", "ipv6.nxt == 41"),
    "Teredo": ("Teredo (IPv6 in UDP)", "teredo"),
    "VXLAN": ("VXLAN", "vxlan"),
    "Geneve": ("Geneve", "geneve"),
    "GTP": ("GTP", "gtp"),
}


class Thresholds(Limits):
    """What is a tunnel in use."""

    packets: int = limit(10, "packets", "tapwall: probes and negotiation need fewer")
    lines: int = limit(10, "findings, the busiest first", "tapwall: what a reader looks at")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per pair of ends and kind."""
    links = evidence.links
    found: list[tuple[int, str]] = []
    for name, words in CARRIERS.items():
        if name not in layers.BY_NAME:
            continue
        rows = np.flatnonzero((links.application == layers.BY_NAME[name]) & links.unicast & (links.kind == columns.UDP))
        busy = rows[(links.sent[rows] + links.got[rows]) >= limits.packets]
        found += [(int(link), words) for link in busy[: limits.lines].tolist()]
    found.sort(key=lambda one: -int(links.sent[one[0]] + links.got[one[0]]))
    for link, words in found[: limits.lines]:
        yield _finding(evidence, link, words, limits)
    yield from _portless(evidence, limits)


def _portless(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """GRE and IP inside IP, counted while the headers were read (protocols/header_shapes.py)."""
    flows, hosts = evidence.flows, evidence.hosts
    seen = []
    for row in evidence.facts.payload:
        if row.shape == "tunnel":
            name, count, carried = row.detail.split(" ")
            seen.append((int(count), int(carried), name, row.flow))
    for packets, size, kind, flow in sorted(seen, reverse=True)[: limits.lines]:
        one, other = int(flows.a_id[flow]), int(flows.b_id[flow])
        if packets < limits.packets or hosts.group[one] or hosts.group[other]:
            continue
        source, target = evidence.text(one), evidence.text(other)
        words, field = KINDS[kind], "ipv6.addr" if ":" in source else "ip.addr"
        leaves = bool(hosts.inside[one] != hosts.inside[other])
        yield of_rows(
            evidence,
            np.array([flow]),
            Words(
                detector=NAME,
                title=f"{source} has a tunnel of {words[0]} to {hosts.name(target)}",
                explanation=f"{packets} packets, {size} bytes. A filter on the path sees the ends of the tunnel only.",
                benign=f"Routers, tunnel brokers and mirrors of switch ports (ERSPAN) do so on purpose; {packets} packets here.",
                advice="Nothing to do where the tunnel is known.",
                impact=Severity.LOW if leaves else Severity.INFO,
                evidence={"recognised by its header": 0.9},
                numbers={"packets": measured(limits, "packets", packets), "bytes": Number(size, "bytes")},
                subject=f"{kind} {source}>{target}",
                attack=(("T1572", "Protocol Tunneling"),),
                hosts=(source, target),
                filter=f"{words[1]} && {field} == {source} && {field} == {target}",
            ),
            packets=packets,
            size=size,
        )


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
