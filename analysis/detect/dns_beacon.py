"""Beacons over DNS: one host asks in even steps for names of one domain that look computed, and never goes where they lead.

An implant that waits for orders asks for an address again and again: for a fresh computed name each time (so that no cache
answers) or for one name that holds its number; the address that comes back is the order, so nobody connects to it. Counted
are check-ins, questions for A or AAAA within two seconds together. What else looks like it: programs that ask again when
an answer's time is over (they connect, or their names are words), virus look-ups (no even steps), content networks (the
host connects), tests of the resolver by routers and probes (even steps and fresh names too: they tell who makes them),
resolvers (hosts that are asked themselves are left out), monitoring of names (a host that does nothing but ask: low).
Reference: Cobalt Strike's DNS listener as published; RITA v5; ATT&CK T1071.004.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.columns import among, different
from analysis.domains import generated, registered
from analysis.evidence import Evidence
from analysis.facts import Dns
from analysis.findings import Finding, Number, Severity
from analysis.hosts import well_known
from analysis.rhythm import score, steps_of
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "dns-beacon"
ADDRESSES = (1, 28)  # A, AAAA
DNS_PORTS = (53, 853, 5353, 5355)
REVERSE = ("in-addr.arpa", "ip6.arpa")
TOGETHER_S = 2.0  # questions of one check-in: both families, or a number in several pieces
NOWHERE = ("0.", "127.", "::")  # how filters answer for what they block


class Thresholds(Limits):
    """When asking is a beacon."""

    check_ins: int = limit(15, "check-ins", "tapwall: beacons of connections need 12; names are asked for more often")
    span_s: float = limit(80.0, "s", "tapwall: as beacons of connections")
    shortest_s: float = limit(3.0, "s between check-ins", "tapwall: faster is a transfer")
    jitter: float = limit(0.25, "MAD / median, at most", "tapwall: what a jitter of 50 % makes; implants use 0 to 50 %")
    score: float = limit(0.7, "RITA score 0-1", "RITA: 0.7 medium, 0.9 high")
    computed: float = limit(0.8, "share of computed names", "tapwall: hosts of a content network have words in between")
    fresh: float = limit(
        0.8, "different names a check-in", "tapwall: each is asked for once; below, only one name may be asked for"
    )


def blocked(evidence: Evidence, limits: Thresholds) -> assess.Blocked:
    """Needs questions, over a span in which so many even steps fit."""
    if not evidence.facts.dns:
        return "no DNS messages in this capture", "DNS messages"
    return assess.short(evidence, limits.span_s, f"{limits.check_ins} even steps")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per asking host and domain."""
    asked: defaultdict[tuple[str, str], list[Dns]] = defaultdict(list)
    for row in evidence.facts.dns:
        if row.protocol == "dns" and row.type in ADDRESSES and "." in row.name and not row.name.endswith(REVERSE):
            asker = (
                evidence.receiver_of(row.flow, row.from_a) if row.response else evidence.sender_of(row.flow, row.from_a)
            )
            asked[asker, registered(row.name)].append(row)
    busy = {key: rows for key, rows in asked.items() if len(rows) >= limits.check_ins}
    if not busy:
        return
    peers = _peers(evidence, {asker for asker, _ in busy})
    for (asker, domain), rows in busy.items():
        if asker in peers and not well_known(domain):
            yield from _judge(evidence, (asker, domain), rows, peers[asker], limits)


def _peers(evidence: Evidence, askers: set[str]) -> dict[str, set[str]]:
    """Addresses that each host opened conversations with other than for names. Hosts that are asked for names are left out."""
    links = evidence.links
    naming = among(links.target_port, DNS_PORTS)
    servers = {evidence.text(one) for one in different(links.target[naming & (links.got > 0)]).tolist()}
    wanted = askers - servers
    other = ~naming & links.unicast
    found: dict[str, set[str]] = {asker: set() for asker in wanted}
    for asker, source in evidence.hosts.texts.ids(wanted).items():
        mine = other & (links.source == source)
        found[asker] = {evidence.text(one) for one in different(links.target[mine]).tolist()}
    return found


def _judge(
    evidence: Evidence, who: tuple[str, str], rows: Sequence[Dns], peers: set[str], limits: Thresholds
) -> Iterator[Finding]:
    asker, domain = who
    questions = [row for row in rows if not row.response] or list(rows)
    names = {row.name.lower() for row in questions}
    answers = {text for row in rows if row.response for _, kind, _, text in row.answers if kind in ADDRESSES}
    if answers & peers:
        return
    times = np.sort(np.array([row.time_ns for row in questions])) / 1e9
    begins = times[np.concatenate(([True], np.diff(times) > TOGETHER_S))]
    count, interval, jitter = steps_of(begins)
    if count < limits.check_ins - 1 or interval < limits.shortest_s or jitter > limits.jitter:
        return
    computed = sum(_computed(name.removesuffix(domain)) for name in names) / len(names)
    fresh = len(names) / len(begins)
    one = len(names) == 1 and bool(answers) and bool(peers)
    if computed < limits.computed or not (one or fresh >= limits.fresh):
        return
    parts = score(begins, np.full(len(begins), 1.0), evidence.first_ns / 1e9, evidence.span_s)
    total = sum(parts.values()) / len(parts)
    if total < limits.score:
        return
    nowhere = all(text.startswith(NOWHERE) for text in answers)
    yield of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{asker} asks for {'one computed name' if one else f'{len(names)} computed names'} of {domain} every "
            f"{interval:.0f} s ({len(begins)} times, jitter {100 * jitter:.0f} %) and connects to none",
            explanation=f"Names as {listed(sorted(names), 2)}, answered with {listed(sorted(answers), 3) or 'no address'}, which "
            f"{asker} never opened a conversation with: the answer itself is what it waits for. Score {total:.2f}.",
            benign="Probes that test the resolver ask for fresh names in even steps too, and programs repeat a name that a "
            f"filter blocks with 0.0.0.0: here {len(answers)} different answers"
            + (", none of them a host" if nowhere and answers else "")
            + ("." if peers else f", and {asker} does nothing but ask in this capture."),
            advice="Find the program that asks; look the domain up; block it at the resolver.",
            impact=Severity.LOW if (one and nowhere) or not peers else Severity.MEDIUM,
            evidence={
                "even steps": margin(total, limits.score, least=0.5, most=0.8, decades=0.15),
                "computed names": 0.4 * computed,
            },
            numbers={
                "check_ins": measured(limits, "check_ins", len(begins)),
                "score": measured(limits, "score", round(total, 3)),
                "jitter": measured(limits, "jitter", round(jitter, 3)),
                "computed_share": measured(limits, "computed", round(computed, 3)),
                "names_a_check_in": measured(limits, "fresh", round(fresh, 3)),
                "interval_s": Number(round(interval, 3), "s"),
            },
            subject=f"{asker} {domain}",
            attack=(("T1071.004", "Application Layer Protocol: DNS"),),
            accountable=asker,
        ),
    )


def _computed(sub: str) -> bool:
    """Whether a label in front of the domain is no word: hexadecimal with digits and letters, or generated."""
    return any(_hexadecimal(part) or generated(part) for part in sub.split(".") if part)


def _hexadecimal(part: str) -> bool:
    digits = sum(c.isdigit() for c in part)
    return len(part) >= 6 and 2 <= digits < len(part) and all(c in "0123456789abcdef" for c in part)
