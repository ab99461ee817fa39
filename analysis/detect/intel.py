"""Threat intelligence: matches of addresses, networks, names and TLS fingerprints with a dated list, offline.

A small list is shipped; `--intel FILE` adds one of your own. What else looks like it: shared addresses of large hosters,
fingerprints that harmless programs share with malware: a fingerprint alone is low, never more. Reference:
JA3 (Althouse 2017), JA4 (FoxIO, BSD licence).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from analysis import assess
from analysis.claims import Words, of_facts, of_links
from analysis.evidence import Evidence
from analysis.findings import Finding, Number, Severity, counted
from analysis.thresholds import Limits, limit, measured
from analysis.watchlist import Entry, Watchlist

NAME = "intel"
blocked = assess.without_transport


class Thresholds(Limits):
    """What counts."""

    matches: int = limit(1, "matches", "tapwall: exact matches only")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per entry and host."""
    listed = evidence.watchlist
    yield from _addresses(evidence, listed, limits)
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


def _addresses(evidence: Evidence, listed: Watchlist, limits: Thresholds) -> Iterator[Finding]:
    """One finding per listed address, and one per listed network for all addresses that lie in it."""
    links = evidence.links
    known: defaultdict[str, list[int]] = defaultdict(list)
    for number, text in enumerate(evidence.hosts.texts if listed.addresses or listed.networks else ()):
        if (value := listed.address(text)) is not None:
            known[value].append(number)
    for value, ids in known.items():
        from_it = np.isin(links.source, ids)
        chosen = np.flatnonzero(from_it | np.isin(links.target, ids))
        if not len(chosen) or len(chosen) < limits.matches:
            continue
        theirs = np.where(from_it, links.source, links.target)[chosen]
        ours = np.where(from_it, links.target, links.source)[chosen]
        host, bad = evidence.text(int(ours[0])), evidence.text(int(theirs[0]))
        kind = "network" if "/" in value else "address"
        words = _words(kind, value, host, listed.entry(value), len(chosen), limits)
        only = bad if (theirs == theirs[0]).all() else ""  # a rule blocks one address; several are named by the filter
        yield of_links(evidence, chosen, replace(words, accountable=only, hosts=(host, bad)))


def _words(kind: str, value: str, host: str, entry: Entry, count: int, limits: Thresholds) -> Words:
    weak = kind == "fingerprint"
    return Words(
        detector=NAME,
        title=f"{host} matches {'the' if weak else 'a listed'} {kind} {value} of {entry.what}",
        explanation=f"{counted(count, 'matches')} with {entry.list}. "
        + ("A fingerprint names a TLS library with its settings, not a program." if weak else "The match is exact."),
        benign="Addresses change owners and fingerprints are shared by harmless programs; the list's date decides "
        f"({entry.list}), and what else this host did.",
        advice="Look at this host's other findings; a match alone proves nothing.",
        impact=Severity.LOW if weak else Severity.MEDIUM,
        evidence={f"match of {kind}": 0.5 if weak else 0.7},
        numbers={"matches": measured(limits, "matches", count), "list": Number(entry.list)},
        subject=f"{kind} {value} {host}",
        attack=(("T1071.001", "Application Layer Protocol: Web Protocols"),),
        accountable="" if weak else host,
        side="both",
        hosts=(host,),
    )
