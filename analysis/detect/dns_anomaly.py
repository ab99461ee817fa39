"""Answers that DNS should not give: oversized records, two different answers to one question, DNS where it is not expected.

SIGRed (CVE-2020-1350) needs an answer near 64 kB in a SIG or KEY record. Two answers with the same id and different
addresses are a race with a forger. What else looks like it: DNSSEC answers over TCP (some kB), round robin (one answer
with several addresses), retransmitted answers (equal). Reference: RFC 1035 4.2.1, RFC 5452; detections.md 6.9.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_facts, of_links
from analysis.evidence import Evidence
from analysis.facts import Dns
from analysis.findings import Finding, Number, Severity
from analysis.thresholds import limit, measured

NAME = "dns-anomaly"
A, CNAME, SIG, KEY, AAAA = 1, 5, 24, 25, 28
RARE = {SIG: "SIG", KEY: "KEY"}
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What is too much."""

    answer_bytes: int = limit(32_768, "bytes", "tapwall: DNSSEC answers stay below 5,000; SIGRed needs 65,281")
    forged: int = limit(1, "questions with two different answers", "tapwall: one race is one forgery")
    forged_s: float = limit(5.0, "s between both answers", "RFC 5452: the forger races the true answer")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs DNS messages or conversations on port 53."""
    if evidence.facts.dns or bool(np.any(evidence.links.target_port == DNS_PORT)):
        return None
    return "no DNS messages in this capture", "DNS messages"


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Oversized answers by server, forged answers by asker."""
    yield from _oversized(evidence, limits)
    yield from _forged(evidence, limits)


def _oversized(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    links = evidence.links
    rare = {row.flow for row in evidence.facts.dns if row.type in RARE}
    asked = {evidence.source_of(row.flow) for row in evidence.facts.dns if row.type in RARE}
    huge = np.flatnonzero(
        (links.kind == columns.TCP) & (links.target_port == DNS_PORT) & (links.got_payload >= limits.answer_bytes)
    )
    by_asker: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for link in huge.tolist():
        if links.got_payload[link] <= 70_000 * max(1, int(links.sent_payload[link]) // 30):
            by_asker[int(links.source[link]), int(links.target[link])].append(link)
    for (asker, server), chosen in by_asker.items():
        size = int(links.got_payload[chosen].max())
        small_question = bool(np.all(links.sent_payload[chosen] < 512))
        signed = evidence.text(asker) in asked or any(int(links.row[link]) in rare for link in chosen)
        if not small_question:
            continue
        terms = {"one small question, a huge answer": 0.55}
        if signed:
            terms["SIG or KEY record asked for"] = 0.6
        client, source = evidence.text(asker), evidence.text(server)
        yield of_links(
            evidence,
            chosen,
            Words(
                detector=NAME,
                title=f"{evidence.hosts.name(source)} answered {client} with {size} bytes of DNS"
                + (" for a SIG record, as SIGRed (CVE-2020-1350) does" if signed else ""),
                explanation=f"{len(chosen)} TCP answers of up to {size} bytes to questions below 512 bytes. Windows DNS servers "
                "without the patch of July 2020 overflow at such an answer.",
                benign=f"Zone transfers are large but go between name servers; DNSSEC answers stay below 5,000 bytes: here {size}.",
                advice="Patch the DNS server that asked; look what made it ask for this domain.",
                impact=Severity.HIGH if signed else Severity.MEDIUM,
                evidence=terms,
                numbers={"answer_bytes": measured(limits, "answer_bytes", size)},
                subject=f"size {source}>{client}",
                attack=(("T1210", "Exploitation of Remote Services"),),
                accountable=source,
                side="destination",
                hosts=(client, source),
            ),
        )


def _forged(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    answers: defaultdict[tuple[int, int, str, int], list[Dns]] = defaultdict(list)
    asked: Counter[tuple[int, int, str, int]] = Counter()
    for row in evidence.facts.dns:
        if not row.response:
            asked[row.flow, row.id, row.name.lower(), row.type] += 1
        elif row.protocol == "dns" and row.type in (A, AAAA) and row.answers:
            answers[row.flow, row.id, row.name.lower(), row.type].append(row)
    forged: defaultdict[str, list[tuple[Dns, Dns]]] = defaultdict(list)
    for key, rows in answers.items():
        if len(rows) <= asked[key]:
            continue  # a question asked twice may well get two answers
        for later in rows[1:]:
            first = rows[0]
            apart = (later.time_ns - first.time_ns) / 1e9
            if apart <= limits.forged_s and not _told(first) & _told(later) and _shape(first) != _shape(later):
                forged[evidence.receiver_of(first.flow, first.from_a)].append((first, later))
                break
    for asker, pairs in forged.items():
        if len(pairs) < limits.forged:
            continue
        name = pairs[0][0].name
        yield of_facts(
            evidence,
            [row for pair in pairs for row in pair],
            Words(
                detector=NAME,
                title=f"{asker} got two different answers to one question for {len(pairs)} name(s), first {name}: forged DNS",
                explanation=f"{len(pairs)} questions were answered twice with the same id and different addresses "
                f"({', '.join(sorted(_told(pairs[0][0]))[:2])} and {', '.join(sorted(_told(pairs[0][1]))[:2])}). Somebody on "
                "the path answers before the server does.",
                benign="A resolver that repeats its answer sends the same addresses; round robin puts them into one answer: "
                f"here {len(pairs)} pairs have nothing in common.",
                advice="Compare with the answer of a resolver reached over TLS; look who on the network answered (MAC, TTL).",
                impact=Severity.HIGH,
                evidence={"two different answers": 0.55, "repeated": min(0.6, 0.2 * (len(pairs) - 1))},
                numbers={
                    "questions": measured(limits, "forged", len(pairs)),
                    "names": Number(len({p[0].name for p in pairs}), "names"),
                },
                subject=f"forged {asker}",
                attack=(("T1557", "Adversary-in-the-Middle"), ("T1584.002", "Compromise Infrastructure: DNS Server")),
            ),
        )


def _told(row: Dns) -> set[str]:
    """Addresses of an answer."""
    return {text for _, kind, _, text in row.answers if kind in (A, AAAA)}


def _shape(row: Dns) -> tuple[tuple[int, str], ...]:
    return tuple((kind, text) for _, kind, _, text in row.answers)
