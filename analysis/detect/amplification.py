"""Amplification and backscatter: answers that nobody asked for.

Datagrams from service ports of many hosts to one that sent no request are reflected traffic: somebody asks in its
name. SYN+ACK and RST without a SYN are the same over TCP, or the echo of a flood elsewhere with this address as its
forged source. What else looks like it: a capture of one direction (many services then, not one), a server's late answers (few).
Reference: Rossow, Amplification Hell (2014).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_links
from analysis.columns import Array, among, different
from analysis.evidence import ACK, RST, SYN, Evidence, large_groups
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "amplification"
blocked = assess.without_transport
# UDP services known to answer more than they are asked (US-CERT TA14-017A and later): port -> name
SERVICES = {
    17: "QOTD", 19: "CHARGEN", 53: "DNS", 69: "TFTP", 111: "portmap", 123: "NTP", 137: "NetBIOS", 161: "SNMP", 389: "CLDAP",
    500: "IKE", 520: "RIP", 1194: "OpenVPN", 1434: "MS-SQL", 1604: "Citrix", 1701: "L2TP", 1900: "SSDP", 3283: "ARD", 3389: "RDP", 3478: "STUN", 3702: "WS-Discovery",
    4500: "IKE", 5060: "SIP", 5093: "Sentinel", 5351: "NAT-PMP", 5353: "mDNS", 10001: "Ubiquiti", 11211: "memcached", 27015: "Steam",
    5683: "CoAP", 17185: "VxWorks", 20800: "Call of Duty", 30718: "Lantronix", 32414: "Plex", 33848: "Jenkins", 37810: "DHDiscover",
    47808: "BACnet",
}  # fmt: skip

DNS = 53  # a resolver's answers are larger than its questions by trade: left to the sources without request


class Thresholds(Limits):
    """When answers are too many."""

    sources: int = limit(10, "sources without request", "tapwall: a client has two or three resolvers or time servers")
    other_sources: int = limit(
        30, "sources of a service port that is not known to amplify", "tapwall: new amplifiers are found each year"
    )
    strong_packets: int = limit(300, "packets of whatever number of sources", "tapwall: late answers are few")
    strong_bytes: float = limit(400.0, "bytes a packet", "tapwall: an amplified answer is large")
    strong_per_s: float = limit(50.0, "packets/s", "tapwall: beyond any late answer")
    factor: float = limit(10.0, "bytes answered per byte asked", "Rossow 2014; a factor of 5 is common")
    packets: int = limit(50, "packets without request", "tapwall: late answers are few")
    answers: int = limit(50, "SYN+ACK or RST without SYN", "tapwall: TCP answers a lost SYN five times")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per target and service, and per target of TCP answers."""
    flows, links = evidence.flows, evidence.links
    row = links.row
    silent = (flows.packets_ba[row] == 0) & links.unicast
    unasked = silent & (links.kind == columns.UDP)
    victim, service = flows.b_id[row], flows.a_port[row]
    amplifier = among(service, SERVICES)
    reflected = unasked & amplifier & (service != flows.b_port[row])
    for chosen in large_groups(np.flatnonzero(reflected), 1, victim, service):
        yield from _reflected(evidence, chosen, limits)
    other = unasked & ~amplifier & (service < 1024)
    for chosen in large_groups(np.flatnonzero(other), limits.other_sources, victim, service):
        yield from _reflected(evidence, chosen, limits)
    misused = links.unicast & (links.kind == columns.UDP) & among(links.target_port, SERVICES) & links.known
    repeated = _repeated_questions(evidence, limits)
    misused &= ((links.target_port != DNS) | np.isin(links.row, repeated)) & (links.got >= 1)
    monlists = {row.flow for row in evidence.facts.payload if row.shape == "ntp-monlist"}
    for chosen in large_groups(np.flatnonzero(misused), 1, links.source, links.target, links.target_port):
        yield from _misused(evidence, chosen, limits, monlists)
    first = links.first_flags
    answers = (
        silent & (links.kind == columns.TCP) & (((first & (SYN | ACK)) == (SYN | ACK)) | ((first & (RST | SYN)) == RST))
    )
    for chosen in large_groups(np.flatnonzero(answers), 1, victim):
        yield from _answers(evidence, chosen, limits)


def _repeated_questions(evidence: Evidence, limits: Thresholds) -> list[int]:
    """Flows of an asker who wants the same name of the same server again and again: a client keeps the answer."""
    asked: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row in evidence.facts.dns:
        if not row.response and row.protocol == "dns" and not row.tcp:
            ends = evidence.sender_of(row.flow, row.from_a), evidence.receiver_of(row.flow, row.from_a)
            asked[*ends, row.name.lower()].append(row.flow)
    return [flow for flows in asked.values() if len(flows) >= limits.packets for flow in flows]


def _reflected(evidence: Evidence, chosen: Array, limits: Thresholds) -> Iterator[Finding]:
    flows, rows = evidence.flows, evidence.links.row[chosen]
    sources = len(different(flows.a_id[rows]))
    packets, size = int(flows.packets_ab[rows].sum()), int(flows.bytes_ab[rows].sum())
    seconds = max(1.0, float(flows.last_ns[rows].max() - flows.first_ns[rows].min()) / 1e9)
    strong = packets >= limits.strong_packets and size / packets >= limits.strong_bytes
    strong = strong and packets / seconds >= limits.strong_per_s
    if not strong and (sources < limits.sources or packets < limits.packets):
        return
    port = int(flows.a_port[rows[0]])
    word = SERVICES.get(port, f"UDP port {port}")
    victim = evidence.text(int(flows.b_id[rows[0]]))
    ports = len(different(flows.b_port[rows]))
    yield of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{evidence.hosts.name(victim)} is hit by reflected {word} answers from "
            f"{sources} host{'s' * (sources != 1)} "
            f"({packets} packets, {size} bytes)",
            explanation=f"{packets} datagrams come from port {port} of {sources} hosts, to {ports} ports; the capture holds no "
            f"request for any of them, {size / packets:.0f} bytes each.",
            benign=f"A capture that misses the requests would miss them for all services; a client asks two or three servers: here {sources}.",
            advice="Let the provider filter this source port towards the target; the reflectors are victims as well.",
            impact=Severity.HIGH if size > 1_000_000 else Severity.MEDIUM,
            evidence={
                "sources": margin(sources, limits.sources, least=0.5),
                "no request": 0.4,
                "large and many": margin(packets, limits.strong_packets, least=0.4) if strong else 0.0,
            },
            numbers={
                "sources": measured(limits, "sources", sources),
                "packets": measured(limits, "packets", packets),
                "bytes_per_packet": Number(round(size / packets, 1), "bytes"),
            },
            subject=f"{word}>{victim}",
            attack=(("T1498.002", "Network Denial of Service: Reflection Amplification"),),
            filter=f"udp.srcport == {port} && {_destination(victim)} && !icmp && !icmpv6",
        ),
    )


def _misused(evidence: Evidence, chosen: Array, limits: Thresholds, monlists: set[int]) -> Iterator[Finding]:
    """Small questions to a service that answers with far more, quickly: somebody uses it against the asker's address."""
    links = evidence.links
    asked, told = int(links.sent_bytes[chosen].sum()), int(links.got_bytes[chosen].sum())
    answers = int(links.got[chosen].sum())
    seconds = max(1.0, float(links.last_ns[chosen].max() - links.first_ns[chosen].min()) / 1e9)
    monlist = bool(monlists) and not monlists.isdisjoint(links.row[chosen].tolist())
    enough = answers >= limits.packets and answers / seconds >= limits.strong_per_s and told >= limits.factor * asked
    if not enough and not (monlist and answers > 1):
        return
    victim, server = evidence.text(int(links.source[chosen[0]])), evidence.text(int(links.target[chosen[0]]))
    port = int(links.target_port[chosen[0]])
    yield of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{evidence.hosts.name(server)} amplifies {SERVICES[port]}: {told / max(asked, 1):.0f} bytes to {victim} for each byte asked"
            + (" (NTP monlist)" if monlist else ""),
            explanation=f"{answers} answers with {told} bytes to requests of {asked} bytes within {seconds:.0f} s. Requests with a forged "
            "sender turn this server against that address.",
            benign="A real client asks for a large answer now and then; here the server sends "
            f"{answers / seconds:.0f} packets a second.",
            advice="Close the service to the outside, or switch the large answer off (NTP: no monlist).",
            impact=Severity.MEDIUM,
            evidence={
                "factor": margin(told / max(asked, 1), limits.factor, least=0.4),
                "answers": margin(answers, limits.packets, least=0.3),
                "monlist": 0.55 * monlist,
            },
            numbers={
                "factor": measured(limits, "factor", round(told / max(asked, 1), 1)),
                "answers": measured(limits, "packets", answers),
                "per_second": measured(limits, "strong_per_s", round(answers / seconds, 1)),
            },
            subject=f"{SERVICES[port]} {server} to {victim}",
            attack=(("T1498.002", "Network Denial of Service: Reflection Amplification"),),
        ),
    )


def _answers(evidence: Evidence, chosen: Array, limits: Thresholds) -> Iterator[Finding]:
    flows, rows = evidence.flows, evidence.links.row[chosen]
    packets = int(flows.packets_ab[rows].sum())
    if packets < limits.answers:
        return
    sources = len(different(flows.a_id[rows]))
    victim = evidence.text(int(flows.b_id[rows[0]]))
    per_source = packets / sources
    yield of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{evidence.hosts.name(victim)} gets TCP answers it never asked for: {packets} SYN+ACK or RST from {sources} hosts",
            explanation=f"{packets} segments answer connections that this host did not open, {per_source:.0f} per source. Either "
            "SYNs are sent in its name (reflection), or a flood elsewhere forges its address (backscatter).",
            benign="TCP repeats the answer to a lost SYN about five times; here a source sends "
            f"{per_source:.0f} on average.",
            advice="Drop answers without connection (stateful filter); tell the provider that the address is forged.",
            impact=Severity.MEDIUM,
            evidence={"answers": margin(packets, limits.answers, least=0.55), "no request": 0.3},
            numbers={
                "answers": measured(limits, "answers", packets),
                "sources": Number(sources, "hosts"),
                "per_source": Number(round(per_source, 1), "segments"),
            },
            subject=f"tcp>{victim}",
            attack=(("T1498.002", "Network Denial of Service: Reflection Amplification"),),
        ),
    )


def _destination(address: str) -> str:
    return f"ipv6.dst == {address}" if ":" in address else f"ip.dst == {address}"
