"""Floods of ICMP errors: a host is told faster than anything can fail that packets did not arrive which it never sent.

Unreachable ports (BlackNurse: type 3, code 3), exceeded lifetimes, source quench and redirects cost a firewall more than
other packets do, for it looks for the connection that each quotes; some hundreds a second tie a processor up. Counted are
ICMP messages that belong to no request. What else looks like it: errors that a host's own packets cause (a scan, a flood
or a traceroute of its own, peers of a swarm that are gone): then it sent the packets that they quote; the echo of a flood
elsewhere with this address as forged source (then the senders are its victims).
Reference: BlackNurse (2016), RFC 1812 4.3.2.8, RFC 4443 2.4 (f): routers limit the rate of errors.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_links
from analysis.columns import Array, among, different
from analysis.evidence import Evidence, large_groups
from analysis.findings import Finding, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "icmp-error-flood"
DIRECT = (("T1498.001", "Network Denial of Service: Direct Network Flood"),)
ERRORS = {columns.ICMP: ("icmp", "3, 4, 5, 11, 12"), columns.ICMPV6: ("icmpv6", "1, 2, 3, 4, 137")}


class Thresholds(Limits):
    """When errors are a flood."""

    errors_per_s: float = limit(
        100.0, "errors/s", "tapwall: Linux tells one host of one error a second (icmp_ratelimit), all together of 1,000"
    )
    errors: int = limit(200, "errors", "tapwall: two seconds of it")
    caused: float = limit(
        0.5, "packets sent that were quoted, per error, at most", "tapwall: an honest error has its packet"
    )


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs ICMP, and both directions to tell who caused the errors."""
    if among(evidence.links.kind, ERRORS).any():
        return assess.one_sided(evidence, limits)
    return "no ICMP in this capture", "a capture with ICMP"


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per receiver and family."""
    links, flows = evidence.links, evidence.flows
    rows = np.flatnonzero(among(links.kind, ERRORS) & links.unicast & (flows.b_port[links.row] == 0))
    if not len(rows):
        return
    # The side that sends more is the one that complains; a pair where both do so has no row of its own for each.
    forth = flows.packets_ab[links.row[rows]] >= flows.packets_ba[links.row[rows]]
    receiver = np.full(len(links.row), -1, np.int64)
    receiver[rows] = np.where(forth, flows.b_id[links.row[rows]], flows.a_id[links.row[rows]])
    packets = np.zeros(len(links.row), np.int64)
    packets[rows] = np.maximum(flows.packets_ab[links.row[rows]], flows.packets_ba[links.row[rows]])
    quoted = _quoted(evidence)
    for chosen in large_groups(rows, 1, receiver, links.kind):
        if packets[chosen].sum() >= limits.errors:
            yield from _judge(evidence, chosen, (receiver, packets, quoted), limits)


def _quoted(evidence: Evidence) -> Array:
    """int64[addresses]: packets that each sent in conversations which an ICMP error quotes."""
    flows = evidence.flows
    told = np.flatnonzero(flows.icmp_error >= 0)
    size = len(evidence.hosts.group)
    return np.asarray(
        np.bincount(flows.a_id[told], weights=flows.packets_ab[told], minlength=size)
        + np.bincount(flows.b_id[told], weights=flows.packets_ba[told], minlength=size)
    )


def _judge(
    evidence: Evidence, chosen: Array, counted: tuple[Array, Array, Array], limits: Thresholds
) -> Iterator[Finding]:
    links, flows, (receiver, packets, quoted) = evidence.links, evidence.flows, counted
    errors, victim = int(packets[chosen].sum()), int(receiver[chosen[0]])
    per_s, caused = (
        _rate(links.first_ns[chosen], links.last_ns[chosen], packets[chosen]),
        float(quoted[victim]) / errors,
    )
    if per_s < limits.errors_per_s or caused > limits.caused:
        return
    rows = links.row[chosen]
    senders = different(np.where(flows.a_id[rows] == victim, flows.b_id[rows], flows.a_id[rows]))
    target = evidence.text(victim)
    sender = evidence.text(int(senders[0])) if len(senders) == 1 else ""
    kind = int(links.kind[chosen[0]])
    name, types = ERRORS[kind]
    ip = "ip" if kind == columns.ICMP else "ipv6"
    yield of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"Flood of ICMP errors against {evidence.hosts.name(target)}: {per_s:.0f} a second from "
            f"{sender or f'{len(senders)} addresses'}, about packets that it did not send",
            explanation=f"{errors} errors; {target} sent {int(quoted[victim])} packets in the conversations that they quote. A "
            "firewall looks for the connection behind each and is soon busy with nothing else (BlackNurse).",
            benign="Errors that a host's own packets cause come at most once a packet: here "
            f"{caused:.2f} packets an error. Where {target} was forged as the source of a flood elsewhere, the senders are its victims.",
            advice="Drop ICMP errors of no known connection in front of the firewall, or limit their rate; let packet too big "
            "and fragmentation needed pass.",
            impact=Severity.MEDIUM,
            evidence={
                "rate": margin(per_s, limits.errors_per_s, least=0.55),
                "not caused": 0.4 * (1 - caused / max(limits.caused, 1e-9)),
            },
            numbers={
                "errors_per_s": measured(limits, "errors_per_s", round(per_s, 1)),
                "errors": measured(limits, "errors", errors),
                "caused": measured(limits, "caused", round(caused, 3)),
            },
            subject=f"{name} errors>{target}",
            attack=DIRECT,
            accountable=sender,
            filter=f"{name}.type in {{{types}}} && {ip}.dst#1 == {target}"
            + (f" && {ip}.src#1 == {sender}" if sender else ""),
        ),
    )


def _rate(first_ns: Array, last_ns: Array, counts: Array) -> float:
    """Errors a second over all of them, or in the busiest second where each conversation is counted at its first."""
    seconds = max(1.0, float(last_ns.max() - first_ns.min()) / 1e9)
    order = np.argsort(first_ns, kind="stable")
    times = first_ns[order]
    total = np.concatenate(([0], np.cumsum((counts / np.maximum((last_ns - first_ns) / 1e9, 1.0))[order])))
    ends = np.searchsorted(times, times + 1_000_000_000, side="right")
    return max(float(counts.sum()) / seconds, float((total[ends] - total[:-1]).max()))
