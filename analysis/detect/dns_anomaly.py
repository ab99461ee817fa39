"""Answers that DNS should not give: oversized records, two different answers to one question, DNS where it is not expected.

SIGRed (CVE-2020-1350) needs an answer near 64 kB in a SIG or KEY record. Two answers with the same id and different
addresses are a race with a forger; many ids that nobody asked with are guesses at a resolver. A zone transfer tells all
names of a network. What else looks like it: DNSSEC answers over TCP (some kB), round robin (one answer
with several addresses), retransmitted answers (equal). Reference: RFC 1035 4.2.1, RFC 5452.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from analysis import assess, columns
from analysis.claims import Words, of_facts, of_links
from analysis.domains import registered
from analysis.evidence import Evidence
from analysis.facts import Dns
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "dns-anomaly"
A, CNAME, SIG, KEY, AAAA, IXFR, AXFR = 1, 5, 24, 25, 28, 251, 252
RARE = {SIG: "SIG", KEY: "KEY"}
DNS_PORT = 53


class Thresholds(Limits):
    """What is too much."""

    answer_bytes: int = limit(32_768, "bytes", "tapwall: DNSSEC answers stay below 5,000; SIGRed needs 65,281")
    forged: int = limit(1, "questions with two different answers", "tapwall: one race is one forgery")
    guesses: int = limit(
        30, "answers with different ids to one port for one domain", "RFC 5452: a forger guesses the id"
    )
    zone_bytes: int = limit(300, "bytes of an answer to AXFR", "tapwall: a refusal is shorter")
    random_names: int = limit(
        300, "names of one domain, of many askers", "tapwall: no crowd asks for so many names that do not exist"
    )
    askers: int = limit(10, "hosts that ask", "tapwall: a botnet; one host alone may be a tunnel")
    forged_s: float = limit(5.0, "s between both answers", "RFC 5452: the forger races the true answer")


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs DNS messages or conversations on port 53."""
    if evidence.facts.dns or bool(np.any(evidence.links.target_port == DNS_PORT)):
        return None
    return "no DNS messages in this capture", "DNS messages"


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Oversized answers by server, forged and guessed answers by asker, zones given away."""
    yield from _oversized(evidence, limits)
    yield from _forged(evidence, limits)
    yield from _guessed(evidence, limits)
    yield from _zones(evidence, limits)
    yield from _random_names(evidence, limits)


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


def _guessed(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Answers for one domain to one port of a resolver, with many different ids: guesses (Kaminsky 2008)."""
    tries: defaultdict[tuple[int, str], list[Dns]] = defaultdict(list)
    asked: defaultdict[int, set[int]] = defaultdict(set)
    for row in evidence.facts.dns:
        if row.protocol != "dns" or row.tcp:
            continue
        if row.response:
            tries[row.flow, registered(row.name)].append(row)
        else:
            asked[row.flow].add(row.id)
    for (flow, domain), rows in tries.items():
        wrong = [row for row in rows if row.id not in asked[flow]]
        ids = len({row.id for row in wrong})
        if ids < limits.guesses:
            continue
        resolver = evidence.receiver_of(flow, wrong[0].from_a)
        server = evidence.sender_of(flow, wrong[0].from_a)
        seconds = max(1.0, (wrong[-1].time_ns - wrong[0].time_ns) / 1e9)
        if ids / seconds < limits.guesses / 10:
            continue
        yield of_facts(
            evidence,
            wrong,
            Words(
                detector=NAME,
                title=f"Somebody guesses answers for {domain or 'a domain'} at {evidence.hosts.name(resolver)}: {ids} ids "
                "that were never asked",
                explanation=f"{len(wrong)} answers in the name of {server} to one port, within {seconds:.1f} s. One right guess puts a "
                "false address into the resolver's cache.",
                benign=f"A capture that misses the questions sees answers to many ports; here one port got {ids} ids.",
                advice="Look what the resolver stored for this domain; it needs random ports and DNSSEC.",
                impact=Severity.HIGH if asked[flow] else Severity.MEDIUM,
                evidence={"wrong ids": margin(ids, limits.guesses, least=0.6)},
                numbers={"ids": measured(limits, "guesses", ids), "answers": Number(len(wrong), "answers")},
                subject=f"guessed {domain} {resolver}",
                attack=(("T1557", "Adversary-in-the-Middle"), ("T1584.002", "Compromise Infrastructure: DNS Server")),
                hosts=(resolver, server),
            ),
        )


def _zones(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Whole zones given away by AXFR: everything an intruder wants to know of a network's names."""
    links = evidence.links
    seen: defaultdict[tuple[str, str], list[Dns]] = defaultdict(list)
    for row in evidence.facts.dns:
        if row.type in (AXFR, IXFR) and row.tcp:
            seen[evidence.source_of(row.flow), evidence.target_of(row.flow)].append(row)
    for (client, server), rows in seen.items():
        flows = sorted({row.flow for row in rows})
        size = int(sum(links.got_payload[evidence.link_of(flow)] for flow in flows if evidence.link_of(flow) >= 0))
        if size < limits.zone_bytes:
            continue
        outside = any(not evidence.hosts.inside[links.source[evidence.link_of(flow)]] for flow in flows)
        zone = next((row.name for row in rows if row.name), "") or "a zone"
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"{client} fetched the whole zone {zone} from {evidence.hosts.name(server)} ({size} bytes)",
                explanation=f"{len(rows)} messages of a zone transfer (AXFR): all names and addresses of the zone at once.",
                benign=f"The zone's other name servers do so after each change; is the client one of them? {len(flows)} "
                "transfers here.",
                advice="Allow transfers to the zone's own name servers only.",
                impact=Severity.MEDIUM if outside else Severity.LOW,
                evidence={"zone transfer with an answer": 0.7},
                numbers={"bytes": measured(limits, "zone_bytes", size), "transfers": Number(len(flows), "transfers")},
                subject=f"zone {client}>{server}",
                attack=(("T1590.002", "Gather Victim Network Information: DNS"),),
                accountable=client,
                hosts=(client, server),
            ),
        )


def _told(row: Dns) -> set[str]:
    """Addresses of an answer."""
    return {text for _, kind, _, text in row.answers if kind in (A, AAAA)}


def _shape(row: Dns) -> tuple[tuple[int, str], ...]:
    return tuple((kind, text) for _, kind, _, text in row.answers)


def _random_names(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """Random names of one domain by many hosts, of which none exists: the domain's servers are drowned (water torture)."""
    asked: defaultdict[str, list[Dns]] = defaultdict(list)
    good: set[str] = set()
    for row in evidence.facts.dns:
        if row.protocol == "dns" and "." in row.name:
            if not row.response:
                asked[registered(row.name)].append(row)
            elif row.answers:
                good.add(row.name.lower())
    for domain, rows in asked.items():
        names = {row.name.lower() for row in rows}
        missing = len(names - good)
        if missing < limits.random_names or missing < len(names) / 2:
            continue
        askers = sorted({evidence.sender_of(row.flow, row.from_a) for row in rows})
        if len(askers) < limits.askers:
            continue
        yield of_facts(
            evidence,
            rows,
            Words(
                detector=NAME,
                title=f"Flood of random names of {domain}: {missing} that do not exist, asked by {len(askers)} hosts",
                explanation=f"{len(rows)} questions for {len(names)} names of one domain. No cache helps against names that nobody asked "
                "for before, so every question reaches the domain's own servers.",
                benign=f"Block lists and telemetry ask for many names of one domain, and get answers; here {missing} names got none.",
                advice="Limit the rate of answers that say no at the resolver; look at the hosts that ask, if they are yours.",
                impact=Severity.MEDIUM,
                evidence={"names that do not exist": margin(missing, limits.random_names, least=0.6)},
                numbers={
                    "missing_names": measured(limits, "random_names", missing),
                    "askers": measured(limits, "askers", len(askers)),
                },
                subject=f"random {domain}",
                attack=(("T1498.001", "Network Denial of Service: Direct Network Flood"),),
                hosts=tuple(askers[:20]),
            ),
        )
