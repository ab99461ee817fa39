"""Generated domain names: one host asks for many names that do not exist and that no human would choose.

Counted are names that were answered with NXDOMAIN, by registered domain, and how many of their labels look computed: runs
of consonants or digits, or pairs of letters that words rarely have. Very many missing domains count without that.
What else looks like it: a browser that tests for DNS hijacking (three single labels), typing errors, dead software,
search suffixes appended to inside names (one suffix: one domain). Reference: ATT&CK T1568.002.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.domains import generated, label, registered
from analysis.evidence import Evidence, busiest
from analysis.facts import Dns
from analysis.findings import Finding, Number, Severity
from analysis.severity import margin
from analysis.thresholds import Limits, limit, measured

NAME = "dga"
blocked = assess.without_fact("dns", "DNS messages")
NXDOMAIN = 3
OWN = ("arpa", "local", "lan", "home", "internal", "localdomain", "corp")


class Thresholds(Limits):
    """When wrong names are generated ones."""

    names: int = limit(10, "domains that do not exist", "Slips: 10 NXDOMAIN")
    window_s: float = limit(300.0, "s", "tapwall: 5 min")
    many: int = limit(50, "domains that do not exist, whatever they look like", "tapwall: syllables look like words")
    computed: float = limit(0.5, "share of labels that look computed", "tapwall: words have vowels and short runs")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per asking host."""
    asked: defaultdict[str, dict[str, Dns]] = defaultdict(dict)
    for row in evidence.facts.dns:
        name = row.name.lower().rstrip(".")
        if row.protocol == "dns" and row.response and row.rcode == NXDOMAIN and "." in name:
            if not name.endswith(OWN):
                asked[evidence.receiver_of(row.flow, row.from_a)].setdefault(registered(name), row)
    for asker, names in asked.items():
        rows = sorted(names.values(), key=lambda row: row.time_ns)
        _, _, count = busiest(np.array([row.time_ns for row in rows]), limits.window_s)
        share = sum(generated(label(name)) for name in names) / len(names)
        if count >= limits.names and (share >= limits.computed or count >= limits.many):
            yield _finding(evidence, asker, list(names), rows, (count, share), limits)


def _finding(
    evidence: Evidence, asker: str, names: list[str], rows: list[Dns], found: tuple[int, float], limits: Thresholds
) -> Finding:
    count, share = found
    computed = share >= limits.computed
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{asker} asked for {len(names)} domains that do not exist"
            f"{' and look computed' if computed else ''}: {listed(names, 3)}",
            explanation=f"{count} different domains within {limits.window_s:.0f} s were answered with NXDOMAIN; {100 * share:.0f} % have labels "
            "that no word has. Malware tries such names until one is registered.",
            benign="A browser's test asks for three single labels; dead software repeats one name: here "
            f"{len(names)} different domains.",
            advice="Find the program that asks; look whether one of the names was answered later.",
            impact=Severity.MEDIUM,
            evidence={
                "domains": margin(count, limits.names if computed else limits.many),
                "computed labels": 0.5 * share,
            },
            numbers={
                "domains_in_window": measured(limits, "names", count),
                "domains_of_any_look": measured(limits, "many", count),
                "computed_share": measured(limits, "computed", round(share, 3)),
                "domains": Number(len(names), "domains"),
            },
            subject=asker,
            attack=(("T1568.002", "Dynamic Resolution: Domain Generation Algorithms"),),
            accountable=asker,
        ),
    )
