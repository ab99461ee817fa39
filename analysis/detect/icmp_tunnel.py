"""ICMP that carries data: tunnels and command channels in echo packets.

Signs: data of an echo whose bytes are no known ping pattern, replies that differ from their request, unbalanced counts,
identifier or sequence numbers that stand still, words or IP packets inside, sizes that vary. What else looks like it:
path MTU probes (size varies, pattern is regular), monitors, large pings with a fixed pattern.
Reference: RFC 792; nDPI's entropy bands (only for samples of 256 bytes and more).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from analysis import assess
from analysis.claims import Words, of_facts
from analysis.evidence import Evidence
from analysis.facts import Echo
from analysis.findings import Finding, Number, Severity
from analysis.patterns import pattern
from analysis.severity import confidence
from analysis.thresholds import Limits, limit, measured

NAME = "icmp-tunnel"
blocked = assess.without_fact("echo", "ICMP echo packets with data")
INNER_IP = pattern(rb"^.{0,32}?\x45[\0-\xff]\0[\0-\xff].{4}[\x20-\xff][\x01\x06\x11]", re.S)
WORDS = pattern(
    rb"^[\x20-\x7e]{2,16}\0{8,}|(?:SSH-2\.0|HTTP/1\.|cmd\.exe|/bin/|whoami|shell|upload|download|exec|uid=)", re.I
)


class Thresholds(Limits):
    """When echoes carry data."""

    confidence: float = limit(0.6, "sum of weights", "tapwall: two signs at least")
    packets: int = limit(3, "echo packets", "tapwall: fewer show no habit")
    sizes: int = limit(
        4, "different sizes", "tapwall: ping keeps its size; MTU probes change it with a regular pattern"
    )
    differing: float = limit(0.1, "share of replies unlike their request", "RFC 792: the reply repeats the data")
    entropy: float = limit(7.3, "bits per byte from 256 bytes on", "nDPI: random data")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per pair of hosts."""
    pairs: defaultdict[tuple[str, str], list[Echo]] = defaultdict(list)
    for row in evidence.facts.echo:
        ends = sorted((evidence.source_of(row.flow), evidence.target_of(row.flow)))
        pairs[ends[0], ends[1]].append(row)
    for rows in pairs.values():
        if len(rows) >= limits.packets:
            terms, numbers = _weigh(rows, limits)
            if confidence(terms) >= limits.confidence and len(terms) >= 2:
                yield _finding(evidence, rows, terms, numbers)


def _weigh(rows: list[Echo], limits: Thresholds) -> tuple[dict[str, float], dict[str, Number]]:
    """The signs in the echoes of one pair, with their numbers."""
    requests = [row for row in rows if row.request]
    replies = [row for row in rows if not row.request]
    asked = {(row.flow, row.sequence): row.digest for row in requests}
    matched = [row for row in replies if (row.flow, row.sequence) in asked]
    differing = sum(asked[row.flow, row.sequence] != row.digest for row in matched) / len(matched) if matched else 0.0
    samples = {row.sample for row in rows}  # a ping program sends the same again and again
    odd = {sample for sample in samples if not regular(sample)}
    wordy = {sample for sample in samples if WORDS.search(sample)}
    strange = [row for row in rows if row.size_bytes and row.sample in odd]
    sizes = len({row.size_bytes for row in strange})
    random = sum(row.entropy >= limits.entropy and row.size_bytes >= 256 for row in rows)
    inner = sum(bool(INNER_IP.match(row.sample)) for row in strange)
    words = sum(row.sample in wordy for row in rows)
    still = len(requests) >= 4 and len({(row.flow, row.sequence) for row in requests}) <= len(requests) / 3
    digests = len({row.digest for row in strange})
    terms: dict[str, float] = {}
    if differing >= limits.differing:
        terms["replies differ from requests"] = 0.5
    if sizes >= limits.sizes:
        terms["sizes vary, data is no pattern"] = 0.4
    if words:
        terms["words inside"] = 0.5
    if inner >= 2:
        terms["IP packets inside"] = 0.5
    if random >= 3:
        terms["random data"] = 0.4
    if still and digests >= 2:
        terms["sequence stands still while data changes"] = 0.4
    if len(replies) > 1.5 * len(requests) and len(replies) >= 10:
        terms["more replies than requests"] = 0.4
    numbers = {
        "packets": measured(limits, "packets", len(rows)),
        "sizes": measured(limits, "sizes", sizes),
        "replies_differing": measured(limits, "differing", round(differing, 3)),
        "sum_of_weights": measured(limits, "confidence", round(confidence(terms), 3)),
    }
    return terms, numbers


def regular(sample: bytes) -> bool:
    """Whether echo data is a pattern of a ping program: counting bytes, the alphabet, one byte repeated, a time first."""
    if len(sample) < 8:
        return True
    tail = sample[16:] if len(sample) > 24 else sample[8:] if len(sample) > 16 else sample
    steps = {(b - a) & 0xFF for a, b in pairwise(tail)}
    if len(steps - {1, 0}) <= 1 or len(set(tail)) <= 2:
        return True
    period = tail[:8]
    return len(tail) >= 16 and (period * (len(tail) // 8 + 1)).startswith(tail)


def _finding(evidence: Evidence, rows: list[Echo], terms: dict[str, float], numbers: dict[str, Number]) -> Finding:
    source, target = evidence.source_of(rows[0].flow), evidence.target_of(rows[0].flow)
    volume = sum(row.size_bytes for row in rows)
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{source} and {evidence.hosts.name(target)} exchange data inside pings ({len(rows)} packets, {volume} bytes)",
            explanation="Signs: " + "; ".join(f"{sign} ({weight:.2f})" for sign, weight in terms.items()) + ".",
            benign="Monitors and MTU probes send large or many pings, with a regular pattern that comes back unchanged: here "
            f"{numbers['replies_differing'].value} of the replies differ and {numbers['sizes'].value} sizes occur.",
            advice="Look at the data of these packets; allow echo only where it is needed, and with a small size.",
            impact=Severity.MEDIUM,
            evidence=terms,
            numbers=numbers,
            subject=f"{source}>{target}",
            attack=(("T1095", "Non-Application Layer Protocol"), ("T1572", "Protocol Tunneling")),
            accountable=source,
            hosts=(source, target),
        ),
    )
