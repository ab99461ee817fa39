"""One cause, one finding; and findings of one intruder in the order of time.

In: the findings of all detectors. Out: the same without those that only restate a stronger one, worst first, linked by
`story` where one accountable host did several things. Must not know how anything was detected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.columns import Array, different
from analysis.findings import Finding, Severity

# What a finding of the left kind explains: the right ones are dropped where their conversations are mostly the same.
RESTATES: dict[str, tuple[str, ...]] = {
    "flood": ("surge", "failed-connections", "port-scan", "sweep", "beacon", "brute-force"),
    "raw-flood": ("surge", "failed-connections"),
    "icmp-error-flood": ("surge",),
    "slow-requests": ("failed-connections", "flood", "surge"),
    "amplification": ("surge", "flood", "sweep", "port-scan", "failed-connections"),
    "port-scan": ("surge", "failed-connections", "beacon", "brute-force", "unusual-port"),
    "fingerprinting": ("port-scan", "failed-connections"),
    "sweep": ("surge", "failed-connections", "beacon"),
    "brute-force": ("surge", "beacon", "failed-connections", "unusual-port", "distributed-guessing"),
    "distributed-guessing": ("surge", "beacon", "failed-connections", "unusual-port"),
    "exploit": ("web-attack", "brute-force"),
    "web-attack": ("surge",),
    "beacon": ("failed-connections", "unusual-port"),
    "remote-control": ("unusual-port",),
    "lateral-movement": ("program-transfer",),
    "tls-c2": ("intel", "tls-weakness", "unusual-port"),
    "dns-tunnel": ("surge", "dga", "dns-beacon"),
    "exfiltration": ("surge",),
    "icmp-tunnel": ("surge",),
}
SAME = 0.6  # share of a finding's conversations that another must hold to be its cause


def told(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Without restatements, with stories, worst first."""
    kept = _without_restatements(findings)
    linked = _linked(kept)
    return tuple(sorted(linked, key=lambda f: (-f.severity, -f.confidence, f.first_time or 0.0, f.subject)))


def _without_restatements(findings: Sequence[Finding]) -> list[Finding]:
    rows = [np.asarray(finding.flows, np.int32) for finding in findings]
    size = max((int(some.max()) + 1 for some in rows if len(some)), default=0)
    said = {finding.detector for finding in findings}
    held: dict[str, Array] = {}  # by detector, a flag a conversation: floods have hundreds of thousands
    for finding, some in zip(findings, rows, strict=True):
        if finding.severity >= Severity.LOW and said.intersection(RESTATES.get(finding.detector, ())) and len(some):
            held.setdefault(finding.detector, np.zeros(size, bool))[some] = True
    kept = []
    for finding, some in zip(findings, rows, strict=True):
        causes = [held[name] for name, weaker in RESTATES.items() if finding.detector in weaker and name in held]
        mine = different(some) if causes else some
        if len(mine) and any(np.count_nonzero(cause[mine]) >= SAME * len(mine) for cause in causes):
            continue
        kept.append(finding)
    return kept


def _linked(findings: list[Finding]) -> list[Finding]:
    """Findings at medium or above with the same accountable host, of two or more kinds, share a story."""
    by_host: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.accountable is not None and finding.severity >= Severity.MEDIUM:
            by_host[finding.accountable.address].append(finding)
    stories: dict[str, str] = {}
    for host, chapters in by_host.items():
        if len({finding.detector for finding in chapters}) > 1:
            ordered = sorted(chapters, key=lambda f: f.first_time or 0.0)
            steps = list(dict.fromkeys(finding.detector for finding in ordered))
            text = f"{host}: {' → '.join(steps)}"
            stories |= {finding.id: text for finding in chapters}
    if not stories:
        return findings
    return [replace(finding, story=stories.get(finding.id)) for finding in findings]
