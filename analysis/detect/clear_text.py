"""Credentials and logins in clear text: an exposure, not an attack.

Who sits on the path reads them. Shown are protocol, user and frame, never the secret. What else looks like it: test
accounts, anonymous FTP and public SNMP communities (named as such, info). Encrypted logins are not visible and do not
count. Reference: tshark -z credentials.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from analysis import assess
from analysis.claims import Words, listed, of_facts
from analysis.evidence import Evidence
from analysis.facts import Login
from analysis.findings import Finding, Number, Severity, counted
from analysis.thresholds import Limits, limit, measured

NAME = "clear-text-credentials"
blocked = assess.without_fact("login", "logins in clear text")
PUBLIC = frozenset(("anonymous", "ftp", "guest", "public", ""))


class Thresholds(Limits):
    """What is worth a line."""

    logins: int = limit(1, "logins", "tapwall: the exposure is the finding")
    lines: int = limit(30, "findings, the most frequent first", "tapwall: what a reader looks at")


def detect(evidence: Evidence, limits: Thresholds) -> Iterator[Finding]:
    """One finding per protocol and server."""
    exposed: defaultdict[tuple[str, str], list[Login]] = defaultdict(list)
    for row in evidence.facts.login:
        if row.cleartext and (row.secret_masked or row.user):
            exposed[row.protocol, evidence.target_of(row.flow)].append(row)
    ordered = sorted(exposed.items(), key=lambda item: -len(item[1]))
    for (protocol, server), rows in ordered[: limits.lines]:
        if len(rows) >= limits.logins:
            yield _finding(evidence, protocol, server, rows, limits)


def _finding(evidence: Evidence, protocol: str, server: str, rows: list[Login], limits: Thresholds) -> Finding:
    users = sorted({row.user for row in rows if row.user})
    public = not any(row.secret_masked for row in rows) or set(users) <= PUBLIC
    who = f"of {listed(users, 3)}" if users else "without a name"
    return of_facts(
        evidence,
        rows,
        Words(
            detector=NAME,
            title=f"{protocol.upper()} login {who} at {evidence.hosts.name(server)} crossed the network in clear text",
            explanation=f"{counted(len(rows), 'logins')} can be read by everybody on the path. The secret is not repeated here; it "
            "is in the frames named.",
            benign="Anonymous access and public communities have no secret to lose; here "
            f"{sum(bool(row.secret_masked) for row in rows)} of {counted(len(rows), 'logins')} carried one.",
            advice="Use the encrypted form of the protocol (TLS, SSH); change passwords that crossed in clear.",
            impact=Severity.INFO if public else Severity.LOW,
            evidence={"seen in clear": 0.95},
            numbers={
                "logins": measured(limits, "logins", len(rows)),
                "users": Number(len(users), "names"),
                "accepted": Number(sum(row.result == 1 for row in rows), "logins"),
            },
            subject=f"{protocol} {server}",
            attack=(("T1040", "Network Sniffing"), ("T1552", "Unsecured Credentials")),
            hosts=tuple(dict.fromkeys([server, *(evidence.source_of(row.flow) for row in rows[:200])]))[:20],
        ),
    )
