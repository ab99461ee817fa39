"""Threat intelligence: exact matches of addresses, names and TLS fingerprints with a dated list, offline.

A small list is shipped; `--intel FILE` adds one of your own. What else looks like it: shared addresses of large hosters,
fingerprints that harmless programs share with malware: a fingerprint alone is low, never more. Reference:
JA3 (Althouse 2017), JA4 (FoxIO, BSD licence).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis import assess
from analysis.claims import Words, of_facts, of_links
from analysis.evidence import Evidence
from analysis.findings import Finding, Number, Severity
from analysis.thresholds import Limits, limit, measured
from analysis.watchlist import Entry

NAME = "intel"
blocked = assess.without_transport


class Thresholds(Limits):
    """What counts."""

    matches: int = limit(1, "matches", "tapwall: exact matches only")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per entry and host."""
    listed = evidence.watchlist
    yield from _addresses(evidence, listed.addresses, limits)
    found: defaultdict[tuple[str, str, str], list[Any]] = defaultdict(list)
    for row in evidence.facts.tls:
        for value in (row.ja3, row.ja4):
            if value in listed.fingerprints:
                found["fingerprint", value, evidence.source_of(row.flow)].append(row)
        if (name := listed.name(row.sni)) is not None:
            found["name", name, evidence.source_of(row.flow)].append(row)
    for question in evidence.facts.dns:
        if not question.response and (name := listed.name(question.name)) is not None:
            found["name", name, evidence.sender_of(question.flow, question.from_a)].append(question)
    for request in evidence.facts.http:
        if request.method and (name := listed.name(request.host.partition(":")[0])) is not None:
            found["name", name, evidence.source_of(request.flow)].append(request)
    for (kind, value, host), rows in found.items():
        entry = listed.fingerprints[value] if kind == "fingerprint" else listed.names[value]
        if len(rows) >= limits.matches:
            yield of_facts(evidence, rows, _words(kind, value, host, entry, len(rows), limits))


def _addresses(evidence: Evidence, known: dict[str, Entry], limits: Thresholds) -> Iterator[Finding]:
    links = evidence.links
    ids = [i for i, text in enumerate(evidence.hosts.texts) if text in known] if known else []
    for one in ids:
        chosen = np.flatnonzero((links.source == one) | (links.target == one))
        if len(chosen) >= limits.matches:
            value = evidence.text(one)
            other = links.target if int(links.source[chosen[0]]) == one else links.source
            host = evidence.text(int(other[chosen[0]]))
            yield of_links(evidence, chosen, _words("address", value, host, known[value], len(chosen), limits))


def _words(kind: str, value: str, host: str, entry: Entry, count: int, limits: Thresholds) -> Words:
    weak = kind == "fingerprint"
    return Words(
        detector=NAME,
        title=f"{host} matches {'the' if weak else 'a listed'} {kind} {value} of {entry.what}",
        explanation=f"{count} matches with {entry.list}. "
        + ("A fingerprint names a TLS library with its settings, not a program." if weak else "The match is exact."),
        benign="Addresses change owners and fingerprints are shared by harmless programs; the list's date decides "
        f"({entry.list}), and what else this host did.",
        advice="Look at this host's other findings; a match alone proves nothing.",
        impact=Severity.LOW if weak else Severity.MEDIUM,
        evidence={f"match of {kind}": 0.5 if weak else 0.7},
        numbers={"matches": measured(limits, "matches", count), "list": Number(entry.list)},
        subject=f"{kind} {value} {host}",
        attack=(("T1071.001", "Application Layer Protocol: Web Protocols"),),
        accountable="" if weak else value if kind == "address" else host,
        side="both",
        hosts=(host, value) if kind == "address" else (host,),
    )
