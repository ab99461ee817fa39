"""Failed connections: a service that did not answer or refused, by destination and reason.

Why it matters: dead services, wrong addresses and blocked ports are the usual cause of slow programs. What else looks
like it: a scan (many ports or hosts: other detectors), a flood. Repeats of one SYN are one attempt. Operational, so no
technique is claimed. Reference: Zeek's conn_state.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_links
from analysis.columns import CONN_STATES, Array, different
from analysis.evidence import Evidence, coded, distinct, groups
from analysis.findings import Finding, Number, Severity, counted
from analysis.thresholds import Limits, limit, measured

NAME = "failed-connections"
UNREACHABLE = {
    0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
    4: "fragmentation needed", 9: "network prohibited", 10: "host prohibited", 13: "prohibited by a filter",
}  # fmt: skip  # RFC 792, RFC 1122, RFC 1812
blocked = assess.one_sided


class Thresholds(Limits):
    """What is worth a line."""

    attempts: int = limit(5, "attempts for severity low", "Slips: 5 reconnection attempts")
    fan_out: int = limit(15, "failed targets of one source", "sweep and port-scan take over from here")
    lines: int = limit(20, "findings, the busiest first", "tapwall: what a reader looks at")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per destination and port, the busiest first."""
    links = evidence.links
    tcp = links.failed & (links.kind == columns.TCP) & links.known & (links.syns > 0)
    refused = links.failed & (links.kind == columns.UDP) & (links.icmp_error >= 0)
    rows = np.flatnonzero((tcp | refused) & links.unicast)
    if not len(rows):
        return
    rows = rows[_few_targets(evidence, rows, limits.fan_out)]
    found = sorted(groups(rows, links.target, links.kind, links.target_port), key=len, reverse=True)
    for chosen in found[: limits.lines]:
        yield _finding(evidence, chosen, len(found), limits)


def _few_targets(evidence: Evidence, rows: Array, most: int) -> Array:
    """bool[rows]: links whose source failed at fewer than `most` services, so that it is no scanner."""
    links = evidence.links
    source = coded(rows, links.source)
    service = coded(rows, links.target, links.target_port)
    return np.asarray(distinct(source, service)[source] < most)


def _finding(evidence: Evidence, chosen: Array, services: int, limits: Thresholds) -> Finding:
    links = evidence.links
    first = int(chosen[0])
    target, port = evidence.text(int(links.target[first])), int(links.target_port[first])
    word = columns.KINDS[int(links.kind[first])].upper()
    ids = different(links.source[chosen]).tolist()
    sources = [evidence.text(one) for one in ids[:10]]
    syns = int(links.syns[chosen].sum())
    answer = _answer(evidence, chosen)
    attempts = len(chosen)
    seconds = float(links.last_ns[chosen].max() - links.first_ns[chosen].min()) / 1e9
    who = sources[0] if len(ids) == 1 else f"{len(ids)} hosts"
    tries = counted(attempts, "attempts")
    segments = f", {syns} SYN" if syns > attempts else ""
    return of_links(
        evidence,
        chosen,
        Words(
            detector=NAME,
            title=f"{who} could not reach {evidence.hosts.name(target)} {word} port {port}: {answer} "
            f"({tries}{segments})",
            explanation=f"{tries} over {seconds:.1f} s ended without a connection: {answer}. Repeated SYN segments of one "
            "attempt are the sender's own retries and counted once.",
            benign="A machine that is switched off, a service that moved or a firewall gives the same picture; a scan "
            f"would try many services, this source failed at {services if services < limits.fan_out else 'few'}.",
            advice="Check whether the service should be there, and what on the source asks for it.",
            impact=Severity.LOW if attempts >= limits.attempts else Severity.INFO,
            evidence={"outcome seen": 0.9},
            numbers={
                "attempts": measured(limits, "attempts", attempts),
                "syn_segments": Number(syns, "segments"),
                "sources": Number(len(ids), "hosts"),
            },
            subject=f"{word} {target}:{port}",
            hosts=(*sources, target),
        ),
    )


def _answer(evidence: Evidence, chosen: Array) -> str:
    """What came back: nothing, RST, or an ICMP error."""
    links = evidence.links
    errors = links.icmp_error[chosen]
    if (errors >= 0).any():
        code = int(errors[errors >= 0][0]) & 255
        return f"ICMP {UNREACHABLE.get(code, f'unreachable, code {code}')}"
    states = {CONN_STATES[state] for state in different(links.state[chosen]).tolist()}
    if "REJ" in states:
        return "refused (RST)"
    return "no answer" if states <= {"S0", ""} else "given up before an answer"
